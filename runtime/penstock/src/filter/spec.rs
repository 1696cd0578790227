//! A file of exchanges and connections: one filter with its configuration, and cases for it.
//!
//! ```toml
//! wasm = "greeter.wasm"                 # from this file's folder
//! config = { greeting = "hello" }
//!
//! [[case]]
//! name = "greets every caller"
//! request = "GET /"
//! expect = { status = 200, headers = ["x-greeting: hello"] }
//!
//! [[connection]]
//! name = "lets bytes pass"
//! steps = [{ downstream = "a" }, { upstream = "b", end = true }]
//! expect = { to_upstream = "a", to_downstream = "b" }
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use penstock_filter_host::OnError;
use serde::Deserialize;

use crate::filter::case::Case;
use crate::filter::connection::ConnectionCase;
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
    #[serde(rename = "case", default)]
    pub(crate) cases: Vec<Case>,
    /// Raw connections, after them.
    #[serde(rename = "connection", default)]
    pub(crate) connections: Vec<ConnectionCase>,
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
        if spec.cases.is_empty() && spec.connections.is_empty() {
            return Err(malformed("there is no [[case]] in it, and no [[connection]]".to_owned()));
        }
        let cases = spec.cases.iter_mut().map(|case| &mut case.name);
        for (name, number) in cases.zip(1..).filter(|(name, _)| name.is_empty()) {
            *name = format!("case {number}");
        }
        let connections = spec.connections.iter_mut().map(|case| &mut case.name);
        for (name, number) in connections.zip(1..).filter(|(name, _)| name.is_empty()) {
            *name = format!("connection {number}");
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
