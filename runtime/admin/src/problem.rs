//! Errors as problem documents (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use penstock_control::Gone;
use serde_json::{Map, Value, json};

/// An error answer.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// RFC 9457 §3.2: members of our own.
    extension: Option<(&'static str, Value)>,
}

impl Problem {
    /// A problem with a sentence about this occurrence.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), extension: None }
    }

    /// Adds a member of our own.
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Problem {
        self.extension = Some((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // RFC 9457 §4.2.1: with `about:blank` the title is the status' phrase.
        let title = self.status.canonical_reason().unwrap_or("error");
        let mut document = Map::new();
        document.insert("type".into(), json!("about:blank"));
        document.insert("title".into(), json!(title));
        document.insert("status".into(), json!(self.status.as_u16()));
        document.insert("detail".into(), json!(self.detail));
        if let Some((name, value)) = self.extension {
            document.insert(name.into(), value);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, Value::Object(document).to_string()).into_response()
    }
}

impl From<Gone> for Problem {
    fn from(gone: Gone) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, gone.to_string())
    }
}
