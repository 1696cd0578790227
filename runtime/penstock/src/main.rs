//! The penstock binary.

#![forbid(unsafe_code)]

mod filter;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "penstock", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Begin, build, inspect, test and measure WASM filters.
    #[command(subcommand)]
    Filter(filter::FilterArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Filter(args) => filter::run(args),
    }
}
