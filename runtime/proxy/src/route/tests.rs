//! Routes against requests: the first whose conditions all hold, in file order.

use penstock_config::{Config, UncheckedFiles};
use penstock_telemetry::metrics::{Registry, RegistryLimits};
use penstock_tls::{Fingerprint, Identity};
use penstock_wire::http1::{Lenient, Limits, Parsed, RequestHead, parse_request, path};

use super::{Path, RouteTable};
use crate::metrics::Schemas;

const CONFIG: &str = r#"
[cluster.c]
endpoints = ["127.0.0.1:1"]

[listener.l]
address = "127.0.0.1:80"

[[listener.l.route]]
host = "a.example"
path = "/exact"
to = "c"

[[listener.l.route]]
host = ["a.example", "*.b.example"]
path = "/below/*"
method = "GET"
to = "c"

[[listener.l.route]]
headers = { "x-beta" = "1", "x-old" = false }
to = "c"

[[listener.l.route]]
query = { "q" = "two words", "debug" = true }
to = "c"

[[listener.l.route]]
host = "*.b.example"
to = "c"

[[listener.l.route]]
path = "/any/*/glob"
to = "c"
"#;

#[track_caller]
fn check(request: &str, expected: Option<u32>) {
    check_of(CONFIG, request, None, expected);
}

#[track_caller]
fn check_of(config: &str, request: &str, client: Option<&Identity>, expected: Option<u32>) {
    let config = Config::parse("test", config.as_bytes(), &UncheckedFiles).expect("a config");
    let mut registry = Registry::new(1, RegistryLimits::default());
    let schemas = Schemas::declare(&mut registry);
    let table = RouteTable::build(&config.listeners[0], &[], &schemas, &mut registry);
    let (mut head, mut scratch) = (RequestHead::new(), Vec::new());
    let parsed = parse_request(request.as_bytes(), &Limits::default(), Lenient::NONE, &mut head);
    assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{parsed:?}");
    let path = path::normalise(head.path(), &mut scratch).expect("a normal form");
    assert_eq!(
        table.find(&head, Path(path), client).map(|route| route.index),
        expected,
        "{request}"
    );
}

#[test]
fn hosts_are_exact_or_below_a_suffix_in_any_case_and_without_port() {
    check("GET /exact HTTP/1.1\r\nHost: a.example\r\n\r\n", Some(0));
    check("GET /exact HTTP/1.1\r\nHost: A.Example:8080\r\n\r\n", Some(0));
    check("GET /exact HTTP/1.1\r\nHost: a.example.\r\n\r\n", Some(0));
    check("GET /x HTTP/1.1\r\nHost: deep.b.example\r\n\r\n", Some(4));
    check("GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n", None);
    check("GET /exact HTTP/1.1\r\nHost: c.example\r\n\r\n", None);
}

#[test]
fn paths_are_compared_normalised() {
    check("GET /below HTTP/1.1\r\nHost: a.example\r\n\r\n", Some(1));
    check("GET /x/%2e%2e//below/./y HTTP/1.1\r\nHost: a.example\r\n\r\n", Some(1));
    check("GET /belowx HTTP/1.1\r\nHost: a.example\r\n\r\n", None);
    check("GET /any/1/glob?x HTTP/1.1\r\nHost: z\r\n\r\n", Some(5));
    check("GET /any/1/2/glob HTTP/1.1\r\nHost: z\r\n\r\n", None);
}

#[test]
fn a_route_for_get_takes_head_too_and_no_other_method() {
    check("HEAD /below/x HTTP/1.1\r\nHost: a.example\r\n\r\n", Some(1));
    check("POST /below/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n", None);
    check("POST /below/x HTTP/1.1\r\nHost: x.b.example\r\nContent-Length: 0\r\n\r\n", Some(4));
}

#[test]
fn headers_and_query_parameters_all_have_to_be_as_said() {
    check("GET / HTTP/1.1\r\nHost: z\r\nX-Beta: 1\r\n\r\n", Some(2));
    check("GET / HTTP/1.1\r\nHost: z\r\nX-Beta: 0\r\nx-beta: 1\r\n\r\n", Some(2));
    check("GET / HTTP/1.1\r\nHost: z\r\nX-Beta: 1\r\nX-Old: 1\r\n\r\n", None);
    check("GET /?debug&q=two+words HTTP/1.1\r\nHost: z\r\n\r\n", Some(3));
    check("GET /?q=two%20words&debug=0 HTTP/1.1\r\nHost: z\r\n\r\n", Some(3));
    check("GET /?q=two%20words HTTP/1.1\r\nHost: z\r\n\r\n", None);
}

#[test]
fn a_client_is_matched_by_what_its_certificate_says() {
    let ada = Identity {
        subject: "CN=ada,O=Example".into(),
        issuer: "CN=ca".into(),
        serial: "0a".into(),
        dns: ["x.example", "ada.example"].map(Into::into).into(),
        uris: Box::default(),
        fingerprint: Fingerprint([0xab; 32]),
        told: Box::default(),
    };
    let check = |condition: &str, with: bool, without: bool| {
        let config = format!(
            "[cluster.c]\nendpoints = [\"127.0.0.1:1\"]\n[listener.l]\naddress = \":80\"\n\
             tls = {{ cert = \"c\", key = \"k\", client_ca = \"a\" }}\n\
             [[listener.l.route]]\nclient = {{ {condition} }}\nto = \"c\"\n"
        );
        let request = "GET / HTTP/1.1\r\nHost: z\r\n\r\n";
        check_of(&config, request, Some(&ada), with.then_some(0));
        check_of(&config, request, None, without.then_some(0));
    };
    check("subject = \"CN=ada*\"", true, false);
    check("subject = \"CN=eve*\"", false, false);
    check("dns = \"ada.example\", issuer = \"CN=ca\", serial = \"0a\"", true, false);
    check("dns = \"ada.example\", issuer = \"CN=other\"", false, false);
    check("uri = true", false, false);
    check("uri = false", true, true);
    check(&format!("sha256 = \"{}\"", "ab".repeat(32)), true, false);
    // Any certificate, and none.
    check("sha256 = true", true, false);
    check("sha256 = false", false, true);
}
