//! From the operator's text to a filter's `Config`, with errors that say where.

use core::fmt;

use serde::de::DeserializeOwned;

/// Why a configuration was not taken: the path of the entry, and what is wrong with it.
///
/// ```
/// # extern crate penstock_filters_sdk as penstock;
/// use penstock::ConfigError;
///
/// let error = ConfigError::at("rules[2].cidr", "expected an address and a length");
/// assert_eq!(error.to_string(), "rules[2].cidr: expected an address and a length");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    message: String,
}

impl ConfigError {
    /// An error of the entry at `path`, as in `rules[2].cidr`.
    pub fn at(path: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { path: path.to_string(), message: message.to_string() }
    }

    /// An error of the configuration as a whole.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::at("", message)
    }

    /// Where in the configuration, empty for the whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Reads `text` (JSON) as a `C`. No text at all is an empty table, so that a filter whose entries
/// all have defaults needs none.
pub(crate) fn parse<C: DeserializeOwned>(text: &[u8]) -> Result<C, ConfigError> {
    let text = if text.trim_ascii().is_empty() { b"{}" } else { text };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        ConfigError {
            path: if matches!(path.as_str(), "." | "?") { String::new() } else { path },
            message: error.inner().to_string(),
        }
    })?;
    reader.end().map_err(ConfigError::new)?;
    Ok(config)
}
