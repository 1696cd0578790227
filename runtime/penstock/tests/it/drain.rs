//! The end: what runs may finish, what is idle goes, and a deadline holds.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Folder, Origin, Penstock, until};

#[test]
fn a_drain_answers_what_was_asked_and_refuses_the_rest() {
    let origin = Origin::slow(Duration::from_millis(800));
    let mut penstock = Penstock::start(&origin.config());
    let address = penstock.address("web");
    let (mut busy, mut idle) = (Client::connect(address), Client::connect(address));
    assert_eq!(idle.get("/").expect("an answer").status, 200);
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert!(origin.head().is_some() || origin.head().is_some());
    std::thread::sleep(Duration::from_millis(100));
    penstock.signal(Signal::TERM);
    assert!(idle.is_closed());
    until("nobody listens", || TcpStream::connect(address).err());
    let reply = busy.reply().expect("the request under way is answered");
    assert_eq!((reply.status, reply.body.as_str()), (200, "slow"));
    assert!(reply.head.to_ascii_lowercase().contains("connection: close"), "{}", reply.head);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    assert!(!penstock.socket().exists(), "the admin socket is gone");
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let origin = Origin::slow(Duration::from_secs(15));
    let mut penstock = Penstock::start(&origin.config());
    let mut busy = Client::connect(penstock.address("web"));
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    penstock.signal(Signal::TERM);
    until("it drains", || penstock.errors().contains("draining").then_some(()));
    assert_eq!(penstock.ask("GET", "/ready").0, 503);
    penstock.signal(Signal::INT);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_drain_has_an_end() {
    let origin = Origin::slow(Duration::from_secs(15));
    let (runtime, folder) =
        ("[runtime]\nshards = 2\npin = false\ndrain = \"300ms\"\n", Folder::new());
    let log = folder.join("access.log");
    let observe = format!("[observe]\naccess_log = \"json:{}\"\n", log.display());
    let config = format!("{runtime}{observe}{}", origin.config());
    let mut penstock = Penstock::start_in(folder, &config);
    let mut busy = Client::connect(penstock.address("web"));
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let errors = penstock.errors();
    assert!(errors.contains("cutting") && errors.contains("ended cut=1"), "{errors}");
    assert!(busy.reply().is_err());
    let text = std::fs::read_to_string(&log).expect("the log");
    let line: Value = serde_json::from_str(&text).expect("one line");
    assert_eq!((&line["path"], &line["cause"]), (&"/slow".into(), &"drained".into()));
}

#[test]
fn a_drain_refuses_on_every_shard_while_one_is_busy() {
    let origin = Origin::slow(Duration::from_secs(3));
    let runtime = "[runtime]\nshards = 4\npin = false\n";
    let mut penstock = Penstock::start(&format!("{runtime}{}", origin.config()));
    let address = penstock.address("web");
    let mut busy = Client::connect(address);
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    until("it is under way", || origin.head());
    penstock.signal(Signal::TERM);
    until("nobody listens", || TcpStream::connect(address).err());
    // Each shard had a socket of its own: none of them may be left without an owner.
    for _ in 0..32 {
        let refused = TcpStream::connect(address).map_err(|error| error.kind());
        assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    }
    assert_eq!(busy.reply().expect("the request under way is answered").status, 200);
    assert!(penstock.wait().success(), "{}", penstock.errors());
}
