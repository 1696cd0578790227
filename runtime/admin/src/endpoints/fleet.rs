//! `GET /v1/fleet`: the appliances that answer for the same addresses, and how routers hear of us.

use axum::Json;
use axum::extract::State;
use penstock_control::{Control, FleetView};

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn show(State(desk): State<Desk>) -> Result<Json<FleetView>, Problem> {
    Ok(Json(desk.control.ask(|control: &mut Control| control.fleet_view()).await?))
}
