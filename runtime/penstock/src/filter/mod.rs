//! `penstock filter`: begins, builds, inspects, tries and measures WASM filters.
//!
//! For a filter's author, before there is a proxy to run it in. What it says about a module is
//! said by the host that the proxy uses; how filters are configured there is `config`'s.

mod bench;
mod build;
mod case;
mod connection;
mod error;
mod inspect;
mod module;
mod new;
mod outcome;
mod spec;
mod test;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use error::Failure;

/// The register of verbs under `filter`.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterArgs {
    /// Begin a filter: a crate that compiles, with its tests.
    New(new::New),
    /// Compile a filter, and show what became of it.
    Build(build::Build),
    /// Show what a module is and wants. Exits 1 if Penstock would refuse it.
    Inspect(inspect::Inspect),
    /// Run exchanges or raw connections through a module, natively, without a proxy. Exits 1 if an
    /// expectation is not met.
    Test(Box<test::Test>),
    /// Measure what a module costs.
    Bench(Box<bench::Bench>),
}

/// Does what was asked, on standard output; what went wrong goes to standard error as one line.
pub(crate) fn run(args: FilterArgs) -> ExitCode {
    let out = &mut io::stdout().lock();
    let result = match args {
        FilterArgs::New(arguments) => new::run(&arguments, out),
        FilterArgs::Build(arguments) => build::run(&arguments, out),
        FilterArgs::Inspect(arguments) => inspect::run(&arguments, out),
        FilterArgs::Test(arguments) => test::run(&arguments, out),
        FilterArgs::Bench(arguments) => bench::run(&arguments, out),
    };
    match result.and_then(|()| out.flush().map_err(Failure::Output)) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has heard enough: `penstock filter inspect ... | head -1`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("penstock: {failure}");
            ExitCode::FAILURE
        }
    }
}
