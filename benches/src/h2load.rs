//! The load generator `h2load`: one window of requests over HTTP/2, and what its output says.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::wrk::Window;
use crate::{BenchError, Plan, Spoken};

/// Runs one thread of `h2load` with `connections`, each of [`STREAMS`], for `seconds`.
pub(crate) fn run(
    plan: &Plan,
    connections: usize,
    seconds: u64,
    url: &str,
) -> Result<Window, BenchError> {
    let mut command = command(plan)?;
    command.args(["--clients", &connections.to_string()]);
    command.args(["--max-concurrent-streams", &STREAMS.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    let output = command.arg(url).output().map_err(BenchError::io("running h2load"))?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Sends one request; what `h2load` says if it was answered with a 200.
pub(crate) fn probe(plan: &Plan, address: SocketAddr) -> Result<Option<String>, BenchError> {
    let mut command = command(plan)?;
    command.args(["--requests", "1", "--connection-inactivity-timeout", "2s"]);
    let output = command.arg(format!("http://{address}{METHOD}")).output();
    let output = output.map_err(BenchError::io("running h2load"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answered = parse(&text).is_ok_and(|window| (window.requests, window.errors) == (1, 0));
    Ok(answered.then_some(text))
}

/// One thread on the load's core, with all headers, and the message that a call sends.
fn command(plan: &Plan) -> Result<Command, BenchError> {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &plan.load_core.to_string(), "h2load", "--threads", "1"]);
    for header in &plan.headers {
        command.args(["--header", header]);
    }
    if plan.spoken == Spoken::Grpc {
        let path = plan.folder.join("message.bin");
        let message = [&[0, 0, 0, 0, MESSAGE.len() as u8], MESSAGE].concat();
        fs::write(&path, message).map_err(BenchError::io(path.display().to_string()))?;
        command.args(["--header", "content-type: application/grpc", "--header", "te: trailers"]);
        command.arg("--data").arg(path);
    }
    Ok(command)
}

/// Reads what `h2load` prints. It knows no percentiles.
pub(crate) fn parse(output: &str) -> Result<Window, BenchError> {
    let missing = |field| BenchError::H2loadOutput { field, output: output.to_owned() };
    let rate = output
        .lines()
        .find_map(|line| line.strip_prefix("finished in "))
        .and_then(|line| line.split(", ").find_map(|part| part.strip_suffix(" req/s")))
        .and_then(|figure| figure.parse().ok())
        .ok_or_else(|| missing("requests per second"))?;
    let counts = output.lines().find_map(|line| line.strip_prefix("requests: "));
    let count = |name| {
        let counts = counts?.split(", ");
        counts.filter_map(|part| part.split_once(' ')).find(|(_, of)| *of == name)?.0.parse().ok()
    };
    let done: u64 = count("done").ok_or_else(|| missing("count of requests"))?;
    let succeeded: u64 = count("succeeded").ok_or_else(|| missing("count of requests"))?;
    Ok(Window {
        requests: done,
        requests_per_second: rate,
        p99: Duration::ZERO,
        errors: done - succeeded,
    })
}

/// Streams of each connection, as the acceptance of HTTP/2 names it.
const STREAMS: usize = 32;
/// The method that is called.
pub(crate) const METHOD: &str = "/bench.Echo/Call";
/// What a call sends: one message.
const MESSAGE: &[u8] = b"\x0a\x0epenstock bench";
