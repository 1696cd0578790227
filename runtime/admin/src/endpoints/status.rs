//! `GET /v1/status`: everything at a glance.

use axum::Json;
use axum::extract::State;
use penstock_control::{Control, Status};

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn show(State(desk): State<Desk>) -> Result<Json<Status>, Problem> {
    Ok(Json(desk.control.ask(Control::status).await?))
}
