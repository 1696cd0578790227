//! HTTP/2 as h2spec sees it (github.com/summerwind/h2spec): every case of RFC 9113 and RFC 7541
//! that it knows, the strict ones too, over plain TCP and over TLS.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::harness::{Certificates, Origin, Penstock, installed};

/// How many cases it had when this was written. Fewer were not looked at.
const CASES_MIN: usize = 146;
/// It waits for what must not come, too: on a busy machine it takes late for never. What is wrong
/// is wrong each time.
const RUNS_MAX: usize = 3;

#[test]
fn h2spec_finds_nothing_over_tcp_and_over_tls() {
    let Some(program) = program() else { return };
    let files = Certificates::make(&["a.test"]);
    // It answers when a request has come whole. Before that it may be answered by a reset, as
    // RFC 9113 §8.1 allows and some cases don't expect; the body has to be one that a small
    // window cuts.
    let origin = Origin::named("an answer of some length");
    let sealed = format!("[listener.sealed]\naddress = \"127.0.0.1:0\"\n{}", files.listener(1, ""));
    // What is no preface is HTTP/1 to a listener that speaks both.
    let plain = "[listener.plain]\naddress = \"127.0.0.1:0\"\nhttp2 = { mode = \"only\" }\n";
    let text = origin.config().replace("[listener.web]\naddress = \"127.0.0.1:0\"\n", plain);
    let penstock = Penstock::start(&format!("{sealed}to = \"app\"\n{text}"));
    for (listener, more) in [("plain", &[][..]), ("sealed", &["--tls", "--insecure"][..])] {
        let address = penstock.address(listener);
        let mut found = String::new();
        let well = (0..RUNS_MAX).any(|_| {
            found = examine(&program, address, more);
            is_well(&found)
        });
        let failures = found.split_once("Failures:").map_or(&*found, |(_, failures)| failures);
        assert!(well, "{listener}: {failures}");
    }
}

/// `PENSTOCK_H2SPEC`, or `h2spec` on the path. Without it the test says so, or fails if nothing may
/// be skipped; `none` says that it can't be had, as no distribution has it.
fn program() -> Option<OsString> {
    match std::env::var_os("PENSTOCK_H2SPEC").filter(|path| !path.is_empty()) {
        Some(none) if none == "none" => {
            let _ = writeln!(std::io::stderr(), "skipped: PENSTOCK_H2SPEC is none");
            None
        }
        Some(path) => Some(path),
        None => installed("h2spec").then(|| "h2spec".into()),
    }
}

/// What it says of a listener.
fn examine(program: &OsString, address: SocketAddr, more: &[&str]) -> String {
    let output = Command::new(program)
        .args(["--strict", "--timeout", "20", "--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether it ends in `147 tests, 147 passed, 0 skipped, 0 failed`.
fn is_well(said: &str) -> bool {
    let summary = said.trim_end().lines().next_back().unwrap_or_default();
    let numbers = summary.split(", ").map(|part| part.split(' ').next().unwrap_or_default());
    let numbers: Vec<usize> = numbers.filter_map(|number| number.parse().ok()).collect();
    matches!(numbers[..], [all, passed, 0, 0] if all == passed && all >= CASES_MIN)
}
