//! Rules about documents, and about what no file may betray: the machine it was made on.

use crate::{Finding, README_COMMANDS, Tree};

/// The first page has the two commands that a newcomer runs, word for word.
pub(crate) fn readme_commands(tree: &Tree) -> Vec<Finding> {
    let readme = tree.file("README.md").map_or("", |file| file.text());
    let missing = README_COMMANDS.iter().filter(|command| !readme.contains(**command));
    missing
        .map(|command| Finding::new("README.md", 1, format!("does not say `{command}`")))
        .collect()
}

/// No file holds a path of somebody's machine, compiled filters included: their bytes must not
/// depend on where they were built.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| has_machine_path(&file.bytes)) {
        for (line, number) in file.bytes.split(|byte| *byte == b'\n').zip(1..) {
            for path in MACHINE_PATHS {
                if line.windows(path.len()).any(|window| window == path.as_bytes()) {
                    findings.push(Finding::new(&file.path, number, format!("`{path}` in it")));
                }
            }
        }
    }
    findings
}

/// A quick look at a whole file: most have none.
fn has_machine_path(bytes: &[u8]) -> bool {
    // As text a search is fast; what is no text has these bytes in it all the same.
    let text = String::from_utf8_lossy(bytes);
    MACHINE_PATHS.iter().any(|path| text.contains(path))
}

/// Every crate's folder and every document that stands at the root is on the map.
pub(crate) fn code_map(tree: &Tree) -> Vec<Finding> {
    let map = tree.file("ARCHITECTURE.md").map_or("", |file| file.text());
    let manifests = tree.files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    let rooms = manifests.filter(|folder| !folder.contains("template") && !is_filter(folder));
    let missing = rooms.filter(|folder| !map.contains(&format!("`{folder}`")));
    missing
        .map(|folder| Finding::new("ARCHITECTURE.md", 1, format!("`{folder}` is not on the map")))
        .collect()
}

/// Filters are many: the map has their folder.
fn is_filter(folder: &str) -> bool {
    folder.starts_with("filters/")
}

/// Written in two parts, or this file would hold them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!(".cargo/", "registry"),
];
