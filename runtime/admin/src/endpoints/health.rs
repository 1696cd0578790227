//! `GET /live` and `GET /ready`, for whoever starts us and whoever sends us traffic.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::Desk;
use crate::problem::Problem;

/// The control thread answers.
pub(crate) async fn live(State(desk): State<Desk>) -> Result<Json<Value>, Problem> {
    desk.control.ask(|_| ()).await?;
    Ok(Json(json!({ "live": true })))
}

/// Requests and packets are welcome: see [`penstock_control::Control::is_ready`].
pub(crate) async fn ready(State(desk): State<Desk>) -> Result<Json<Value>, Problem> {
    match desk.control.ask(|control| control.is_ready()).await? {
        true => Ok(Json(json!({ "ready": true }))),
        false => {
            let detail = "a shard or the datapath is down, or the appliance is draining";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    }
}
