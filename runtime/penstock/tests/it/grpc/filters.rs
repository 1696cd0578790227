//! gRPC calls that a filter makes, of the server of grpcio: of one that is built with the public
//! crate proxy-wasm, and of one that is built with our SDK.

use std::process::Command;

use super::calls;
use crate::harness::{Certificates, Client, Origin, Penstock, PythonServer, until};

/// A module, and its configuration.
type Module = (&'static str, &'static str);

const PROXY_WASM: Module = ("proxy-wasm/callbacks.wasm", "\"hello\"");
const SDK: Module = ("sdk/calls.wasm", "{}");

/// A proxy whose filter calls `server`, and shows in `x-reply` what it was answered.
fn penstock(app: &Origin, server: &PythonServer, (module, config): Module, tls: &str) -> Penstock {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/filters/");
    let module = format!("{folder}{module}");
    Penstock::start(&format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\nfilters = [\"one\"]\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{}\"]\n\
         [cluster.auth]\nprotocol = \"h2\"\nendpoints = [\"{}\"]\n{tls}\
         [filter.one]\nwasm = \"{module}\"\nconfig = {config}\ngrpc_calls = [\"auth\"]\n\
         # The machine may be busy.\n\
         deadline = {{ headers = \"1s\", body = \"1s\" }}\n",
        app.address, server.address,
    ))
}

/// The answer to a GET for `path` with one more field.
fn ask(penstock: &Penstock, path: &str, field: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    let mut client = Client::connect(penstock.address("web"));
    let reply = client.send(request).and_then(|()| client.reply()).expect("an answer");
    // The module puts a mark behind the bodies that pass it.
    (reply.status, reply.body.trim_end_matches('!').to_owned())
}

#[track_caller]
fn check(serving: Command, module: Module, tls: &str) {
    let server = PythonServer::start(serving);
    // It answers with what the filter put into the request.
    let app = Origin::start(|head| {
        let line = head.lines().find_map(|line| line.strip_prefix("x-reply: "));
        let body = line.unwrap_or("none");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let penstock = penstock(&app, &server, module, tls);
    let said = |status: u16, body: &str| (status, body.to_owned());
    for _ in 0..3 {
        assert_eq!(ask(&penstock, "/grpc", ""), said(200, "who"), "{}", penstock.errors());
        assert_eq!(ask(&penstock, "/stream", ""), said(200, "onetwo"), "{}", penstock.errors());
    }
    // PERMISSION_DENIED, with the message that the metadata asked for.
    assert_eq!(ask(&penstock, "/grpc", "x-code: 7\r\n"), said(403, "7 not you"));
    assert_eq!(penstock.metric("penstock_filter_grpc_calls_total{filter=\"one\"}"), 7.0);
    drop(server);
    let (status, body) = ask(&penstock, "/grpc", "");
    // UNAVAILABLE
    assert!(status == 403 && body.starts_with("14 "), "{status} {body}");
    assert_eq!(ask(&penstock, "/stream", ""), said(502, "no stream"));
    assert_eq!(ask(&penstock, "/", ""), said(200, "none"));
    if module == SDK {
        // Each request was put into a queue, on either shard, and one of them takes all out.
        until("every request is noted", || {
            (penstock.metric("penstock_wasm_noted_total{filter=\"one\"}") == 10.0).then_some(())
        });
    }
}

#[test]
fn filters_call_a_server_of_grpcio() {
    let Some(serving) = calls() else { return };
    check(serving, PROXY_WASM, "");
}

#[test]
fn filters_of_our_sdk_call_a_server_of_grpcio() {
    let Some(serving) = calls() else { return };
    check(serving, SDK, "");
}

#[test]
fn filters_call_a_server_of_grpcio_over_tls() {
    let Some(mut serving) = calls() else { return };
    let files = Certificates::make(&["localhost"]);
    let tls = format!("tls = {{ ca = \"{}\", name = \"localhost\" }}\n", files.path("ca.pem"));
    serving.env("SERVE_CERT", files.path("0.pem")).env("SERVE_KEY", files.path("0.key"));
    check(serving, PROXY_WASM, &tls);
}
