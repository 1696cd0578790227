//! Greets every caller, except those that it turns away.

use penstock::{Answer, ConfigError, Filter, Flow, Request, Response};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The filter: one value per configuration and shard.
pub struct Greeter {
    config: Config,
}

/// What the operator writes under `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    greeting: String,
    /// Paths that nobody is to see.
    #[serde(default)]
    closed: Vec<String>,
}

#[penstock::filter]
impl Filter for Greeter {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.greeting.is_empty() {
            return Err(ConfigError::at("greeting", "must not be empty"));
        }
        Ok(Self { config })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        let path = request.path_only().unwrap_or("/");
        if self.config.closed.iter().any(|closed| path.starts_with(closed)) {
            return Answer::new(404).body("nothing here\n").cause("closed_path").into();
        }
        Flow::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) -> Flow {
        response.set_header("x-greeting", &self.config.greeting);
        Flow::Continue
    }
}
