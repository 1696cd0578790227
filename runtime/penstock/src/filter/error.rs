//! What can go wrong with a verb of `penstock filter`, in the words of who typed it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a verb ended otherwise than well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// The name is none that a crate can have.
    #[error("`{name}` cannot be a filter's name: {reason}")]
    Name {
        /// What was typed.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is something already where a new filter would go.
    #[error("{} is there already and not empty: nothing was written", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A file does not say what it should.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// Something that building needs is not installed.
    #[error("{what}: {remedy}")]
    Missing {
        /// What is not there.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A program ran, and failed; it said why itself.
    #[error("`{command}` failed, and says above why")]
    Command {
        /// Which one.
        command: &'static str,
    },
    /// The crate compiled, and no module came out.
    #[error(
        "{} builds no module: set `crate-type = [\"cdylib\", \"rlib\"]` in [lib]",
        path.display()
    )]
    NoModule {
        /// The crate's manifest.
        path: PathBuf,
    },
    /// The machine can't run WebAssembly.
    #[error("{0}")]
    Engine(#[from] penstock_filter_host::EngineError),
    /// Penstock would not take the module.
    #[error("{}: Penstock refuses it: {reason}", path.display())]
    Refused {
        /// Its file.
        path: PathBuf,
        /// Every reason, with what the filter itself had to say.
        reason: String,
    },
    /// The filter failed in the middle of its work.
    #[error("the filter failed {count} times; the last time: {last}")]
    Failed {
        /// How often.
        count: u64,
        /// What it said, or what it died of.
        last: String,
    },
    /// What was expected did not come.
    #[error("{failed} of {count} failed")]
    Unmet {
        /// Cases with an expectation that was not met.
        failed: usize,
        /// All cases.
        count: usize,
    },
}

impl Failure {
    /// For `map_err`: what the system said about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let path = path.to_owned();
        move |source| Failure::Io { path, source }
    }
}
