//! Tasks beyond cargo, run as `cargo xtask <TASK>`: what would otherwise be shell scripts.
//!
//! Not part of the product: nothing here is installed anywhere.

#![forbid(unsafe_code)]

mod bench_peers;
mod container;
mod deb;
mod ebpf;
mod files;
mod filters;
mod rustc;
mod stage;
#[cfg(test)]
mod tests;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The register of tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tasks beyond cargo")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure Penstock side by side with HAProxy, nginx and Envoy.
    BenchPeers(bench_peers::Arguments),
    /// Make the container image of the release build, as an archive to load.
    Container(container::Arguments),
    /// Make the Debian package of the release build.
    Deb(deb::Arguments),
    /// Compile the XDP program into runtime/xdp, or check the object that is committed there.
    Ebpf(ebpf::Arguments),
    /// Compile the shipped filters into filters/compiled, or check what is committed there.
    Filters(filters::Arguments),
}

fn main() -> ExitCode {
    if rustc::is_meant() {
        return rustc::run();
    }
    let result = match Arguments::parse().task {
        Task::BenchPeers(arguments) => bench_peers::run(&arguments),
        Task::Container(arguments) => container::run(&arguments),
        Task::Deb(arguments) => deb::run(&arguments),
        Task::Ebpf(arguments) => ebpf::run(&arguments),
        Task::Filters(arguments) => filters::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
