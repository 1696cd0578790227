//! `GET /metrics`: Prometheus text.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::Desk;
use crate::problem::Problem;

/// The text exposition format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn show(State(desk): State<Desk>) -> Result<impl IntoResponse, Problem> {
    let text = desk.control.ask(|control| control.metrics()).await?;
    Ok(([(header::CONTENT_TYPE, FORMAT)], text))
}
