//! `GET /`: the dashboard, one page that asks `/v1/status` every second.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// Nothing from elsewhere is loaded, and nobody frames the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(crate) async fn show() -> impl IntoResponse {
    let fields = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (fields, Html(include_str!("page.html")))
}
