//! The register of endpoints: every path and method of the API, a file each.

mod certs;
mod clusters;
mod config;
mod crls;
mod filters;
mod fleet;
mod flows;
mod health;
mod listeners;
mod log_level;
mod metrics;
mod page;
mod reload;
mod services;
mod status;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};

use crate::Desk;
use crate::problem::Problem;

/// Bytes of a request's body where nothing larger is expected.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a config, which the language bounds as well.
const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All endpoints.
pub(crate) fn router() -> Router<Desk> {
    let configs = Router::new()
        .route("/v1/config", get(config::show).put(config::put))
        .route("/v1/config/check", post(config::check))
        .layer(DefaultBodyLimit::max(CONFIG_BYTES_MAX));
    Router::new()
        .route("/", get(page::show))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/v1/status", get(status::show))
        .route("/v1/clusters", get(clusters::list))
        .route("/v1/clusters/{cluster}", get(clusters::show))
        .route("/v1/listeners", get(listeners::list))
        .route("/v1/services", get(services::list))
        .route("/v1/flows", get(flows::list))
        .route("/v1/certs", get(certs::list))
        .route("/v1/crls", get(crls::list))
        .route("/v1/fleet", get(fleet::show))
        .route("/v1/filters", get(filters::list))
        .route("/v1/reload", post(reload::run))
        .route("/v1/log-level", get(log_level::show).put(log_level::set))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(configs)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}", request.uri().path()))
}

async fn no_such_method(method: Method, request: Request) -> Problem {
    let detail = format!("{method} is not for {}", request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
