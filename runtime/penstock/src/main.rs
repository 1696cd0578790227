//! The penstock binary: arguments, wiring, signals.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the control side lives in real time")]

mod access_log;
mod admin_client;
mod arguments;
mod capacity;
mod cert;
mod check;
mod config_show;
mod cpus;
mod datapath;
mod demo;
mod doctor;
mod filter;
mod l4;
mod log;
mod notify;
mod output;
mod run;
mod service;
mod shards;
mod sockets;
mod status;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use crate::arguments::{Arguments, ConfigVerb, Verb};
use crate::output::show_line;

/// The end of a verb, other than well.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Something was found that is not as it should be; it was shown already. Exit code 1.
    Findings,
    /// One line about what went wrong. Exit code 1.
    Because(String),
    /// The command line makes no sense; one line. Exit code 2.
    Usage(String),
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Because(error.to_string())
    }
}

fn main() -> ExitCode {
    // Clap itself exits with 2 where the command line makes no sense.
    let result = match Arguments::parse().verb {
        Verb::Run(run) => run::run(&run),
        Verb::Check(check) => check::run(&check),
        Verb::Config { verb: ConfigVerb::Show(show) } => config_show::run(&show),
        Verb::Config { verb: ConfigVerb::Schema } => config_show::schema(),
        Verb::Demo(demo) => demo::run(&demo),
        Verb::Status(status) => status::run(&status),
        Verb::Fleet(fleet) => status::fleet(&fleet),
        Verb::Reload(reload) => status::reload(&reload),
        Verb::Doctor(doctor) => doctor::run(&doctor),
        Verb::Decap(decap) => l4::decap(&decap),
        Verb::L4(verb) => l4::run(&verb),
        Verb::Cert(verb) => cert::run(&verb),
        Verb::Filter(filter) => return filter::run(filter),
        Verb::Version { json } => version(json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Findings) => ExitCode::from(1),
        Err(Failed::Because(why)) => {
            eprintln!("penstock: {}", why.trim_end());
            ExitCode::from(1)
        }
        Err(Failed::Usage(why)) => {
            eprintln!("penstock: {why}");
            ExitCode::from(2)
        }
    }
}

fn version(json: bool) -> Result<(), Failed> {
    let version = env!("CARGO_PKG_VERSION");
    match json {
        true => show_line(json!({ "version": version })),
        false => show_line(format_args!("penstock {version}")),
    }
}
