//! HTTP/1.1 keep-alive, small answers: CPU per request at 1, 64 and 256 connections.

use super::window::window;
use crate::{Bench, BenchError, Peer, Plan, Report};

/// Measures every installed peer in interleaved windows.
///
/// # Errors
/// See [`Bench::start`]; also where a proxy dies during the run.
pub fn http1(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(plan, peers)?;
    let mut report =
        Report::new("HTTP/1.1 keep-alive, 512-byte answers", &method(&bench.plan), &bench);
    for connections in CONNECTIONS {
        measure(&mut bench, &mut report, connections)?;
    }
    Ok(report)
}

/// The connection counts that the acceptance of the data path names.
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// The line of the report that says how the figures came about.
pub(super) fn method(plan: &Plan) -> String {
    format!(
        "{} interleaved rounds of {} s. CPU of all threads of the proxy, from schedstat.",
        plan.rounds, plan.seconds,
    )
}

/// One warm-up and then `rounds` turns for each contestant at `connections`.
pub(super) fn measure(
    bench: &mut Bench,
    report: &mut Report,
    connections: usize,
) -> Result<(), BenchError> {
    let Bench { plan, contestants, .. } = bench;
    let scenario = report.section(format!("{connections} connection(s)"));
    for contestant in contestants.iter_mut() {
        window(plan, contestant, connections, 1)?;
    }
    for round in 0..plan.rounds {
        // Every other round backwards, so that nobody always follows the same neighbour.
        let count = contestants.len();
        for turn in 0..count {
            let index = if round % 2 == 0 { turn } else { count - 1 - turn };
            let contestant = &mut contestants[index];
            let figure = window(plan, contestant, connections, plan.seconds)?;
            report.add(scenario, contestant.peer, figure);
        }
    }
    Ok(())
}
