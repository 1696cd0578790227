//! Lets clients in who begin with a word, and takes it off; others are turned away.

use std::net::IpAddr;

use penstock::{ConfigError, Connection, Data, StreamFilter, StreamFlow};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The filter: one value per configuration and shard.
pub struct Knock {
    config: Config,
}

/// What the operator writes under `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    word: String,
    /// Clients that are not let in, whatever they say.
    #[serde(default)]
    closed_to: Vec<IpAddr>,
}

/// What is remembered of a connection.
#[derive(Default)]
pub struct Known {
    has_knocked: bool,
}

#[penstock::filter]
impl StreamFilter for Knock {
    type Config = Config;
    type State = Known;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if config.word.is_empty() {
            return Err(ConfigError::at("word", "must not be empty"));
        }
        Ok(Self { config })
    }

    fn on_connect(&self, connection: &mut Connection<'_, Known>) -> StreamFlow {
        match connection.source_ip() {
            Some(source) if self.config.closed_to.contains(&source) => StreamFlow::Close,
            _ => StreamFlow::Continue,
        }
    }

    fn on_downstream(&self, data: &mut Data<'_, Known>, end: bool) -> StreamFlow {
        if data.connection.state.has_knocked {
            return StreamFlow::Continue;
        }
        let word = self.config.word.as_bytes();
        let begin = data.range(0, word.len());
        if begin.len() < word.len() && word.starts_with(begin) && !end {
            // Comes again, with more.
            return StreamFlow::Wait;
        }
        if begin != word {
            return StreamFlow::Close;
        }
        data.connection.state.has_knocked = true;
        data.remove(0, word.len());
        StreamFlow::Continue
    }
}
