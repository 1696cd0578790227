//! Mistakes that show only when a config is tried, brought to their places in its text.
//!
//! Not the trying: this crate opens no file and starts no filter. Whoever does tells by keys.

use toml::de::{DeArray, DeTable};

use crate::findings::place::Places;
use crate::findings::{FindingKind, Findings};
use crate::grammar::reader::RawFinding;
use crate::grammar::tree::key_text;

/// A mistake that showed when a config was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What sort of mistake it is.
    pub kind: FindingKind,
    /// The keys that lead to it, as in `filter`, `jwt`, `config`; an item of a list is `[0]`.
    pub keys: Vec<String>,
    /// What is wrong: the end of a sentence.
    pub problem: String,
}

impl Flaw {
    /// The keys as findings show them: `listener.web.route[0].filters`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for key in &self.keys {
            match item(key) {
                Some(_) => path.push_str(key),
                None if path.is_empty() => path = key_text(key),
                None => {
                    path.push('.');
                    path.push_str(&key_text(key));
                }
            }
        }
        path
    }
}

/// The place in a list that this key stands for.
fn item(key: &str) -> Option<usize> {
    key.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

impl Findings {
    /// The flaws of the config in `text`, which the caller calls `file`; none where there are
    /// none. A key that the text leaves out is shown at the table that it belongs to.
    pub fn of(file: &str, text: &[u8], flaws: Vec<Flaw>) -> Option<Findings> {
        let source = std::str::from_utf8(text).unwrap_or_default();
        let (document, _) = DeTable::parse_recoverable(source);
        let raw = |flaw: Flaw| {
            let mut span = 0..0;
            let (mut table, mut list) = (Some(document.get_ref()), None::<&DeArray<'_>>);
            for key in &flaw.keys {
                let node = match item(key) {
                    Some(index) => list.and_then(|list| list.get(index)),
                    None => table.and_then(|table| table.get(key.as_str())),
                };
                let Some(node) = node else { break };
                span = node.span();
                (table, list) = (node.get_ref().as_table(), node.get_ref().as_array());
            }
            let path = flaw.path();
            let mut found = RawFinding::new(flaw.kind, span, flaw.problem);
            found.path = path;
            found
        };
        let raw: Vec<RawFinding> = flaws.into_iter().map(raw).collect();
        let found = !raw.is_empty();
        found.then(|| Places::new(text).findings(file, raw, 0))
    }
}
