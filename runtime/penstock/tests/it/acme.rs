//! Certificates by ACME, from Pebble.

use serde_json::Value;

use crate::harness::{Certificates, Folder, Origin, Pebble, Penstock, installed, talk, until};
use crate::tls::{ask_with, has};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Two listeners where Pebble looks for proofs: a plain one that redirects everything, and one
/// with `tls`.
fn config(origin: &Origin, pebble: &Pebble, tls: &str) -> String {
    format!(
        "[listener.plain]\naddress = \"{}\"\n[[listener.plain.route]]\n\
         redirect = {{ to = \"https://{{host}}{{path}}\" }}\n\
         [listener.web]\naddress = \"{}\"\ntls = {{ acme = {{ {tls}, {} }} }}\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{}\"]\n",
        pebble.http,
        pebble.tls,
        pebble.acme(),
        origin.address
    )
}

/// The digest of the certificate of the listener `web`, if one is presented.
fn presented(penstock: &Penstock) -> Option<String> {
    let certs = penstock.json("/v1/certs");
    let items = certs.as_array().expect("a list").iter();
    let mut of_web = items.filter(|item| item["block"] == "listener.web");
    of_web.find_map(|item| item["sha256"].as_str().map(str::to_owned))
}

/// How ACME stands for a listener.
fn standing(penstock: &Penstock, listener: &str) -> Value {
    let certs = penstock.json("/v1/certs");
    let items = certs.as_array().expect("a list").iter();
    let block = format!("listener.{listener}");
    let found = items.filter(|item| item["block"] == *block).find(|item| item["acme"].is_object());
    found.map(|item| item["acme"].clone()).unwrap_or_default()
}

fn orders(penstock: &Penstock, listener: &str, result: &str) -> f64 {
    let labels = format!("{{block=\"listener.{listener}\",result=\"{result}\"}}");
    penstock.metric(&format!("penstock_acme_orders_total{labels}"))
}

fn is_installed() -> bool {
    let programs = ["pebble", "pebble-challtestsrv", "openssl", "curl"];
    programs.into_iter().all(installed)
}

#[test]
fn a_certificate_is_had_over_http_and_outlives_a_restart() {
    if !is_installed() {
        return;
    }
    let (origin, pebble, state) = (Origin::named("origin"), Pebble::start(86_400), Folder::new());
    let tls = format!(
        "names = [\"a.test\", \"B.test\"], contact = \"ops@a.test\", state = \"{}\"",
        state.join("acme").display()
    );
    let text = config(&origin, &pebble, &tls);
    let penstock = Penstock::start(&text);
    let first = until("there is a certificate", || presented(&penstock));
    let root = pebble.root();
    for name in ["a.test", "b.test"] {
        let said =
            ask_with(&penstock, &root, &["-servername", name, "-verify_hostname", name], REQUEST);
        has(&said, &["Verify return code: 0 (ok)"]);
    }
    has(&ask_with(&penstock, &root, &["-servername", "a.test"], REQUEST), &["200 OK", "origin"]);
    until("the order is counted", || (orders(&penstock, "web", "issued") == 1.0).then_some(()));
    let standing = standing(&penstock, "web");
    assert_eq!((&standing["state"], &standing["failures"]), (&"valid".into(), &0.into()));
    let next = standing["next_order_in_seconds"].as_i64().expect("a number");
    assert!((50_000..=57_600).contains(&next), "two thirds of a day, less a bit: {next}");
    // Proofs are shown no longer: the route redirects again.
    let proof = REQUEST.replace("GET / ", "GET /.well-known/acme-challenge/x ");
    assert_eq!(talk(pebble.http, &proof).0.expect("an answer").status, 308);
    drop(penstock);

    let penstock = Penstock::start(&text);
    assert_eq!(presented(&penstock), Some(first));
    has(&ask_with(&penstock, &root, &["-servername", "b.test"], REQUEST), &["return code: 0 (ok)"]);
    assert_eq!(orders(&penstock, "web", "issued"), 0.0);
}

