//! The load generator `wrk`: one window of load, and what its output says.

use std::process::Command;
use std::time::Duration;

use crate::BenchError;

/// What one window of load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// Answers received.
    pub(crate) requests: u64,
    /// Answers per second of wall time.
    pub(crate) requests_per_second: f64,
    /// The latency that 99 % of the answers kept.
    pub(crate) p99: Duration,
    /// Answers other than 2xx and 3xx, and connections that broke.
    pub(crate) errors: u64,
}

/// Runs one thread of `wrk` on `core` with `connections` for `seconds`.
pub(crate) fn run(
    core: usize,
    connections: usize,
    seconds: u64,
    url: &str,
    headers: &[String],
) -> Result<Window, BenchError> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string(), "wrk", "--threads", "1", "--latency"]);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    for header in headers {
        command.args(["--header", header]);
    }
    let output = command.arg(url).output().map_err(BenchError::io("running wrk"))?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Reads what `wrk --latency` prints.
pub(crate) fn parse(output: &str) -> Result<Window, BenchError> {
    let missing = |field| BenchError::WrkOutput { field, output: output.to_owned() };
    let field =
        |name| output.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let requests = output
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .ok_or_else(|| missing("count of requests"))?;
    let requests_per_second = field("Requests/sec:")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| missing("requests per second"))?;
    let p99 = field("99%").and_then(duration).ok_or_else(|| missing("99th percentile"))?;
    let broken = field("Socket errors:")
        .map_or(0, |text| text.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum());
    let refused =
        field("Non-2xx or 3xx responses:").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Window { requests, requests_per_second, p99, errors: broken + refused })
}

/// `812.00us`, `1.07ms`, `2.00s`, `1.00m`.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (figure, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(figure.parse::<f64>().ok()? * seconds))
}
