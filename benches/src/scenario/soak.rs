//! Millions of requests through one proxy: errors, growth of memory, descriptors left over.

use std::thread;
use std::time::{Duration, Instant};

use super::window::window;
use crate::run::Contestant;
use crate::{Bench, BenchError, Peer, Plan, Report};

/// Sends the plan's number of requests over 256 connections through each of `peers`, one after
/// the other, and looks at memory and file descriptors before, after warm-up and at the end.
///
/// # Errors
/// See [`Bench::start`]; also where a proxy dies during the run.
pub fn soak(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(plan, peers)?;
    let mut report = Report::new("Soak", METHOD, &bench);
    let section = report.section(format!("{CONNECTIONS} connections"));
    let Bench { plan, contestants, .. } = &mut bench;
    for contestant in contestants.iter_mut() {
        soak_one(plan, contestant, &mut report, section)?;
    }
    Ok(report)
}

fn soak_one(
    plan: &Plan,
    contestant: &mut Contestant,
    report: &mut Report,
    section: usize,
) -> Result<(), BenchError> {
    let descriptors_before = contestant.process.descriptor_count();
    let mut warm_bytes = None;
    let mut requests = 0;
    while requests < plan.soak_requests {
        let figure = window(plan, contestant, CONNECTIONS, SECONDS)?;
        requests += figure.requests;
        report.add(section, contestant.peer, figure);
        if requests >= plan.soak_requests / 10 && warm_bytes.is_none() {
            warm_bytes = Some(contestant.process.memory_bytes());
        }
    }
    let end_bytes = contestant.process.memory_bytes();
    let (descriptors_after, waited) = descriptors_back(contestant, descriptors_before);
    report.note(format!(
        "{}: {requests} requests; {:.2} MiB after a tenth of them, {:.2} MiB at the end; {} file \
         descriptors before, {} {:.0} s after.",
        contestant.peer.name(),
        mib(warm_bytes.unwrap_or(end_bytes)),
        mib(end_bytes),
        descriptors_before,
        descriptors_after,
        waited.as_secs_f64(),
    ));
    Ok(())
}

/// Waits until no more descriptors are open than `before`, or upstream connections must be gone.
fn descriptors_back(contestant: &Contestant, before: usize) -> (usize, Duration) {
    let began = Instant::now();
    loop {
        let count = contestant.process.descriptor_count();
        let waited = began.elapsed();
        if count <= before || waited > POOL_TIME_MAX {
            return (count, waited);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const METHOD: &str =
    "Turns of 10 s, one after the other. CPU of all threads of the proxy, from schedstat.";

/// The widest count that the acceptance of the data path names.
const CONNECTIONS: usize = 256;

/// Long windows: their ends are where connections come and go.
const SECONDS: u64 = 10;

/// Longer than Penstock keeps an idle upstream connection (30 s).
const POOL_TIME_MAX: Duration = Duration::from_secs(40);
