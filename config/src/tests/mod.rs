//! The language as a whole: rows of text in, configs or findings out.

mod round_trip;

use crate::{Config, Findings, UncheckedFiles};

/// The smallest config that does something; and what it does is safe.
const MINIMAL: &str = r#"
[listener.web]
address = ":8080"
to = "app"

[cluster.app]
endpoints = ["127.0.0.1:9001"]
"#;

fn parse(text: &str) -> Result<Config, Findings> {
    Config::parse("penstock.toml", text.as_bytes(), &UncheckedFiles)
}
