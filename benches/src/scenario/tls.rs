//! TLS 1.3 in front of a plain origin: CPU per request on kept connections, and per connection
//! where each begins with a full handshake.

use std::process::Command;
use std::time::Duration;

use super::http1::method;
use super::window::window;
use crate::run::Contestant;
use crate::{Bench, BenchError, Figure, Peer, Plan, Report, Spoken};

/// Measures every installed peer in interleaved windows.
///
/// # Errors
/// See [`Bench::start`]; also where a proxy dies during the run.
pub fn tls(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(Plan { spoken: Spoken::Tls, ..plan }, peers)?;
    let title = "TLS 1.3, an ECDSA P-256 certificate, 512-byte answers";
    let mut report = Report::new(title, &method(&bench.plan), &bench);
    super::http1::measure(&mut bench, &mut report, KEPT)?;
    let Bench { plan, contestants, .. } = &mut bench;
    let section = report.section("a full handshake for each connection".into());
    for round in 0..plan.rounds {
        let count = contestants.len();
        for turn in 0..count {
            let index = if round % 2 == 0 { turn } else { count - 1 - turn };
            let figure = handshakes(plan, &mut contestants[index])?;
            report.add(section, contestants[index].peer, figure);
        }
    }
    // What the windows before left behind is not measured as somebody else's.
    for contestant in contestants {
        window(plan, contestant, 1, 1)?;
    }
    Ok(report)
}

/// Kept connections of the first section.
const KEPT: usize = 64;

/// One turn of openssl's load generator: connects, shakes hands, closes, one after the other.
fn handshakes(plan: &Plan, contestant: &mut Contestant) -> Result<Figure, BenchError> {
    let before = contestant.process.cpu();
    let output = Command::new("taskset")
        .args(["--cpu-list", &plan.load_core.to_string(), "openssl", "s_time", "-new"])
        .args(["-connect", &contestant.address.to_string()])
        .args(["-time", &plan.seconds.to_string()])
        .output()
        .map_err(BenchError::io("running openssl"))?;
    let cpu = contestant.process.cpu().saturating_sub(before);
    contestant.still_there()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing = || BenchError::WrkOutput { field: "count of connections", output: text.clone() };
    let count = connections(&text).ok_or_else(missing)?;
    Ok(Figure {
        cost: cpu.as_secs_f64() * 1e6 / count.max(1) as f64,
        requests: count,
        requests_per_second: count as f64 / plan.seconds as f64,
        p99: Duration::ZERO,
        errors: 0,
    })
}

/// The count in `1234 connections in 2 real seconds, 0 bytes read per connection`.
pub(crate) fn connections(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains("real seconds"))?;
    line.split_whitespace().next()?.parse().ok()
}
