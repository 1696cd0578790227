//! Who a downstream is, by its certificate, or by the word of a proxy in front: told to endpoints,
//! matched by routes, logged.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::harness::{Certificates, Folder, Origin, Penstock, installed, talk, until};
use crate::tls::{has, openssl};

/// Two routes: those that show ada's certificate, and the rest.
fn config(origin: &Origin, log: &str, tls: &str) -> String {
    format!(
        "[observe]\naccess_log = \"json:{log}\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n{tls}\
         [[listener.web.route]]\npath = \"/ada\"\nclient = {{ dns = \"ada.*\", uri = false }}\n\
         respond = {{ status = 200, body = \"for ada\" }}\n\
         [[listener.web.route]]\nto = \"app\"\n\
         [cluster.app]\nendpoints = [\"{}\"]\n",
        origin.address
    )
}

#[test]
fn endpoints_routes_and_the_log_learn_who_asks() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test", "ada.test"]));
    let more = format!(
        ", client_ca = \"{}\", client_cert = \"optional\", client_fields = [\"client-cert\", \
         \"x-forwarded-client-cert\"]",
        files.path("dev1/ca.pem")
    );
    let log = files.path("access.log");
    let penstock = Penstock::start(&config(&origin, &log, &files.listener(1, &more)));
    let (cert, key) = (files.path("1.pem"), files.path("1.key"));
    let ada = ["-servername", "a.test", "-cert", &cert, "-key", &key];
    // The request goes behind a Host that is a request's beginning: fields of its own.
    let forged = "a.test\r\nClient-Cert: :Zm9yZ2Vk:\r\nclient-cert-chain: :Zm9yZ2Vk:\r\n\
                  X-Forwarded-Client-Cert: Hash=forged";
    has(&openssl(&penstock, &files, &ada, forged), &["200 OK"]);
    let head = origin.head().expect("a request came");
    let pem = std::fs::read_to_string(&cert).expect("read");
    let base64: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    has(&head, &[&format!("Client-Cert: :{base64}:"), ";Subject=\"CN=ada.test\";DNS=ada.test"]);
    assert!(!head.contains("forged") && !head.contains("Zm9yZ2Vk"), "{head}");
    // Who shows none is told of with nothing.
    has(&openssl(&penstock, &files, &["-servername", "a.test"], forged), &["200 OK"]);
    let head = origin.head().expect("a request came").to_ascii_lowercase();
    assert!(!head.contains("client-cert"), "{head}");

    let request = "/ada HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let path = |arguments: &[&str]| {
        crate::tls::ask(&penstock, &files, arguments, &format!("GET {request}"))
    };
    has(&path(&ada), &["for ada"]);
    let without = path(&["-servername", "a.test"]);
    has(&without, &["200 OK", "origin"]);
    assert!(!without.contains("for ada"));

    let lines: Vec<Value> = until("the log is written", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        (lines.len() == 4).then_some(lines)
    });
    for line in lines {
        assert_eq!((&line["tls"], &line["sni"]), (&"TLSv1.3".into(), &"a.test".into()));
        assert_eq!(line["cipher"], "TLS_AES_256_GCM_SHA384");
        assert_eq!(line["resumed"], false);
    }
}

#[test]
fn a_claim_of_a_certificate_passes_only_from_a_trusted_peer() {
    let origin = Origin::named("origin");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nclient-cert: :YQ==:\r\n\
                   X-Forwarded-Client-Cert: Hash=1\r\n\r\n";
    for (trusted, passes) in [("", false), ("trusted = [\"127.0.0.0/8\"]\n", true)] {
        let text = origin.config().replace("to = \"app\"", &format!("{trusted}to = \"app\""));
        let penstock = Penstock::start(&text);
        assert_eq!(talk(penstock.address("web"), request).0.expect("an answer").status, 200);
        let head = origin.head().expect("a request came").to_ascii_lowercase();
        for field in ["client-cert: :yq==:", "x-forwarded-client-cert: hash=1"] {
            assert_eq!(head.contains(field), passes, "{trusted}{head}");
        }
    }
}

#[test]
fn a_proxy_on_a_unix_socket_is_believed_where_the_config_says_so() {
    let origin = Origin::named("origin");
    for trusted in [false, true] {
        let folder = Folder::new();
        let (socket, log) = (folder.join("web.sock"), folder.join("access.log"));
        let believed = if trusted { "trusted = [\"unix\"]\n" } else { "" };
        let text = format!(
            "[observe]\naccess_log = \"json:{}\"\n[listener.web]\naddress = \"unix:{}\"\n\
             forwarded = \"both\"\n{believed}to = \"app\"\n\
             [cluster.app]\nendpoints = [\"{}\"]\n",
            log.display(),
            socket.display(),
            origin.address
        );
        let _penstock = Penstock::start_in(folder, &text);
        let connect = || UnixStream::connect(&socket).ok();
        let mut proxy = until("the listener is there", connect);
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\
            X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n";
        proxy.write_all(request).expect("it is taken");
        let mut answer = String::new();
        proxy.read_to_string(&mut answer).expect("an answer");
        has(&answer, &["200 OK"]);
        let head = origin.head().expect("a request came").to_ascii_lowercase();
        let forwarded = "forwarded: for=unknown;host=\"a.test\";proto=http\r\n";
        has(&head, &[forwarded, "x-forwarded-host: a.test\r\n"]);
        let told = ["x-forwarded-for: 203.0.113.9\r\n", "x-forwarded-proto: https\r\n"];
        assert!(told.iter().all(|told| head.contains(told) == trusted), "{head}");
        assert_eq!(head.contains("x-forwarded-proto: http\r\n"), !trusted, "{head}");
        let line: Value = until("the log is written", || {
            serde_json::from_str(std::fs::read_to_string(&log).ok()?.lines().next()?).ok()
        });
        assert_eq!(line["downstream"], "unix:");
        assert_eq!(line.get("client"), trusted.then_some(&"203.0.113.9".into()));
    }
}