#[test]
fn a_certificate_is_had_over_tls_and_renewed_and_one_that_is_not_ours_is_refused() {
    if !is_installed() {
        return;
    }
    let (origin, pebble, state) = (Origin::named("origin"), Pebble::start(9), Folder::new());
    let state = format!("state = \"{}\"", state.join("acme").display());
    let tls = format!("names = \"a.test\", challenge = \"tls-alpn-01\", {state}");
    // Nobody answers over plain HTTP where Pebble looks.
    let lost = format!("names = \"lost.test\", {state}, {}", pebble.acme());
    let plain = format!("[listener.plain]\naddress = \"{}\"", pebble.http);
    let text = config(&origin, &pebble, &tls).replace(
        &plain,
        &format!(
            "[listener.lost]\naddress = \"127.0.0.1:0\"\ntls = {{ acme = {{ {lost} }} }}\n\
             to = \"app\"\n[listener.plain]\naddress = \"127.0.0.1:0\""
        ),
    );
    let penstock = Penstock::start(&text);
    let first = until("there is a certificate", || presented(&penstock));
    let said = ask_with(&penstock, &pebble.root(), &["-servername", "a.test"], REQUEST);
    has(&said, &["200 OK", "origin"]);
    until("it is renewed", || presented(&penstock).filter(|now| *now != first));
    until("the other order has failed", || {
        (standing(&penstock, "lost")["failures"] == 1).then_some(())
    });
    let lost = standing(&penstock, "lost");
    assert_eq!((&lost["state"], &lost["error"]), (&"missing".into(), &"connection".into()));
    has(lost["detail"].as_str().expect("text"), &["lost.test"]);
    assert_eq!(orders(&penstock, "lost", "connection"), 1.0);
    has(&penstock.errors(), &["error=\"connection\"", "lost.test"]);
}

#[test]
fn a_listener_whose_certificate_is_not_there_says_so_and_keeps_nothing_from_serving() {
    if !is_installed() {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    // Port 1 is nobody's.
    let tls = format!(
        "names = \"a.test\", directory = \"https://127.0.0.1:1/dir\", directory_ca = \"{}\", \
         state = \"{}\"",
        files.path("ca.pem"),
        files.path("acme")
    );
    let text = format!(
        "[listener.web]\naddress = \"127.0.0.1:0\"\ntls = {{ acme = {{ {tls} }} }}\nto = \"app\"\n\
         [listener.plain]\naddress = \"127.0.0.1:0\"\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{}\"]\n",
        origin.address
    );
    let penstock = Penstock::start(&text);
    assert_eq!(talk(penstock.address("plain"), REQUEST).0.expect("an answer").status, 200);
    has(&ask_with(&penstock, &files.path("ca.pem"), &[], REQUEST), &["alert"]);
    let failures = "penstock_failures_total{cause=\"tls_no_certificate\"}";
    assert_eq!(penstock.metric(failures), 1.0);
    until("the order has failed", || {
        (standing(&penstock, "web")["error"] == "unreachable").then_some(())
    });
    assert_eq!(orders(&penstock, "web", "unreachable"), 1.0);
    assert_eq!(penstock.metric("penstock_acme_missing{block=\"listener.web\"}"), 1.0);
    let again = standing(&penstock, "web")["next_order_in_seconds"].as_i64().expect("a number");
    assert!((1..=150).contains(&again), "{again}");
    has(&penstock.errors(), &["its certificate is not there yet", "error=\"unreachable\""]);
    // A certificate from elsewhere takes its place without a restart.
    let own = files.listener(1, "");
    penstock.write(&text.replace(&format!("tls = {{ acme = {{ {tls} }} }}\n"), &own));
    assert_eq!(penstock.reload().0, 200);
    let said = ask_with(&penstock, &files.path("ca.pem"), &["-servername", "a.test"], REQUEST);
    has(&said, &["200 OK"]);
}
