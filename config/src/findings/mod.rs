//! What is wrong with a config: every mistake of a file, each at its place.
//!
//! Not how it is shown: that is `render`.

pub(crate) mod place;
mod render;
pub(crate) mod suggest;
mod tried;

use std::fmt;

pub use tried::Flaw;

/// The most findings that one run keeps; a hostile file must not fill memory with complaints.
pub const FINDINGS_MAX: usize = 1_000;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of mistake it is; findings are sorted by it first.
    pub kind: FindingKind,
    /// The key, as in `cluster.api.retry.attempts`; empty for mistakes of the text itself.
    pub path: String,
    /// Where it is.
    pub position: Position,
    /// What was found there, shortened, or empty where something is missing.
    pub found: String,
    /// What is wrong with it: the end of a sentence.
    pub problem: String,
    /// What would be right, or empty where the problem says it.
    pub allowed: String,
    /// The word that was probably meant.
    pub suggestion: Option<String>,
}

/// The sorts of mistakes, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The text is not TOML.
    Syntax,
    /// No such key here.
    UnknownKey,
    /// A key or value of the language that this version does not have.
    NotInThisVersion,
    /// A value of the wrong type, form or range.
    Value,
    /// A key that has to be there is not.
    Missing,
    /// A cluster or filter that is not defined, or blocks that contradict each other.
    Reference,
    /// A file that cannot be read or is not what it should be.
    File,
}

impl FindingKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Syntax => "syntax",
            FindingKind::UnknownKey => "unknown-key",
            FindingKind::NotInThisVersion => "not-in-this-version",
            FindingKind::Value => "value",
            FindingKind::Missing => "missing",
            FindingKind::Reference => "reference",
            FindingKind::File => "file",
        }
    }
}

/// A place in the text. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The first character.
    pub column: usize,
    /// How many characters are meant, on this line alone.
    pub count: usize,
}

/// Every mistake of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The file, as the caller named it.
    pub file: String,
    /// The mistakes: by kind, then by place. Never empty.
    pub list: Vec<Finding>,
    /// How many more there were than `FINDINGS_MAX`.
    pub left_out: usize,
    /// The lines that findings point at, for rendering.
    pub(crate) lines: Vec<(usize, String)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f)
    }
}

impl std::error::Error for Findings {}
