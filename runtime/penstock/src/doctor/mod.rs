//! `penstock doctor`: what of this machine is in the way, and what to do about it.
//!
//! Each subject is a file: it gathers facts, and judges them in functions that only see facts. It
//! changes nothing that stays, works without root, and says what it could not look at. Not for
//! mistakes of the config, which are `check`'s.

mod backend;
mod backends;
mod bgp;
mod certificates;
mod clock;
mod datapath;
mod entrances;
mod interfaces;
mod kernel;
mod limits;
mod report;
mod running;

use std::path::{Path, PathBuf};

use clap::Args;
use penstock_config::{Config, ServiceMode};
use penstock_control::{Boot, Source};

use crate::Failed;
use crate::arguments::Format;
use crate::doctor::backend::BackendVip;
use crate::doctor::report::Report;
use crate::output::{show, show_line};

#[derive(Args)]
pub(crate) struct Doctor {
    /// The config that is to be served; without one, the machine alone is looked at.
    #[arg(conflicts_with = "backend")]
    file: Option<PathBuf>,
    /// Look at this machine as a backend of a `dsr` VIP: "203.0.113.10", or "203.0.113.10:443" to
    /// ask the server, too. As often as there are some.
    #[arg(long, value_name = "VIP")]
    backend: Vec<BackendVip>,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// Looks at everything, and shows it.
pub(crate) fn run(arguments: &Doctor) -> Result<(), Failed> {
    let mut report = Report::default();
    if arguments.backend.is_empty() {
        look(arguments.file.as_deref(), &mut report)?;
    }
    for vip in &arguments.backend {
        backend::look(*vip, &mut report);
    }
    match arguments.format {
        Format::Text if !arguments.json => show(report.to_text())?,
        _ => show_line(serde_json::to_string(&report)?)?,
    }
    if report.has_failures() { Err(Failed::Findings) } else { Ok(()) }
}

fn look(file: Option<&Path>, report: &mut Report) -> Result<(), Failed> {
    kernel::look(report);
    clock::look(report);
    let Some(file) = file else {
        limits::look(std::thread::available_parallelism().map_or(1, usize::from), report);
        return Ok(());
    };
    let boot = Boot::read(Source::new(file)).map_err(|error| {
        Failed::Usage(format!("{}: `penstock check` first: {error}", file.display()))
    })?;
    limits::look(boot.shard_count(), report);
    look_at(boot.config(), &boot, report);
    Ok(())
}

fn look_at(config: &Config, boot: &Boot, report: &mut Report) {
    let runs = running::look(&config.admin, &boot.files(), report);
    entrances::look(config, runs, report);
    certificates::look(config, &boot.files(), report);
    bgp::look(config, report);
    let mut passing = config.services.iter().filter(|one| one.mode != ServiceMode::Terminate);
    if passing.clone().next().is_none() {
        return;
    }
    let checks = passing.any(|service| penstock_control::is_checked(service, config));
    let wanted = datapath::Wanted { choice: config.runtime.datapath, checks };
    datapath::look(wanted, &config.runtime.layer4.pins, report);
    interfaces::look(config, report);
    backends::look(config, report);
}
