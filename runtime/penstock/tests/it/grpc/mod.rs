//! gRPC with the client and the server of grpcio, through the proxy: `calls.py` has the calls.

mod filters;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Certificates, Folder, Penstock, PythonServer, python, until};

fn calls() -> Option<Command> {
    python("grpc", "grpc/calls.py")
}

fn config(server: &PythonServer, listener: &str) -> String {
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
    let run = python.args(["ask", &address]).args(more).output();
    let output = run.expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", penstock.errors());
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 11, "{text}");
}

#[test]
fn calls_of_grpcio_go_through() {
    let (Some(serving), Some(client)) = (calls(), calls()) else { return };
    let server = PythonServer::start(serving);
    let folder = Folder::new();
    let log = folder.join("access.log");
    let observe = format!("[observe]\naccess_log = \"json:{}\"\n", log.display());
    let penstock = Penstock::start_in(folder, &(observe + &config(&server, "")));
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
    let of_down = |name: &str, more: &str| {
        let labels = format!("grpc_service=\"sim.Echo\",grpc_method=\"Down\"{more}");
        penstock.metric(&format!("penstock_grpc_{name}_total{{{labels}}}"))
    };
    assert_eq!(of_down("calls", ",code=\"OK\""), 1.0);
    assert_eq!((of_down("received_messages", ""), of_down("sent_messages", "")), (1.0, 500.0));
    assert_eq!(of_down("sent_message_bytes", ""), 500.0 * 3005.0);
    // A method that the server does not have is no series of its own.
    let (_, metrics) = penstock.ask("GET", "/metrics");
    assert!(!metrics.contains("grpc_method=\"Nothing\""));
    until("the log has the status of calls", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.contains("\"grpc_status\":\"DATA_LOSS\"").then_some(())
    });
}

#[test]
fn calls_of_grpcio_go_through_tls() {
    let (Some(serving), Some(client)) = (calls(), calls()) else { return };
    let (server, files) = (PythonServer::start(serving), Certificates::make(&["localhost"]));
    let penstock = Penstock::start(&config(&server, &files.listener(1, "")));
    check_calls(client, &penstock, &[&files.path("ca.pem"), "localhost"]);
}

#[test]
fn calls_of_grpc_web_reach_a_server_of_grpcio() {
    let (Some(serving), Some(mut client)) = (calls(), calls()) else { return };
    let server = PythonServer::start(serving);
    let penstock = Penstock::start(&config(&server, ""));
    let address = penstock.address("web").to_string();
    let output = client.args(["web", &address]).output().expect("Python runs");
    let (said, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}\n{}", penstock.errors());
    assert_eq!(said, b"ok\n");
}

#[test]
fn checks_ask_the_health_service_of_grpcio() {
    let Some(serving) = calls() else { return };
    let server = PythonServer::start(serving);
    let health = |service: &str| {
        format!("health = {{ grpc = \"{service}\", interval = \"100ms\", fall = 2 }}\n")
    };
    let penstock = Penstock::start(&(config(&server, "") + &health("sim.Echo")));
    let state = || {
        let clusters = penstock.json("/v1/clusters");
        clusters[0]["endpoints"][0]["health"].as_str().expect("a word").to_owned()
    };
    for (service, reason) in [
        ("sim.Broken", "it says that it does not serve (2)"),
        ("", "good again"),
        ("sim.Unknown", "grpc-status 5"),
        ("sim.Echo", "good again"),
    ] {
        penstock.write(&(config(&server, "") + &health(service)));
        assert_eq!(penstock.reload().0, 200);
        let wanted = if reason == "good again" { "up" } else { "down" };
        until("the checks say so", || (state() == wanted).then_some(()));
        until("the log says why", || penstock.errors().contains(reason).then_some(()));
    }
}

#[test]
fn a_drain_lets_calls_end_and_a_client_of_grpcio_is_told() {
    let (Some(serving), Some(mut client)) = (calls(), calls()) else { return };
    let server = PythonServer::start(serving);
    let mut penstock = Penstock::start(&config(&server, ""));
    let address = penstock.address("web").to_string();
    let mut child = client
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
