//! The price of one WASM filter: the same module here and in Envoy, each with and without it.

use super::http1::{measure, method};
use crate::{Bench, BenchError, Peer, Plan, Report};

/// Measures at 64 connections; what a filter adds is the difference between two rows.
///
/// # Errors
/// See [`Bench::start`].
pub fn filters(plan: Plan) -> Result<Report, BenchError> {
    let peers =
        [Peer::Penstock, Peer::PenstockFilter, Peer::Haproxy, Peer::EnvoyTuned, Peer::EnvoyFilter];
    let mut bench = Bench::start(plan, &peers)?;
    let mut report = Report::new("One WASM filter", &method(&bench.plan), &bench);
    measure(&mut bench, &mut report, CONNECTIONS)?;
    for (without, with) in
        [(Peer::Penstock, Peer::PenstockFilter), (Peer::EnvoyTuned, Peer::EnvoyFilter)]
    {
        if let Some(added) = report.difference(without, with) {
            report.note(format!("{}: the filter adds {added:.2} us per request.", without.name()));
        }
    }
    Ok(report)
}

const CONNECTIONS: usize = 64;
