//! `/v1/log-level`: which events are logged, in the language of `RUST_LOG`.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::Desk;
use crate::problem::Problem;

/// `{ "filter": "penstock=debug" }`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    filter: String,
}

pub(crate) async fn show(State(desk): State<Desk>) -> Json<Level> {
    Json(Level { filter: desk.log_level.show() })
}

pub(crate) async fn set(
    State(desk): State<Desk>,
    level: Result<Json<Level>, JsonRejection>,
) -> Result<Json<Level>, Problem> {
    let Json(level) = level.map_err(|why| Problem::new(why.status(), why.body_text()))?;
    let refused = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    desk.log_level.set(&level.filter).map_err(refused)?;
    Ok(Json(Level { filter: desk.log_level.show() }))
}
