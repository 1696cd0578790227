//! A file of exchanges: one filter with its configuration, and cases for it.
//!
//! ```toml
//! wasm = "greeter.wasm"                 # from this file's folder
//! config = { greeting = "hello" }
//!
//! [[case]]
//! name = "greets every caller"
//! request = "GET /"
//! expect = { status = 200, headers = ["x-greeting: hello"] }
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use penstock_filter_host::OnError;
use serde::Deserialize;

use crate::filter::case::Case;
use crate::filter::{Failure, module};

/// The file, with its cases in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// The module; from the file's folder.
    pub(crate) wasm: PathBuf,
    /// As under `config` in a configuration of the proxy.
    #[serde(default)]
    config: Option<toml::Value>,
    /// Clusters that the filter may call.
    #[serde(default)]
    pub(crate) http_calls: Vec<String>,
    /// What happens when the filter fails.
    #[serde(default)]
    pub(crate) on_error: Policy,
    /// They run one after the other on one instance: what one leaves behind, the next finds.
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// As `on_error` in a configuration of the proxy.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    #[default]
    Deny,
    Allow,
}

impl From<Policy> for OnError {
    fn from(policy: Policy) -> OnError {
        match policy {
            Policy::Deny => OnError::Deny,
            Policy::Allow => OnError::Allow,
        }
    }
}

impl Spec {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Spec, Failure> {
        let text = fs::read_to_string(path).map_err(Failure::io(path))?;
        let malformed = |reason: String| Failure::Malformed { path: path.to_owned(), reason };
        let mut spec: Spec = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if spec.cases.is_empty() {
            return Err(malformed("there is no [[case]] in it".to_owned()));
        }
        for (case, number) in spec.cases.iter_mut().zip(1..) {
            if case.name.is_empty() {
                case.name = format!("case {number}");
            }
        }
        spec.wasm = path.parent().unwrap_or(Path::new("")).join(&spec.wasm);
        Ok(spec)
    }

    /// The configuration as the filter gets it; `path` is the file that this was read from.
    pub(crate) fn config_text(&self, path: &Path) -> Result<String, Failure> {
        let text = self.config.as_ref().map_or(Ok(String::new()), module::config_text);
        text.map_err(|reason| Failure::Malformed { path: path.to_owned(), reason })
    }
}
