//! What is handed on to a filter's module as it is: configuration and environment.

use std::borrow::Cow;
use std::ops::Deref;

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, wrong_type};
use crate::grammar::setting::{Setting, whole_number};
use crate::grammar::tree::Tree;

/// Configuration that is handed on to a module as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload(Tree);

impl Payload {
    /// What the module is given: text as it stands, anything else as JSON; empty if not set.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Tree::Null => Cow::Borrowed(""),
            Tree::Text(text) => Cow::Borrowed(text),
            data => Cow::Owned(data.to_json().to_string()),
        }
    }

    /// True if nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.0 == Tree::Null
    }
}

impl Default for Payload {
    fn default() -> Payload {
        Payload(Tree::Null)
    }
}

impl Setting for Payload {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<Payload> {
        data(node, reader).map(Payload)
    }

    fn write(&self, _names: &Names) -> Tree {
        self.0.clone()
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "description": "text, or any table, which becomes JSON" })
    }
}

/// Any TOML value as data. The parser bounds how deep it can be.
fn data(node: Node<'_>, reader: &mut Reader<'_>) -> Option<Tree> {
    Some(match node.get_ref() {
        DeValue::String(text) => Tree::text(text),
        DeValue::Integer(_) => Tree::Int(whole_number(node, reader)?),
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Tree::Float(number),
            // RFC 8259 §6: JSON has no infinity and no NaN.
            _ => return reader.refuse(node, "JSON has no such number"),
        },
        DeValue::Boolean(value) => Tree::Bool(*value),
        DeValue::Datetime(date) => Tree::text(date),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| data(item, reader)).collect();
            Tree::List(items.into_iter().collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entry = |(key, node): (&toml::Spanned<_>, _)| {
                let key: &Cow<'_, str> = key.get_ref();
                reader.below(key, |reader| Some((key.to_string(), data(node, reader)?)))
            };
            let entries: Vec<_> = table.iter().map(entry).collect();
            Tree::Table(entries.into_iter().collect::<Option<_>>()?)
        }
    })
}

/// Environment variables that a module sees, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Deref for Environment {
    type Target = [(String, String)];

    fn deref(&self) -> &[(String, String)] {
        &self.0
    }
}

impl Setting for Environment {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<Environment> {
        let Some(table) = node.get_ref().as_table() else {
            return reader.refuse(node, wrong_type("a table of variables", node));
        };
        if table.len() > VARIABLES_MAX {
            return reader.refuse(node, format!("at most {VARIABLES_MAX} variables"));
        }
        let variable = |(name, value): (&toml::Spanned<_>, Node<'_>)| {
            let name: &Cow<'_, str> = name.get_ref();
            reader.below(name, |reader| {
                let text = String::read(value, &String::ANY, reader)?;
                // environ(7): NAME=VALUE, ended by a NUL.
                if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
                    return reader.refuse(value, "a variable's name has no `=`, and neither a NUL");
                }
                Some((name.to_string(), text))
            })
        };
        let variables: Vec<_> = table.iter().map(variable).collect();
        variables.into_iter().collect::<Option<_>>().map(Environment)
    }

    fn write(&self, _names: &Names) -> Tree {
        let entry = |(name, value): &(String, String)| (name.clone(), Tree::text(value));
        Tree::Table(self.0.iter().map(entry).collect())
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

const VARIABLES_MAX: usize = 256;
