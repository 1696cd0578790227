//! Logs that nobody reads: they fill, and traffic and the end go on.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, Folder, Origin, Penstock, until, write_config};

/// A pipe with a name, and a reader that never reads.
fn pipe(path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().expect("it runs").success());
    OpenOptions::new().read(true).write(true).open(path).expect("opened")
}

/// RFC 9113 §3.4, and SETTINGS that say nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn events_that_nobody_reads_are_lost_and_hold_up_nobody() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let stderr = folder.join("pipe");
    let _unread = pipe(&stderr);
    write_config(&folder, &origin.config());
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_penstock");
    let script = format!("exec \"$0\" \"$@\" 2>'{}'", stderr.display());
    command.args(["-c", &script, program]).env("RUST_LOG", "trace");
    let mut penstock = Penstock::start_by(command, folder);
    let mut client = Client::connect(penstock.address("web"));
    until("lines are lost", || {
        // The events of `h2` are many.
        for _ in 0..100 {
            let _ = Client::connect(penstock.address("web")).send(PREFACE);
        }
        assert_eq!(client.get("/").expect("an answer").status, 200);
        (penstock.metric("penstock_event_log_lost_total") > 0.0).then_some(())
    });
    assert_eq!(client.get("/").expect("an answer").status, 200);
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success());
}

#[test]
fn an_access_log_that_takes_no_more_keeps_no_process() {
    let (origin, folder) = (Origin::named("one"), Folder::new());
    let log = folder.join("access.pipe");
    let _unread = pipe(&log);
    let observe = format!("[observe]\naccess_log = \"json:{}\"\n", log.display());
    let mut penstock = Penstock::start_in(folder, &format!("{observe}{}", origin.config()));
    let mut client = Client::connect(penstock.address("web"));
    let path = format!("/{}", "x".repeat(200));
    // A pipe holds 64 KiB, the log's own room is more.
    for _ in 0..2_000 {
        assert_eq!(client.get(&path).expect("an answer").status, 200);
    }
    drop(client);
    let began = Instant::now();
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(penstock.errors().contains("the access log takes no more"), "{}", penstock.errors());
}
