//! `GET /v1/listeners`: addresses, connections and routes.

use axum::Json;
use axum::extract::State;
use penstock_control::ListenerView;

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<ListenerView>>, Problem> {
    Ok(Json(desk.control.ask(|control| control.listener_views()).await?))
}
