//! Reading a filter's module and its configuration from files.

use std::fs;
use std::path::Path;

use crate::filter::Failure;

/// The bytes of a module.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::metadata(path).map_err(Failure::io(path))?.len();
    if bytes > MODULE_BYTES_MAX {
        let reason = format!("{bytes} bytes, a module has at most {MODULE_BYTES_MAX}");
        return Err(Failure::Malformed { path: path.to_owned(), reason });
    }
    fs::read(path).map_err(Failure::io(path))
}

/// What a filter is given as its configuration: a `.toml` file as JSON, any other as it stands.
pub(crate) fn config(path: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    let text = fs::read_to_string(path).map_err(Failure::io(path))?;
    if !is_toml(path) {
        return Ok(text);
    }
    let malformed = |reason| Failure::Malformed { path: path.to_owned(), reason };
    let table: toml::Table = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    config_text(&toml::Value::Table(table)).map_err(malformed)
}

/// By its name.
pub(crate) fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// A configuration as a filter gets it: text as it stands, anything else as JSON.
pub(crate) fn config_text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        data => serde_json::to_string(data).map_err(|error| error.to_string()),
    }
}

/// The one thing that a failed start is to be blamed on: what the filter said of it, and the host.
pub(crate) fn refused(path: &Path, error: &impl ToString, lines: &[String]) -> Failure {
    let said = lines.iter().map(String::as_str);
    let reason = said.chain([error.to_string().as_str()]).collect::<Vec<_>>().join("; ");
    Failure::Refused { path: path.to_owned(), reason }
}

/// Larger than any real module, and no strain on a machine that compiles it.
const MODULE_BYTES_MAX: u64 = 64 << 20;
