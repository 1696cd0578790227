//! WebSockets with PyPI's websockets through the proxy, over HTTP/1.1 and over HTTP/2:
//! `frames.py` has the checks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Certificates, Penstock, PythonServer, python, until};

fn frames() -> Option<Command> {
    python("websockets, h2", "websocket/frames.py")
}

fn config(to: SocketAddr, listener: &str, cluster: &str) -> String {
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\n{listener}\
         limits.connections_per_source = 4000\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{to}\"]\n{cluster}"
    )
}

/// Every check, over this version of HTTP; `more` names an authority and a server for TLS.
#[track_caller]
fn check(version: &str, penstock: &Penstock, more: &[&str]) {
    let Some(mut client) = frames() else { return };
    let address = penstock.address("web").to_string();
    let output = client.args(["ask", version, &address]).args(more).output().expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{version}: {text}\n{errors}\n{}", penstock.errors());
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{text}");
}

#[test]
fn frames_go_through_in_the_clear_and_in_tls() {
    let Some(serving) = frames() else { return };
    let server = PythonServer::start(serving);
    let penstock = Penstock::start(&config(server.address, "", ""));
    check("HTTP1", &penstock, &[]);
    check("HTTP2", &penstock, &[]);
    let files = Certificates::make(&["localhost"]);
    let tls = Penstock::start(&config(server.address, &files.listener(1, ""), ""));
    check("HTTP1", &tls, &[&files.path("ca.pem"), "localhost"]);
    check("HTTP2", &tls, &[&files.path("ca.pem"), "localhost"]);
}

/// Of two in a row, the second is the first one's endpoint, which says that it takes WebSockets.
#[test]
fn frames_go_through_to_an_endpoint_that_speaks_http2() {
    let Some(serving) = frames() else { return };
    let server = PythonServer::start(serving);
    let second = Penstock::start(&config(server.address, "http2.mode = \"only\"\n", ""));
    let first = Penstock::start(&config(second.address("web"), "", "protocol = \"h2\"\n"));
    check("HTTP1", &first, &[]);
    check("HTTP2", &first, &[]);
}

#[test]
fn a_drain_closes_with_1001_on_both_sides() {
    for version in ["HTTP1", "HTTP2"] {
        let (Some(serving), Some(mut client)) = (frames(), frames()) else { return };
        let server = PythonServer::start(serving);
        let mut penstock = Penstock::start(&config(server.address, "", ""));
        let beside = Penstock::start(&config(server.address, "", ""));
        let mut child = client
            .args(["hold", version, &penstock.address("web").to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut next = || said.next().expect("it says something").expect("text");
        assert_eq!(next(), "open");
        penstock.signal(Signal::TERM);
        assert_eq!(next(), "1001");
        assert!(child.wait().expect("it ends").success());
        assert!(penstock.wait().success(), "{}", penstock.errors());
        let codes = |text: String| text.contains("1001").then_some(());
        until("the server is told, too", || codes(ask_codes(&beside)));
    }
}

/// The codes that the server's sockets were closed with.
fn ask_codes(penstock: &Penstock) -> String {
    let mut client = frames().expect("it was there");
    let address = penstock.address("web").to_string();
    let output = client.args(["codes", &address]).output().expect("Python runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
