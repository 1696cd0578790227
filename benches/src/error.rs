//! What can keep a scenario from giving figures.

use std::io;
use std::path::PathBuf;

/// Why a bench could not be run, or could not be believed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or a process of the bench itself failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or program.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The hard limit of open files does not do for so many connections.
    #[error("{needed} open files are needed, and {max} allowed: raise the hard limit (ulimit -Hn)")]
    TooFewFiles {
        /// The hard limit.
        max: u64,
        /// For both ends of each connection, and the rest.
        needed: usize,
    },
    /// The load generator is not installed.
    #[error("{program} is not installed: {hint}")]
    Missing {
        /// The program that was looked for on the path.
        program: &'static str,
        /// How to get it.
        hint: &'static str,
    },
    /// A proxy was started and never answered.
    #[error("{name} ended, or gave no 200 within {seconds} s, saying:\n{output}")]
    NotReady {
        /// The peer as the table calls it.
        name: String,
        /// How long it was waited for.
        seconds: u64,
        /// What it had written on standard output and error by then.
        output: String,
    },
    /// A proxy answers, but what it was to do to the answer is not done.
    #[error("{name}'s answers have no `{proof}`: the filter does not run. One of them:\n{head}")]
    NoFilter {
        /// The peer as the table calls it.
        name: String,
        /// What the head should have in it.
        proof: String,
        /// The head that came.
        head: String,
    },
    /// A proxy was there and is no more.
    #[error("{name} ended in the middle of the run; its output is in {}", log.display())]
    Died {
        /// The peer as the table calls it.
        name: String,
        /// Where its standard output and error went.
        log: PathBuf,
    },
    /// The load generator printed something else than expected.
    #[error("wrk's output has no {field}:\n{output}")]
    WrkOutput {
        /// The figure that was looked for.
        field: &'static str,
        /// All that it printed.
        output: String,
    },
    /// The other load generator did.
    #[error("h2load's output has no {field}:\n{output}")]
    H2loadOutput {
        /// The figure that was looked for.
        field: &'static str,
        /// All that it printed.
        output: String,
    },
    /// Load and proxy would share a core, and every figure would be of both.
    #[error("{cores} core(s) here, two are needed: one for the proxy, one for load and origin")]
    TooFewCores {
        /// How many cores this process may run on.
        cores: usize,
    },
    /// Nothing is left to measure.
    #[error("no proxy of this scenario is installed")]
    NobodyToMeasure,
}

impl BenchError {
    /// Puts what was being done beside what the system answered.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| BenchError::Io { what, source }
    }
}
