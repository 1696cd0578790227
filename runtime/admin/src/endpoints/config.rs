//! `/v1/config`: the config in force, a new one in its place, and the check of one.
//!
//! A config that was put is in force until the next reload, which goes back to the file.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use penstock_control::{Applied, Gone};
use serde_json::{Value, json};

use crate::Desk;
use crate::problem::Problem;

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

pub(crate) async fn show(State(desk): State<Desk>) -> Result<Response, Problem> {
    let (tag, mut config) =
        desk.control.ask(|control| (control.tag(), control.snapshot().config.to_json())).await?;
    hide_secrets(&mut config);
    Ok((etag(&tag), Json(config)).into_response())
}

pub(crate) async fn put(
    State(desk): State<Desk>,
    headers: HeaderMap,
    text: Bytes,
) -> Result<Response, Problem> {
    // RFC 6585 §3: without a condition two operators could undo each other unseen.
    let expected = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let Some(expected) = expected.map(|tag| tag.trim().trim_matches('"').to_owned()) else {
        let detail = "send If-Match with the ETag of the config that this one was made from";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail));
    };
    let (outcome, tag) = desk
        .control
        .ask(move |control| (control.put_config(&text, &expected), control.tag()))
        .await?;
    let applied: Applied = outcome?;
    Ok((etag(&tag), Json(applied)).into_response())
}

pub(crate) async fn check(State(desk): State<Desk>, text: Bytes) -> Result<Json<Value>, Problem> {
    let files = desk.control.ask(|control| control.files()).await?;
    // Filters are compiled and started: nothing else may wait for that.
    let checked = tokio::task::spawn_blocking(move || {
        penstock_control::check("config", &text, &files).map(drop)
    });
    match checked.await.map_err(|_| Gone)? {
        Ok(()) => Ok(Json(json!({ "file": "config", "findings": [], "left_out": 0 }))),
        Err(findings) => {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, findings.to_string());
            Err(problem.with("findings", findings.to_json()))
        }
    }
}

fn etag(tag: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("\"{tag}\""));
    value.into_iter().map(|value| (header::ETAG, value)).collect()
}

/// Hides the fleet's seed, and what filters are given: keys, tokens, who knows.
fn hide_secrets(config: &mut Value) {
    hide(config.pointer_mut("/fleet/hash_seed"));
    each(config.get_mut("filter"), |filter| {
        for key in ["config", "vm_config", "environment"] {
            hide(filter.get_mut(key));
        }
        hide(filter.pointer_mut("/canary/config"));
    });
    each(config.get_mut("listener"), |listener| {
        each(listener.get_mut("filters"), |used| hide(used.get_mut("config")));
        each(listener.get_mut("route"), |route| {
            each(route.get_mut("filters"), |used| hide(used.get_mut("config")));
        });
    });
}

fn each(values: Option<&mut Value>, mut visit: impl FnMut(&mut Value)) {
    match values {
        Some(Value::Array(items)) => items.iter_mut().for_each(visit),
        Some(Value::Object(entries)) => entries.values_mut().for_each(&mut visit),
        _ => {}
    }
}

fn hide(value: Option<&mut Value>) {
    if let Some(value) = value
        && !value.is_null()
    {
        *value = Value::String(HIDDEN.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use penstock_config::{Config, UncheckedFiles};

    use super::hide_secrets;

    #[test]
    fn no_secret_is_left_in_what_is_shown() {
        let text = r#"
[fleet]
hash_seed = "SECRET-1"
[listener.web]
address = ":80"
filters = [{ filter = "jwt", config = { key = "SECRET-2" } }]
[[listener.web.route]]
filters = [{ filter = "tag", config = "SECRET-3" }]
to = "app"
[cluster.app]
endpoints = ["127.0.0.1:1"]
[filter.jwt]
wasm = "jwt.wasm"
config = { key = "SECRET-4" }
vm_config = "SECRET-5"
environment = { KEY = "SECRET-6" }
canary = { share = "5%", config = "SECRET-7" }
[filter.tag]
wasm = "tag.wasm"
"#;
        let config = Config::parse("x", text.as_bytes(), &UncheckedFiles).expect("a config");
        let mut shown = config.to_json();
        assert_eq!(shown.to_string().matches("SECRET").count(), 7);
        hide_secrets(&mut shown);
        assert!(!shown.to_string().contains("SECRET"), "{shown}");
    }
}
