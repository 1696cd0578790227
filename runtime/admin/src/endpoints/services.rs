//! `GET /v1/services`: addresses, connections, packets and bytes of layer 4.

use axum::Json;
use axum::extract::State;
use penstock_control::ServiceView;

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<ServiceView>>, Problem> {
    Ok(Json(desk.control.ask(|control| control.service_views(true)).await?))
}
