//! Reading, writing and digesting files, with a sentence where that fails.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use toml::Table;

/// The SHA-256 of `bytes` in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A TOML file; an empty table where there is none.
pub(crate) fn read_table(path: &Path) -> Result<Table, String> {
    match path.is_file() {
        false => Ok(Table::new()),
        true => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            text.parse().map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn create(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}
