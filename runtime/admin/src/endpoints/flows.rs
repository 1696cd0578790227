//! `GET /v1/flows?client=ADDRESS&limit=N`: the largest flows whose packets are passed on.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use penstock_control::FlowsView;
use serde::Deserialize;

use crate::Desk;
use crate::problem::Problem;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only those of this address.
    client: Option<IpAddr>,
    /// How many are listed.
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(desk): State<Desk>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<FlowsView>, Problem> {
    let Query(Wanted { client, limit }) =
        wanted.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = limit.unwrap_or(FLOWS_USUAL).min(FLOWS_MAX);
    Ok(Json(desk.control.ask(move |control| control.flows_view(client, limit)).await?))
}

const FLOWS_USUAL: usize = 50;
const FLOWS_MAX: usize = 1_000;
