//! `GET /v1/filters`: what each filter did and cost. Their configs are not shown: they may hold
//! secrets.

use axum::Json;
use axum::extract::State;
use penstock_control::FilterView;

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<FilterView>>, Problem> {
    Ok(Json(desk.control.ask(|control| control.filter_views()).await?))
}
