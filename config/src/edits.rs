//! Changes to the header fields of requests and responses.
//!
//! Fields that frame a message cannot be named: no config can make us smuggle.

use serde_json::{Value, json};

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, TableReader, wrong_type};
use crate::grammar::section::section;
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;
use crate::values::header::{HeaderName, HeaderValue};

/// Header fields with their values, sorted by name as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

impl std::ops::Deref for Fields {
    type Target = [(HeaderName, HeaderValue)];

    fn deref(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0
    }
}

impl Setting for Fields {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<Fields> {
        let Some(table) = node.get_ref().as_table() else {
            return reader.refuse(node, wrong_type("a table of header fields", node));
        };
        if table.len() > FIELDS_MAX {
            return reader.refuse(node, format!("at most {FIELDS_MAX} fields"));
        }
        let field = |(key, value): (&toml::Spanned<_>, Node<'_>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            reader.below(key, |reader| {
                let name = match key.parse::<HeaderName>() {
                    Ok(name) if !name.is_framing() => name,
                    Ok(_) => return reader.refuse(value, FRAMING.to_owned()),
                    Err(problem) => return reader.refuse(value, problem.0),
                };
                Some((name, HeaderValue::read(value, &(), reader)?))
            })
        };
        let fields: Vec<_> = table.iter().map(field).collect();
        fields.into_iter().collect::<Option<_>>().map(Fields)
    }

    fn write(&self, names: &Names) -> Tree {
        let entry = |(name, value): &(HeaderName, HeaderValue)| {
            (name.as_str().to_owned(), value.write(names))
        };
        Tree::Table(self.0.iter().map(entry).collect())
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

section! {
    /// Changes to the fields of a message: first `remove`, then `set`, then `add`.
    #[derive(Eq)]
    pub struct HeaderEdits("header-edits", check = check_edits) = default {
        /// Fields that are removed.
        remove: Vec<HeaderName> = Vec::new();
        /// Fields that are put in place of all of that name.
        set: Fields = Fields::default();
        /// Fields that are added to those of that name.
        add: Fields = Fields::default();
    }
}

impl HeaderEdits {
    /// True where nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

fn check_edits(edits: &HeaderEdits, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    if edits.remove.iter().any(HeaderName::is_framing) {
        return table.contradict("remove", FRAMING);
    }
    // RFC 9112 §3.2: a request has exactly one Host.
    let is_host = |name: &HeaderName| name.matches(b"host");
    if edits.remove.iter().any(is_host) {
        return table.contradict("remove", "Host can be set, not removed");
    }
    if edits.add.iter().any(|(name, _)| is_host(name)) {
        return table.contradict("add", "Host can be set, not added");
    }
    Some(())
}

const FRAMING: &str = "frames messages or concerns one connection: not for a config to change";

const FIELDS_MAX: usize = 100;
