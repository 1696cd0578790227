//! `GET /v1/clusters` and `GET /v1/clusters/NAME`: endpoints and their loads.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use penstock_control::ClusterView;

use crate::Desk;
use crate::problem::Problem;

pub(crate) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<ClusterView>>, Problem> {
    Ok(Json(desk.control.ask(|control| control.cluster_views()).await?))
}

pub(crate) async fn show(
    State(desk): State<Desk>,
    Path(name): Path<String>,
) -> Result<Json<ClusterView>, Problem> {
    let clusters = desk.control.ask(|control| control.cluster_views()).await?;
    let found = clusters.into_iter().find(|cluster| cluster.name == name);
    let missing = || Problem::new(StatusCode::NOT_FOUND, format!("there is no cluster `{name}`"));
    found.map(Json).ok_or_else(missing)
}
