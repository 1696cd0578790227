//! One turn of one proxy: the unit of all scenarios under load.

use crate::run::Contestant;
use crate::{BenchError, Figure, Plan, Spoken, h2load, wrk};

/// One turn: load for `seconds`, and the proxy's CPU time around it.
pub(super) fn window(
    plan: &Plan,
    contestant: &mut Contestant,
    connections: usize,
    seconds: u64,
) -> Result<Figure, BenchError> {
    let scheme = if plan.spoken.is_tls() { "https" } else { "http" };
    let path = if plan.spoken == Spoken::Grpc { h2load::METHOD } else { "/" };
    let url = format!("{scheme}://{}{path}", contestant.address);
    let before = contestant.process.cpu();
    let window = match plan.spoken.is_http2() {
        true => h2load::run(plan, connections, seconds, &url)?,
        false => wrk::run(plan.load_core, connections, seconds, &url, &plan.headers)?,
    };
    let cpu = contestant.process.cpu().saturating_sub(before);
    contestant.still_there()?;
    Ok(Figure {
        cost: cpu.as_secs_f64() * 1e6 / window.requests.max(1) as f64,
        requests: window.requests,
        requests_per_second: window.requests_per_second,
        p99: window.p99,
        errors: window.errors,
    })
}
