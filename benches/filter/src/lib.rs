//! The filter whose cost is measured: checks a token, routes by path, edits four header fields.
//!
//! What a small real filter does, in one module for every host. Not a filter to install.

#![deny(unsafe_code)]

use penstock::{Answer, ConfigError, Filter, Flow, Request, Response};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The filter.
pub struct Gate {
    /// The whole value of the field that lets a request in.
    authorization: String,
    routes: Vec<Route>,
}

/// What the host gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    token: String,
    routes: Vec<Route>,
}

/// Where requests go whose path begins so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    prefix: String,
    to: String,
}

#[penstock::filter]
impl Filter for Gate {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.token.is_empty() {
            return Err(ConfigError::at("token", "must not be empty"));
        }
        let authorization = format!("Bearer {}", config.token);
        Ok(Self { authorization, routes: config.routes })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        if request.header("authorization") != Some(&self.authorization) {
            return Answer::new(401).cause("no_token").into();
        }
        let path = request.path().unwrap_or("/");
        let route = self.routes.iter().find(|route| path.starts_with(&route.prefix));
        request.set_header("x-route", route.map_or("default", |route| &route.to));
        request.remove_header("authorization");
        request.set_header("x-gate", "passed");
        Flow::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) -> Flow {
        response.set_header("x-gate", "passed");
        Flow::Continue
    }
}
