//! Idle keep-alive connections: memory of the proxy for each of them, and CPU while nothing comes.

use std::thread;
use std::time::Duration;

use crate::idle_load::{IdleLoad, check_file_limit};
use crate::{Bench, BenchError, Figure, Peer, Plan, Report, Spoken};

/// Opens the plan's number of connections through each proxy, one proxy after the other, sends
/// one request on each in what the plan has them speak, and reads the proxy's memory before and
/// after.
///
/// # Errors
/// See [`Bench::start`]; also where connections can't be opened.
pub fn idle(plan: Plan, peers: &[Peer]) -> Result<Report, BenchError> {
    check_file_limit(plan.idle_connections)?;
    let mut bench = Bench::start(plan, peers)?;
    let Bench { plan, contestants, .. } = &mut bench;
    let mut rows = Vec::new();
    for contestant in contestants.iter_mut() {
        // Warm: what the first requests allocate once is not for each connection.
        drop(IdleLoad::open(contestant.address, WARM_CONNECTIONS, plan.spoken)?);
        thread::sleep(SETTLE_TIME);
        let base_bytes = contestant.process.memory_bytes();
        let load = IdleLoad::open(contestant.address, plan.idle_connections, plan.spoken)?;
        thread::sleep(SETTLE_TIME);
        let full_bytes = contestant.process.memory_bytes();
        let cpu_before = contestant.process.cpu();
        thread::sleep(Duration::from_secs(plan.seconds));
        let cpu = contestant.process.cpu().saturating_sub(cpu_before);
        contestant.still_there()?;
        let open_count = load.still_open();
        drop(load);
        let bytes = full_bytes.saturating_sub(base_bytes) as f64 / plan.idle_connections as f64;
        rows.push(IdleRow {
            peer: contestant.peer,
            base_mib: base_bytes as f64 / f64::from(1 << 20),
            bytes,
            cpu_percent: cpu.as_secs_f64() / plan.seconds as f64 * 100.0,
            closed_count: plan.idle_connections - open_count,
        });
    }
    let connections = plan.idle_connections;
    let title = match plan.spoken {
        Spoken::Tls => "Idle connections of TLS 1.3",
        Spoken::Tls12 => "Idle connections of TLS 1.2",
        Spoken::Tcp => "Idle relayed connections",
        spoken if spoken.is_http2() => "Idle connections of HTTP/2",
        _ => "Idle keep-alive connections",
    };
    let mut report = Report::new(title, METHOD, &bench);
    report.with_unit("bytes per connection");
    let section = report.section(format!("{connections} connections"));
    for row in rows {
        report.note(format!(
            "{}: {:.1} MiB before, {:.2} % of a core while idle, {} of {connections} closed.",
            row.peer.name(),
            row.base_mib,
            row.cpu_percent,
            row.closed_count,
        ));
        let errors = row.closed_count as u64;
        report.add(section, row.peer, Figure { cost: row.bytes, errors, ..Figure::default() });
    }
    Ok(report)
}

struct IdleRow {
    peer: Peer,
    base_mib: f64,
    bytes: f64,
    cpu_percent: f64,
    closed_count: usize,
}

const METHOD: &str = "One request on each connection, then silence. Memory is the proportional \
                      set of the process and its children, less what it was before.";

/// Enough that pools and tables have their first size.
const WARM_CONNECTIONS: usize = 64;

/// Long enough for buffers to be given back and below every peer's keep-alive time.
const SETTLE_TIME: Duration = Duration::from_secs(2);
