//! Adds, sets and removes header fields of requests and responses.
//!
//! ```toml
//! [filter.edit.config.request]
//! remove = ["x-debug"]
//! set = { x-served-by = "penstock" }
//! add = { x-tag = "edge" }
//!
//! [filter.edit.config.response]
//! remove = ["server"]
//! ```
//!
//! Order: remove, set, add. So a field can be removed whatever its values, and then added anew.

#![deny(unsafe_code)]

use std::collections::BTreeMap;

use penstock::{ConfigError, Fields, Filter, Flow, Request, Response};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The filter.
pub struct HeaderEdit {
    request: Edits,
    response: Edits,
}

/// What the operator writes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    request: Edits,
    response: Edits,
}

/// The changes of one direction.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Edits {
    /// Fields that go, with all their values.
    remove: Vec<String>,
    /// Fields that get this one value, in place of all that they had.
    set: BTreeMap<String, String>,
    /// Fields that are added beside those of the same name.
    add: BTreeMap<String, String>,
}

#[penstock::filter]
impl Filter for HeaderEdit {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        config.request.check("request")?;
        config.response.check("response")?;
        Ok(Self { request: config.request, response: config.response })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        self.request.apply(request);
        Flow::Continue
    }

    fn on_response(&self, response: &mut Response<'_>) -> Flow {
        self.response.apply(response);
        Flow::Continue
    }
}

impl Edits {
    fn apply(&self, fields: &mut Fields<'_>) {
        for name in &self.remove {
            fields.remove_header(name);
        }
        for (name, value) in &self.set {
            fields.set_header(name, value);
        }
        for (name, value) in &self.add {
            fields.add_header(name, value);
        }
    }

    /// Everything is checked here once, so that nothing is refused per request.
    fn check(&self, direction: &str) -> Result<(), ConfigError> {
        for (index, name) in self.remove.iter().enumerate() {
            let at = format!("{direction}.remove[{index}]");
            check_name(&at, name)?;
            if name.starts_with(':') {
                return Err(ConfigError::at(at, format!("{name}: a message needs it")));
            }
        }
        for (kind, fields) in [("set", &self.set), ("add", &self.add)] {
            for (name, value) in fields {
                let at = format!("{direction}.{kind}.{name}");
                check_name(&at, name)?;
                if kind == "add" && name.starts_with(':') {
                    return Err(ConfigError::at(at, "a message has it once: set it"));
                }
                // RFC 9110 §5.5: no CR, LF or NUL, and no other control character but a tab.
                if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
                    return Err(ConfigError::at(at, "a value has no control characters"));
                }
            }
        }
        Ok(())
    }
}

/// A field's name is a token in lower case; a pseudo-field's one begins with a colon.
fn check_name(at: &str, name: &str) -> Result<(), ConfigError> {
    // RFC 9110 §5.6.2: the characters of a token.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let bare = name.strip_prefix(':').unwrap_or(name);
    if bare.is_empty() || !bare.bytes().all(token) {
        return Err(ConfigError::at(at, format!("{name:?} is not the name of a field")));
    }
    if bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ConfigError::at(at, format!("{name:?}: write names in lower case")));
    }
    Ok(())
}
