//! A TLS listener as testssl.sh sees it: which versions and suites, whose choice, known attacks.

use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::harness::{Certificates, Origin, Penstock, installed};

/// What is looked at, one process each: versions, categories of suites, forward secrecy, the
/// server's preferences and what it says of itself; and the attacks with a name.
const RUNS: [&[&str]; 2] =
    [&["--protocols", "--std", "--pfs", "--server-preference", "--server-defaults"], &["-U"]];

/// Findings that must be there: what was not looked at is not well.
const LOOKED_AT: &[&str] = &[
    "SSLv2",
    "SSLv3",
    "TLS1",
    "TLS1_1",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipherlist_3DES_IDEA",
    "PFS",
    "cipher_order",
    "cert_chain_of_trust",
    "heartbleed",
    "CCS",
    "ticketbleed",
    "ROBOT",
    "secure_renego",
    "secure_client_renego",
    "CRIME_TLS",
    "POODLE_SSL",
    "SWEET32",
    "FREAK",
    "DROWN",
    "LOGJAM",
    "BEAST",
    "LUCKY13",
    "RC4",
];

/// What an authority that nobody runs has not: lists and responders for revoked certificates.
const OF_THE_AUTHORITY: &str = "cert_revocation";

#[test]
fn testssl_finds_nothing_above_low() {
    if !installed("testssl") || !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    let tls = files.listener(1, "");
    let text = origin.config().replace("to = \"app\"", &format!("{tls}to = \"app\""));
    let penstock = Penstock::start(&text);
    let target = format!("a.test:{}", penstock.address("web").port());
    let findings: Vec<Value> = thread::scope(|scope| {
        let runs: Vec<_> = RUNS
            .iter()
            .enumerate()
            .map(|(index, sections)| {
                let report = files.path(&format!("report{index}.json"));
                let (files, target) = (&files, &target);
                scope.spawn(move || examine(files, target, sections, &report))
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().expect("testssl runs")).collect()
    });
    let ids: Vec<&str> = findings.iter().filter_map(|one| one["id"].as_str()).collect();
    for id in LOOKED_AT {
        assert!(ids.contains(id), "{id} was not looked at: {ids:?}");
    }
    let bad = |one: &&Value| {
        let severity = one["severity"].as_str().unwrap_or("none");
        // A WARN is about a check that could not be made, which LOOKED_AT judges.
        !["OK", "INFO", "LOW", "WARN"].contains(&severity) && one["id"] != OF_THE_AUTHORITY
    };
    let bad: Vec<&Value> = findings.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// One run, and its findings.
fn examine(files: &Certificates, target: &str, sections: &[&str], report: &str) -> Vec<Value> {
    let output = Command::new("timeout")
        .args(["900", "testssl", "--quiet", "--warnings", "batch", "--color", "0"])
        .args(["--jsonfile", report, "--add-ca", &files.path("ca.pem")])
        // No look-ups: the name is ours alone.
        .args(["--nodns", "none", "--ip", "127.0.0.1"])
        .args(["--connect-timeout", "60", "--openssl-timeout", "60"])
        .args(sections)
        .arg(target)
        // For answers, on a busy machine. Where none may come, its own shorter times hold.
        .env("MAX_WAITSOCK", "60")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(report).unwrap_or_else(|_| panic!("no report:\n{said}"));
    match serde_json::from_str(&text) {
        Ok(Value::Array(findings)) => findings,
        other => panic!("{other:?}:\n{said}"),
    }
}
