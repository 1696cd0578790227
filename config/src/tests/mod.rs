//! The language as a whole: rows of text in, configs or findings out.

mod bad_values;
mod defaults;
mod documents;
mod findings;
mod fleet;
mod matching;
mod mistakes;
mod passthrough;
mod round_trip;
mod schema;
mod services;
mod tls;

use std::io;
use std::path::Path;

use crate::{Config, Files, Findings, UncheckedFiles};

/// The smallest config that does something; and what it does is safe.
const MINIMAL: &str = r#"[listener.web]
address = ":8080"
to = "app"

[cluster.app]
endpoints = ["127.0.0.1:9001"]
"#;

fn parse(text: &str) -> Result<Config, Findings> {
    Config::parse("penstock.toml", text.as_bytes(), &UncheckedFiles)
}

/// Files that the tests say are there.
struct FakeFiles(&'static [(&'static str, &'static [u8])]);

impl Files for FakeFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or(io::ErrorKind::NotFound.into())
    }
}
