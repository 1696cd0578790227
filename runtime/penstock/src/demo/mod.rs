//! `penstock demo`: everything in one process, nothing to prepare, nothing left behind.
//!
//! Three origins (one slow, one that fails now and then), a listener, an admin socket, and load
//! of its own that checks every answer.

mod load;
mod origins;
mod scene;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use penstock_control::{Boot, Control, Outcome, Source, Status};

use crate::arguments::Demo;
use crate::{Failed, log, run};
use load::Load;
use origins::Origins;
use scene::Scene;

/// Between two lines of figures.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events of the appliance would get between the figures.
const LOG_DEFAULT: &str = "error";

/// Runs until it is interrupted, or for the time that was asked for.
pub(crate) fn run(arguments: &Demo) -> Result<(), Failed> {
    let log = log::start(LOG_DEFAULT);
    let origins = Origins::start()?;
    let scene = Scene::set(&origins)?;
    let running = run::start(Boot::read(Source::new(scene.config()))?, Arc::clone(&log.level))?;
    let handle = running.thread.handle().clone();
    let listening = handle.ask_blocking(|control| control.listening())?;
    let address = match listening.first().map(|listening| &listening.address) {
        Some(penstock_env::Address::Ip(address)) => *address,
        _ => return Err(Failed::Because("the demo's listener is not bound".to_owned())),
    };
    introduce(&scene, &address.to_string(), &running.admin);
    let load = Load::start(address, arguments.rate);
    let began = Instant::now();
    let ended = loop {
        let left = arguments.time.map(|time| time.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            break false;
        }
        thread::sleep(left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        // Gone: somebody sent a signal, and the appliance has drained.
        let Ok(status) = handle.ask_blocking(Control::status) else { break true };
        if !status.ready {
            break true;
        }
        show(&status, &origins);
    };
    let report = load.stop();
    let status = handle.ask_blocking(Control::status).ok();
    // Where it has ended already it can't be told to.
    let _ = handle.ask_blocking(Control::drain);
    drop(handle);
    let outcome: Outcome = running.thread.join()?;
    println!();
    conclude(&report, status.as_ref(), outcome, arguments, ended)
}

fn introduce(scene: &Scene, address: &str, admin: &str) {
    println!("penstock {} demo", env!("CARGO_PKG_VERSION"));
    println!("  listener  http://{address}/         try: curl -i http://{address}/hello");
    println!("  admin     {admin}");
    let socket = admin.trim_start_matches("unix:");
    println!("            try: curl --unix-socket {socket} http://admin/v1/status");
    println!("            or:  curl --unix-socket {socket} http://admin/metrics");
    println!("  config    {}", scene.config().display());
    println!();
}

/// One line that replaces itself on a terminal.
fn show(status: &Status, origins: &Origins) {
    let traffic = &status.traffic;
    let mut line = format!(
        "{:>7.0} requests/s  p50 {:>6.2} ms  p99 {:>6.2} ms  ",
        traffic.requests_per_second, traffic.p50_ms, traffic.p99_ms,
    );
    for endpoint in status.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
        let name = origins.name_of(&endpoint.address);
        let (requests, failures) = (endpoint.requests, endpoint.failures);
        line += &format!(" {name} {requests}");
        if failures > 0 {
            line += &format!(" ({failures} failed)");
        }
    }
    match std::io::stdout().is_terminal() {
        true => print!("\r{line}\x1b[K"),
        false => println!("{line}"),
    }
    // A line that can't be shown is no reason to stop.
    let _ = std::io::stdout().flush();
}

fn conclude(
    report: &load::Report,
    status: Option<&Status>,
    outcome: Outcome,
    arguments: &Demo,
    ended: bool,
) -> Result<(), Failed> {
    let retries: u64 = status.iter().flat_map(|s| &s.clusters).map(|c| c.retries).sum();
    println!(
        "{} requests, {} answered as they should be, {retries} tries repeated on another endpoint",
        report.asked, report.right,
    );
    if arguments.time.is_none() || ended {
        return Ok(());
    }
    if outcome.failed {
        return Err(Failed::Because("a shard ended otherwise than it should".to_owned()));
    }
    match &report.wrong {
        Some(wrong) => Err(Failed::Because(format!(
            "{} requests were not answered as they should be; the first: {wrong}",
            report.asked - report.right,
        ))),
        None if report.asked == 0 && arguments.rate > 0 => {
            Err(Failed::Because("no request was sent".to_owned()))
        }
        None => Ok(()),
    }
}
