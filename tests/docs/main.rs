//! Holds the documents to the product: what they show as a configuration is one.
//!
//! Rules about the tree itself are in `tests/tidy`; this needs the product's own crates.

#![forbid(unsafe_code)]

mod lists;

use std::fs;
use std::path::Path;

use penstock_config::{Config, UncheckedFiles};

/// Documents whose fenced TOML blocks are configurations, each for itself.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "packaging/bird/README.md",
    "packaging/decap/README.md",
    "packaging/tproxy/README.md",
];

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent")
}

/// The text of each fenced block of `language`, with the line it begins in.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let open = format!("```{language}\n");
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(&open) {
        let start = from + at + open.len();
        let end = text[start..].find("\n```").map_or(text.len(), |bytes| start + bytes + 1);
        found.push((text[..start].lines().count() + 1, &text[start..end]));
        from = end;
    }
    found
}

#[test]
fn every_configuration_shown_is_accepted() {
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).expect("the document is there");
        for (line, block) in blocks(&text, "toml") {
            let name = format!("{document}, block at line {line}");
            if let Err(findings) = Config::parse(&name, block.as_bytes(), &UncheckedFiles) {
                panic!("{findings}");
            }
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} configurations were found: the test proves nothing");
}

#[test]
fn blocks_are_cut_at_their_fences() {
    let text = "a\n```toml\nb = 1\n```\n```sh\nc\n```\n```toml\nd = 1\n";
    assert_eq!(blocks(text, "toml"), [(3, "b = 1\n"), (9, "d = 1\n")]);
}
