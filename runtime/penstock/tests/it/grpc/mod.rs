//! gRPC with the client and the server of grpcio, through the proxy: `calls.py` has the calls.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Certificates, Penstock, until};

/// Python with grpcio, which `PENSTOCK_PYTHON` may name the folder of. Where there is none, says
/// so, or fails if nothing may be skipped.
fn python() -> Option<Command> {
    let mut python = Command::new("python3");
    if let Some(folder) = std::env::var_os("PENSTOCK_PYTHON").filter(|path| !path.is_empty()) {
        python.env("PYTHONPATH", folder);
    }
    let probe = Command::new("python3")
        .args(["-c", "import grpc"])
        .envs(python.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .stderr(Stdio::null())
        .status();
    if probe.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("PENSTOCK_TEST_ALL").is_none(), "Python's grpcio is not installed");
    let _ = writeln!(std::io::stderr(), "skipped: Python's grpcio is not installed");
    None
}

fn script() -> OsString {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/it/grpc/calls.py").into_os_string()
}

/// A server of grpcio; it ends with its input.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mut python: Command) -> Server {
        let mut child = python
            .arg(script())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("its port");
        let port: u16 = line.trim().parse().expect("a port");
        Server { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn config(server: &Server, listener: &str) -> String {
    format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\nprotocol = \"grpc\"\n{listener}\
         http2.streams = 2000\nlimits.requests_per_connection = 100000\n\
         [[listener.web.route]]\nservice = \"sim.Echo\"\nto = \"app\"\n\
         [cluster.app]\nprotocol = \"h2\"\nendpoints = [\"{}\"]\n",
        server.address
    )
}

/// Every call, as grpcio makes it; `more` names an authority and a server for TLS.
#[track_caller]
fn check_calls(mut python: Command, penstock: &Penstock, more: &[&str]) {
    let address = penstock.address("web").to_string();
    let run = python.arg(script()).args(["ask", &address]).args(more).output();
    let output = run.expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", penstock.errors());
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 11, "{text}");
}

#[test]
fn calls_of_grpcio_go_through() {
    let (Some(serving), Some(client)) = (python(), python()) else { return };
    let server = Server::start(serving);
    let penstock = Penstock::start(&config(&server, ""));
    check_calls(client, &penstock, &[]);
    let counted = |code: &str| {
        penstock.metric(&format!(
            "penstock_route_grpc_calls_total{{listener=\"web\",route=\"0\",code=\"{code}\"}}"
        ))
    };
    for code in ["NOT_FOUND", "DATA_LOSS", "UNAUTHENTICATED"] {
        assert!(counted(code) >= 1.0, "{code}");
    }
    assert!(counted("OK") >= 1000.0);
}

#[test]
fn calls_of_grpcio_go_through_tls() {
    let (Some(serving), Some(client)) = (python(), python()) else { return };
    let (server, files) = (Server::start(serving), Certificates::make(&["localhost"]));
    let penstock = Penstock::start(&config(&server, &files.listener(1, "")));
    check_calls(client, &penstock, &[&files.path("ca.pem"), "localhost"]);
}

#[test]
fn calls_of_grpc_web_reach_a_server_of_grpcio() {
    let (Some(serving), Some(mut client)) = (python(), python()) else { return };
    let server = Server::start(serving);
    let penstock = Penstock::start(&config(&server, ""));
    let address = penstock.address("web").to_string();
    let output = client.arg(script()).args(["web", &address]).output().expect("Python runs");
    let (said, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n{}", penstock.errors());
    assert_eq!(said, b"ok\n");
}

#[test]
fn a_drain_lets_calls_end_and_a_client_of_grpcio_is_told() {
    let (Some(serving), Some(mut client)) = (python(), python()) else { return };
    let server = Server::start(serving);
    let mut penstock = Penstock::start(&config(&server, ""));
    let address = penstock.address("web").to_string();
    let mut child = client
        .arg(script())
        .args(["hold", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = || said.next().expect("it says something").expect("text");
    assert_eq!(next(), "open");
    penstock.signal(Signal::TERM);
    until("the drain", || penstock.errors().contains("drain").then_some(()));
    // The stream goes on both ways after the GOAWAY.
    drop(child.stdin.take());
    assert_eq!(next(), "ok");
    assert!(child.wait().expect("it ends").success());
    assert!(penstock.wait().success(), "{}", penstock.errors());
}
