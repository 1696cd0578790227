//! Lists that a document repeats from the product: causes, fields of the access log, metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use penstock_proxy::Cause;
use penstock_proxy::failure::Next;

use crate::root;

const DOCUMENT: &str = "OPERATING.md";
const BEGIN: &str = "<!-- causes -->\n";
const END: &str = "<!-- /causes -->\n";
/// Set, it has the list of causes written anew in place of compared.
const WRITE: &str = "PENSTOCK_WRITE_DOCS";

/// Where metrics are declared or scraped.
const METRICS: &[&str] =
    &["runtime/proxy/src", "runtime/control/src", "runtime/telemetry/src/metrics"];

fn document() -> String {
    fs::read_to_string(root().join(DOCUMENT)).expect("the document is there")
}

/// Every cause with what its source says of it.
fn causes() -> String {
    let source = fs::read_to_string(root().join("runtime/proxy/src/failure.rs"));
    let source = source.expect("causes are there");
    let mut table = String::from("| cause | whose fault | answer | what |\n|---|---|---|---|\n");
    for cause in Cause::ALL {
        let at = source.find(&format!(" = \"{}\", ", cause.name())).expect("it is declared there");
        let line = source[..at].rfind('\n').expect("not the first line");
        let docs = source[..line].rsplit('\n').take_while(|line| line.trim().starts_with("///"));
        let mut docs: Vec<&str> = docs.map(|line| line.trim()[3..].trim()).collect();
        docs.reverse();
        let answer = match cause.next() {
            Next::Respond(status) => status.to_string(),
            Next::RespondAndClose(status) => format!("{status}, close"),
            Next::Close => "close".to_owned(),
        };
        let (name, side) = (cause.name(), cause.side().as_str());
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {side} | {answer} | {} |", docs.join(" "));
    }
    table
}

#[test]
fn every_cause_is_listed_as_its_source_says() {
    let (text, expected) = (document(), causes());
    let from = text.find(BEGIN).expect("the list begins") + BEGIN.len();
    let to = text.find(END).expect("the list ends");
    if std::env::var_os(WRITE).is_some() {
        let whole = text[..from].to_owned() + &expected + &text[to..];
        fs::write(root().join(DOCUMENT), whole).expect("the document can be written");
        return;
    }
    let differs = expected.lines().zip(text[from..to].lines()).find(|(one, other)| one != other);
    let same = text[from..to] == expected;
    assert!(same, "{differs:?}: {WRITE}=1 cargo test --test docs writes {DOCUMENT} anew");
}

/// The first cells of the table under `heading`.
fn first_cells(text: &str, heading: &str) -> String {
    let section = text.split(heading).nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('|').nth(1)).collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_field_of_the_access_log_is_listed() {
    let source = fs::read_to_string(root().join("runtime/telemetry/src/access/json.rs"));
    let source = source.expect("the log's form is there");
    let names = source.split("\\\":").filter_map(|before| before.rsplit("\\\"").next());
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let written: BTreeSet<&str> = names.filter(is_name).collect();
    assert!(written.len() > 20, "{written:?}");
    let (text, mut listed) = (document(), BTreeSet::new());
    let cells = first_cells(&text, "## The access log");
    listed.extend(quoted(&cells));
    assert_eq!(listed, written, "{DOCUMENT}");
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true if !path.ends_with("tests") => sources(&path, found),
            true => {}
            false if path.ends_with("tests.rs") => {}
            false => found.push(path),
        }
    }
}

#[test]
fn every_metric_is_listed() {
    let mut files = Vec::new();
    METRICS.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let mut made = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let names = text.split('"').skip(1).step_by(2).filter(|name| is_metric(name));
        made.extend(names.map(str::to_owned));
    }
    assert!(made.len() > 80, "{made:?}");
    let text = document();
    let section = text.split("## Metrics").nth(1).expect("the section is there");
    let rows: String = section.lines().filter(|line| line.starts_with('|')).collect();
    let listed = quoted(&rows).into_iter().filter(|name| is_metric(name));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let missing: Vec<_> = made.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&made).collect();
    assert!(missing.is_empty() && gone.is_empty(), "missing {missing:?}, gone {gone:?}");
}

fn is_metric(name: &str) -> bool {
    let ours = ["penstock_", "process_"].iter().any(|start| name.starts_with(start));
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ours && !name.ends_with('_') && name.bytes().all(letters)
}

/// Where the properties of exchanges and connections are, and those of filters themselves.
const PROPERTIES: &[&str] = &[
    "runtime/proxy/src/exchange/session.rs",
    "runtime/proxy/src/relay/filtered/view.rs",
    "runtime/proxy/src/properties.rs",
    "runtime/filter-host/src/hostcalls/properties.rs",
];

/// Bytes in these files that are no part of a property's name.
const NO_PROPERTIES: &[&str] = &["http", "https", "x-request-id", "user-agent"];

/// The byte strings of a source, tests aside.
fn byte_strings(source: &str) -> impl Iterator<Item = &str> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    source.split("b\"").skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_property_is_in_the_guide_and_no_other() {
    let guide = fs::read_to_string(root().join("filters-sdk/README.md")).expect("it is there");
    let table = guide.split("| property | type | what |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let paths = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let told: BTreeSet<&str> = paths
        .flat_map(|path| path.split('.'))
        .filter(|part| *part != "NAME")
        .chain(["xds"])
        .collect();
    let sources: Vec<String> = PROPERTIES
        .iter()
        .map(|path| fs::read_to_string(root().join(path)).expect("the source is there"))
        .collect();
    let known: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| byte_strings(source))
        .filter(|word| !NO_PROPERTIES.contains(word))
        .collect();
    let (untold, unknown): (Vec<_>, Vec<_>) =
        (known.difference(&told).collect(), told.difference(&known).collect());
    assert!(untold.is_empty(), "in no row of the guide: {untold:?}");
    assert!(unknown.is_empty(), "known to no filter: {unknown:?}");
}
