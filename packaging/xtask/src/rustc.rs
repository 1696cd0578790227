//! A compiler whose names for crates depend on the crates alone.
//!
//! Cargo tells rustc a number for each crate, which becomes part of its symbols and of their order.
//! For a crate outside of the workspace that is built, the number depends on the folder that it is
//! in. Cargo calls us in rustc's place ([`stand_in`]), and we call rustc with a number that is the
//! same everywhere. Not for more than that: paths in messages are remapped by flags.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Has a cargo that is about to build call this program in rustc's place.
pub(crate) fn stand_in(cargo: &mut Command) -> Result<(), String> {
    let own = env::current_exe().map_err(|error| format!("this program's file: {error}"))?;
    cargo.env("RUSTC_WRAPPER", own).env(SWITCH, "1");
    Ok(())
}

/// Whether cargo has called us in rustc's place.
pub(crate) fn is_meant() -> bool {
    env::var_os(SWITCH).is_some()
}

/// Runs rustc in the way that cargo has asked for, but for the number.
pub(crate) fn run() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(rustc) = arguments.next() else { return ExitCode::FAILURE };
    let package = ["CARGO_PKG_NAME", "CARGO_PKG_VERSION"].map(env::var);
    let arguments: Vec<OsString> = match package {
        [Ok(name), Ok(version)] => {
            arguments.map(|one| renamed(one, &format!("{name}-{version}"))).collect()
        }
        // A question about the compiler itself.
        _ => arguments.collect(),
    };
    match Command::new(&rustc).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {}: {error}", rustc.display());
            ExitCode::FAILURE
        }
    }
}

/// `metadata=…`, which follows a `-C`, says `name` instead; all else is as it was.
pub(crate) fn renamed(argument: OsString, name: &str) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with("metadata=") => format!("metadata={name}").into(),
        _ => argument,
    }
}

const SWITCH: &str = "PENSTOCK_XTASK_IS_RUSTC";
