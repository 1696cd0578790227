//! HTTP/2 and gRPC without TLS: CPU per request at 8 connections of 32 streams each.

use super::http1::{measure, method};
use crate::{Bench, BenchError, Peer, Plan, Report, Spoken};

/// HTTP/2 from clients, HTTP/1.1 to the origin.
///
/// # Errors
/// See [`Bench::start`]; also where a proxy dies during the run.
pub fn http2_to_http1(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    run(
        "HTTP/2 to HTTP/1.1, 512-byte answers",
        Plan { spoken: Spoken::Http2ToHttp1, ..plan },
        peers,
    )
}

/// HTTP/2 on both sides.
///
/// # Errors
/// See [`http2_to_http1`].
pub fn http2(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    run("HTTP/2 to HTTP/2, 512-byte answers", Plan { spoken: Spoken::Http2, ..plan }, peers)
}

/// Unary calls, one message each way.
///
/// # Errors
/// See [`http2_to_http1`].
pub fn grpc(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    run("gRPC, unary, 512-byte answers", Plan { spoken: Spoken::Grpc, ..plan }, peers)
}

fn run(title: &str, plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    let mut bench = Bench::start(plan, peers)?;
    let mut report = Report::new(title, &method(&bench.plan), &bench);
    measure(&mut bench, &mut report, CONNECTIONS)?;
    report.note("h2load knows no percentiles: p99 is not measured.".to_owned());
    Ok(report)
}

/// Connections of the load generator.
const CONNECTIONS: usize = 8;
