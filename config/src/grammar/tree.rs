//! A config as plain data: what is shown, compared and given to filters.
//!
//! Not what a config is read from: that is the parser's tree, which knows positions.

use std::fmt::Write as _;

use serde_json::Value;

/// A value of a config, with the keys of tables in the order of the documentation.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Not set.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number; never infinite or NaN.
    Float(f64),
    /// Text, and everything that is written as text: durations, sizes, addresses.
    Text(String),
    /// Values in order.
    List(Vec<Tree>),
    /// Values by key.
    Table(Vec<(String, Tree)>),
}

impl Tree {
    /// Text from anything that can be shown.
    pub(crate) fn text(shown: impl ToString) -> Tree {
        Tree::Text(shown.to_string())
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(*value),
            Tree::Int(value) => Value::from(*value),
            Tree::Float(value) => Value::from(*value),
            Tree::Text(text) => Value::String(text.clone()),
            Tree::List(items) => items.iter().map(Tree::to_json).collect(),
            Tree::Table(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect()
            }
        }
    }

    /// The same value as a TOML document. Anything but a table gives an empty one.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        if let Tree::Table(entries) = self {
            write_document(entries, &mut Vec::new(), &mut out);
        }
        out
    }
}

/// How an entry is written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// On one line.
    Line,
    /// Under a header of its own.
    Table,
    /// As `[[...]]` blocks.
    Blocks,
}

/// The form of an entry of a table that is `depth` keys deep.
fn form(depth: usize, key: &str, value: &Tree) -> Form {
    match value {
        Tree::Table(_) if depth < 2 => Form::Table,
        Tree::Table(_) if depth == 2 && line_text(key, value).len() > LINE_BYTES_MAX => Form::Table,
        Tree::List(_) if depth == 2 && key == ROUTE => Form::Blocks,
        _ => Form::Line,
    }
}

fn line_text(key: &str, value: &Tree) -> String {
    let mut line = key_text(key) + " = ";
    write_value(value, &mut line);
    line
}

/// Writes `entries` under the header of `path`: what is on one line first, blocks last.
fn write_document(entries: &[(String, Tree)], path: &mut Vec<String>, out: &mut String) {
    let depth = path.len();
    for wanted in [Form::Line, Form::Table, Form::Blocks] {
        let is_wanted = |(key, value): &&(String, Tree)| {
            !matches!(value, Tree::Null) && form(depth, key, value) == wanted
        };
        for (key, value) in entries.iter().filter(is_wanted) {
            path.push(key_text(key));
            match (wanted, value) {
                (Form::Line, value) => {
                    out.push_str(&line_text(key, value));
                    out.push('\n');
                }
                (_, Tree::List(items)) => {
                    items.iter().for_each(|item| write_block(item, true, path, out));
                }
                (_, table) => write_block(table, false, path, out),
            }
            path.pop();
        }
    }
}

/// Writes one `[header]` or `[[header]]` and what is under it. A table that holds nothing but
/// tables (`[cluster]`) gets no header of its own.
fn write_block(value: &Tree, in_list: bool, path: &mut Vec<String>, out: &mut String) {
    let Tree::Table(entries) = value else { return };
    let only_tables = entries.iter().all(|(_, value)| matches!(value, Tree::Table(_)));
    if in_list || !only_tables || path.len() > 1 {
        let (open, close) = if in_list { ("[[", "]]") } else { ("[", "]") };
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}{open}{}{close}", path.join("."));
    }
    write_document(entries, path, out);
}

fn write_value(value: &Tree, out: &mut String) {
    match value {
        Tree::Null => out.push_str("\"\""),
        Tree::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Tree::Int(value) => out.push_str(&value.to_string()),
        // `{:?}` keeps the point of `1.0`, without which TOML would read a whole number.
        Tree::Float(value) => out.push_str(&format!("{value:?}")),
        Tree::Text(text) => write_text(text, out),
        Tree::List(items) => write_joined(items, "[", "]", out, write_value),
        Tree::Table(entries) => {
            let set: Vec<_> = entries.iter().filter(|(_, value)| *value != Tree::Null).collect();
            write_joined(&set, "{ ", " }", out, |(key, value), out| {
                out.push_str(&key_text(key));
                out.push_str(" = ");
                write_value(value, out);
            });
        }
    }
}

fn write_joined<T>(
    items: &[T],
    open: &str,
    close: &str,
    out: &mut String,
    mut write: impl FnMut(&T, &mut String),
) {
    if items.is_empty() {
        out.extend([open.trim(), close.trim()]);
        return;
    }
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
    out.push_str(close);
}

/// A bare key where TOML allows one, else a quoted one.
pub(crate) fn key_text(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    let mut out = String::new();
    write_text(key, &mut out);
    out
}

/// A basic string; TOML 1.0 "String": quotes, backslashes and control characters are escaped.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Longest table that is written on one line.
const LINE_BYTES_MAX: usize = 80;

/// The one list that is written as `[[...]]` blocks, one per route.
const ROUTE: &str = "route";
