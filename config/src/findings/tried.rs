//! Mistakes that show only when a config is tried, brought to their places in its text.
//!
//! Not the trying: this crate opens no file and starts no filter. Whoever does tells by keys.

use toml::de::DeTable;

use crate::findings::place::Places;
use crate::findings::{FindingKind, Findings};
use crate::grammar::reader::RawFinding;
use crate::grammar::tree::key_text;

/// A mistake that showed when a config was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What sort of mistake it is.
    pub kind: FindingKind,
    /// The keys that lead to it, as in `filter`, `jwt`, `config`.
    pub keys: Vec<String>,
    /// What is wrong: the end of a sentence.
    pub problem: String,
}

impl Findings {
    /// The flaws of the config in `text`, which the caller calls `file`; none where there are
    /// none. A key that the text leaves out is shown at the table that it belongs to.
    pub fn of(file: &str, text: &[u8], flaws: Vec<Flaw>) -> Option<Findings> {
        let source = std::str::from_utf8(text).unwrap_or_default();
        let (document, _) = DeTable::parse_recoverable(source);
        let raw = |flaw: Flaw| {
            let mut table = Some(document.get_ref());
            let mut span = 0..0;
            for key in &flaw.keys {
                let Some(node) = table.and_then(|table| table.get(key.as_str())) else { break };
                span = node.span();
                table = node.get_ref().as_table();
            }
            let mut found = RawFinding::new(flaw.kind, span, flaw.problem);
            let path: Vec<String> = flaw.keys.iter().map(|key| key_text(key)).collect();
            found.path = path.join(".");
            found
        };
        let raw: Vec<RawFinding> = flaws.into_iter().map(raw).collect();
        let found = !raw.is_empty();
        found.then(|| Places::new(text).findings(file, raw, 0))
    }
}
