//! HTTP/2 from clients that were not written by us: curl and h2load.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Certificates, Origin, Penstock, config_of, installed, talk, until};
use crate::tls;

fn curl(arguments: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--http2-prior-knowledge"]).args(arguments);
    curl.output().expect("curl runs")
}

#[test]
fn curl_speaks_http2_by_prior_knowledge() {
    if !installed("curl") {
        return;
    }
    let origin = Origin::reading(|head, body| {
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default();
        let via = lines.find(|line| line.to_ascii_lowercase().starts_with("via:"));
        let text = format!("{line}|{}|{}", via.unwrap_or("no via"), body.len());
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    });
    let penstock = Penstock::start(&origin.config());
    let url = format!("http://{}/a?b=c", penstock.address("web"));
    let output = curl(&["-w", "|%{http_version}", &url]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "GET /a?b=c HTTP/1.1|Via: 2 penstock|0|2", "{output:?}");
    let large = "x".repeat(300_000);
    let output = curl(&["-d", &large[..100_000], &url]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "POST /a?b=c HTTP/1.1|Via: 2 penstock|100000", "{output:?}");
    let output = curl(&["-I", "-w", "%{http_code}", &url]);
    assert!(output.stdout.ends_with(b"200"), "{output:?}");
}

/// The number behind `what` in what h2load reports.
fn number(report: &str, what: &str) -> u64 {
    let at = report.find(what).unwrap_or_else(|| panic!("no {what:?} in {report}"));
    let before = report[..at].trim_end().rsplit([' ', ',']).next().unwrap_or_default();
    before.parse().unwrap_or_else(|_| panic!("no number before {what:?} in {report}"))
}

#[test]
fn h2load_has_every_request_answered_and_each_endpoint_its_share() {
    if !installed("h2load") {
        return;
    }
    let origins = ["a", "b", "c", "d"].map(Origin::named);
    let addresses = origins.each_ref().map(|origin| origin.address);
    // In turn: what is shown is that streams are balanced, not how.
    let config = config_of(&addresses) + "balance = \"round-robin\"\n";
    let penstock = Penstock::start(&config);
    let url = format!("http://{}/", penstock.address("web"));
    let run = Command::new("h2load").args(["-n", "4000", "-c", "4", "-m", "25", &url]).output();
    let report = String::from_utf8_lossy(&run.expect("h2load runs").stdout).into_owned();
    assert_eq!(number(&report, " succeeded"), 4000, "{report}");
    assert_eq!(number(&report, " 2xx"), 4000, "{report}");
    for origin in &origins {
        let mut count = 0;
        while origin.head().is_some() {
            count += 1;
        }
        assert!((900..=1100).contains(&count), "{count} of 4000 at one of four");
    }
}

#[test]
fn tls_agrees_on_http2_unless_it_is_off() {
    if !installed("curl") || !installed("h2load") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["localhost"]));
    let ca = files.path("ca.pem");
    for (more, version) in [("", "2"), ("http2.mode = \"off\"\n", "1.1")] {
        let tls = files.listener(1, "") + more;
        let penstock = Penstock::start(&tls::config(&origin, &tls));
        let url = format!("https://localhost:{}/", penstock.address("web").port());
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--http2", "--cacert", &ca, "-4"])
            .args(["-w", "|%{http_version}", &url])
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, format!("origin|{version}"), "{output:?}");
        let load = Command::new("h2load").args(["-n", "400", "-c", "4", "-m", "20", &url]).output();
        let report = String::from_utf8_lossy(&load.expect("h2load runs").stdout).into_owned();
        assert_eq!(number(&report, " 2xx"), 400, "{report}");
    }
    // In the clear, the preface is a request of a version that is not spoken.
    let config = origin.config().replace("to = ", "http2.mode = \"off\"\nto = ");
    let penstock = Penstock::start(&config);
    let (answer, _) = talk(penstock.address("web"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(answer.expect("an answer").status, 400);
    let penstock = Penstock::start(&config.replace("off", "only"));
    let (answer, closed) = talk(penstock.address("web"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.is_err() && closed, "{answer:?}");
    let counted = "penstock_failures_total{cause=\"http2_violation\"}";
    until("the count", || (penstock.metric(counted) == 1.0).then_some(()));
}

/// A connection frame by frame.
struct Frames(TcpStream);

impl Frames {
    fn connect(address: SocketAddr) -> Frames {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        let mut frames = Frames(stream);
        frames.send(4, 0, 0, &[]);
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.0.write_all(&bytes).expect("sent");
    }

    /// The payload of the next frame of a kind; `None` at the end of the connection.
    fn next(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            let mut head = [0; 9];
            match self.0.read_exact(&mut head) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
                read => read.expect("a frame"),
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).expect("its payload");
            if head[3] == wanted {
                return Some(payload);
            }
        }
    }
}

/// RFC 9113 §6.8: a first GOAWAY that takes every stream, and, a round trip later, a second with
/// the last one that was taken.
#[test]
fn a_drain_says_goaway_twice_and_answers_the_stream_under_way() {
    let (asked, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (told, waits) = (Arc::clone(&asked), Arc::clone(&released));
    let origin = Origin::start(move |_| {
        told.store(true, Relaxed);
        until("the release", || waits.load(Relaxed).then_some(()));
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_owned()
    });
    let mut penstock = Penstock::start(&origin.config());
    let mut frames = Frames::connect(penstock.address("web"));
    // RFC 7541, appendix A: GET, http and `/` have numbers; `:authority` is 1, and `x` literal.
    frames.send(1, 5, 1, &[0x82, 0x86, 0x84, 0x01, 1, b'x']);
    until("the request at the origin", || asked.load(Relaxed).then_some(()));
    penstock.signal(Signal::TERM);
    assert_eq!(frames.next(7).expect("GOAWAY"), [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let ping = frames.next(6).expect("a ping");
    frames.send(6, 1, 0, &ping);
    assert_eq!(frames.next(7).expect("GOAWAY"), [0, 0, 0, 1, 0, 0, 0, 0]);
    released.store(true, Relaxed);
    assert_eq!(frames.next(0).expect("content"), b"slow");
    assert_eq!(frames.next(0), None);
    assert!(penstock.wait().success(), "{}", penstock.errors());
}
