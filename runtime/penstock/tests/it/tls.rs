//! TLS between tools that were not written by us, openssl and curl, and plain origins.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::harness::{Certificates, Origin, Penstock, installed, run, talk, until};

pub(crate) fn config(origin: &Origin, tls: &str) -> String {
    origin.config().replace("to = \"app\"", &format!("{tls}to = \"app\""))
}

/// What openssl says of a handshake with the listener `web`, and the answer to a request in it.
pub(crate) fn openssl(
    penstock: &Penstock,
    files: &Certificates,
    arguments: &[&str],
    host: &str,
) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    ask(penstock, files, arguments, &request)
}

/// The same with a whole request.
pub(crate) fn ask(
    penstock: &Penstock,
    files: &Certificates,
    arguments: &[&str],
    request: &str,
) -> String {
    ask_with(penstock, &files.path("ca.pem"), arguments, request)
}

/// The same with other authorities.
pub(crate) fn ask_with(
    penstock: &Penstock,
    authorities: &str,
    arguments: &[&str],
    request: &str,
) -> String {
    let address = penstock.address("web").to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-CAfile", authorities, "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl starts");
    // A refused handshake closes the pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(request.as_bytes());
    let output = child.wait_with_output().expect("openssl runs");
    let (out, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}\n{errors}")
}

#[track_caller]
pub(crate) fn has(text: &str, expected: &[&str]) {
    for one in expected {
        assert!(text.contains(one), "{one:?} is not in:\n{text}");
    }
}

#[test]
fn versions_names_and_protocols_are_as_configured() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test", "*.b.test"]));
    let penstock = Penstock::start(&config(&origin, &files.listener(2, "")));
    let ask = |arguments: &[&str], host: &str| openssl(&penstock, &files, arguments, host);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = ask(&[version, "-servername", "a.test", "-alpn", "h3,http/1.1"], "a.test");
        has(&said, &[name, "CN = a.test", "ALPN protocol: http/1.1", "Verify return code: 0 (ok)"]);
        has(&said, &["HTTP/1.1 200 OK", "origin"]);
    }
    let head = origin.head().expect("a request came");
    has(&head.to_ascii_lowercase(), &["x-forwarded-proto: https"]);
    has(&ask(&["-servername", "x.b.test"], "x.b.test"), &["CN = *.b.test", "200 OK"]);
    // Without a name the first certificate is presented, and any host may be asked for.
    has(&ask(&["-noservername"], "whatever.test"), &["CN = a.test", "200 OK"]);
    // RFC 9110 §7.4: a host that the connection is not for.
    has(&ask(&["-servername", "a.test"], "x.b.test"), &["HTTP/1.1 421 "]);
    has(&ask(&["-servername", "x.b.test"], "y.b.test"), &["200 OK"]);
    has(&ask(&["-servername", "other.test"], "other.test"), &["alert"]);
    has(&ask(&["-alpn", "h3", "-servername", "a.test"], "a.test"), &["no application protocol"]);
    let failures =
        |cause: &str| penstock.metric(&format!("penstock_failures_total{{cause=\"{cause}\"}}"));
    assert_eq!(failures("misdirected"), 1.0);
    assert_eq!(failures("tls_unknown_name"), 1.0);
    assert_eq!(failures("tls_nothing_in_common"), 1.0);
    let handshakes = penstock.metric("penstock_listener_tls_handshakes_total{listener=\"web\"}");
    assert_eq!(handshakes, 6.0);
    let certs = penstock.json("/v1/certs");
    assert_eq!(certs[0]["names"][0], "a.test");
    assert!(certs[1]["expires_in_seconds"].as_i64().expect("a number") > 29 * 86_400);
}

#[test]
fn what_is_not_tls_is_cut_and_old_versions_are_refused() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    let penstock = Penstock::start(&config(&origin, &files.listener(1, ", versions = \"1.3\"")));
    let address = penstock.address("web");
    let (answer, _) = talk(address, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(answer.is_err(), "{answer:?}");
    let said = openssl(&penstock, &files, &["-tls1_2"], "a.test");
    has(&said, &["alert protocol version"]);
    let failures =
        |cause: &str| penstock.metric(&format!("penstock_failures_total{{cause=\"{cause}\"}}"));
    assert_eq!((failures("not_tls"), failures("tls_nothing_in_common")), (1.0, 1.0));
}

#[test]
fn certificates_of_downstreams_are_asked_for_and_verified() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test", "ada.test"]));
    let strangers = Certificates::make(&["eve.test"]);
    for (wish, without) in [("required", "alert"), ("optional", "200 OK")] {
        let more =
            format!(", client_ca = \"{}\", client_cert = \"{wish}\"", files.path("dev1/ca.pem"));
        let penstock = Penstock::start(&config(&origin, &files.listener(1, &more)));
        let ask = |from: &Certificates, number: usize| {
            let (cert, key) =
                (from.path(&format!("{number}.pem")), from.path(&format!("{number}.key")));
            openssl(&penstock, &files, &["-cert", &cert, "-key", &key], "a.test")
        };
        for version in ["-tls1_2", "-tls1_3"] {
            has(&openssl(&penstock, &files, &[version], "a.test"), &[without]);
        }
        has(&ask(&files, 1), &["200 OK"]);
        // Of an authority that is not asked.
        has(&ask(&strangers, 0), &["alert"]);
        has(&ask(&files, 0), &["alert"]);
        let refused = "penstock_failures_total{cause=\"tls_certificate_refused\"}";
        assert_eq!(penstock.metric(refused), 2.0, "{wish}");
    }
}

#[test]
fn sessions_are_resumed_on_every_shard_and_after_a_restart() {
    if !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test"]));
    let secret = format!("# for tests\n{}\n", "5a".repeat(32));
    std::fs::write(files.folder.join("tickets"), secret).expect("written");
    let more = format!(", session_ticket_key = \"{}\"", files.path("tickets"));
    let text = format!(
        "[runtime]\nshards = 4\npin = false\n{}",
        config(&origin, &files.listener(1, &more))
    );
    for version in ["-tls1_2", "-tls1_3"] {
        let session = files.path("session");
        let first = Penstock::start(&text);
        let said = openssl(&first, &files, &[version, "-sess_out", &session, "-quiet"], "a.test");
        has(&said, &["200 OK"]);
        for _ in 0..8 {
            let said = openssl(&first, &files, &[version, "-sess_in", &session], "a.test");
            has(&said, &["Reused, TLSv1.", "200 OK"]);
        }
        drop(first);
        let second = Penstock::start(&text);
        let said = openssl(&second, &files, &[version, "-sess_in", &session], "a.test");
        has(&said, &["Reused, TLSv1.", "200 OK"]);
        let resumed = "penstock_listener_tls_resumed_total{listener=\"web\"}";
        assert_eq!(second.metric(resumed), 1.0);
    }
}

#[test]
fn curl_reads_large_bodies_and_keeps_connections() {
    if !installed("curl") {
        return;
    }
    let body = "x".repeat(1 << 20);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (origin, files) =
        (Origin::start(move |_| answer.clone()), Certificates::make(&["127.0.0.1"]));
    let penstock = Penstock::start(&config(&origin, &files.listener(1, "")));
    let url = format!("https://{}/", penstock.address("web"));
    let upload = files.path("upload");
    std::fs::write(&upload, vec![b'u'; 300_000]).expect("written");
    for more in [&[][..], &["-T", &upload], &["--http1.0"], &["--tls-max", "1.2"]] {
        let output = Command::new("curl")
            .args(["-sS", "--http1.1", "--max-time", "20", "--cacert", &files.path("ca.pem")])
            .args(["-w", "%{num_connects}"])
            .args(more)
            .args([&url, &url])
            .output()
            .expect("curl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {more:?}: {errors}");
        let expected = if more.contains(&"-T") { 1 } else { 2 };
        assert!(output.stdout.len() >= expected * body.len(), "{more:?}");
        if more.is_empty() {
            assert!(output.stdout.ends_with(b"0"), "the second came on the same connection");
        }
    }
}

#[test]
fn endpoints_are_verified_and_spoken_to_over_tls() {
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["127.0.0.1", "in.test"]));
    // One Penstock is the endpoint of another.
    let more = format!(", client_ca = \"{}\"", files.path("dev1/ca.pem"));
    let inner = Penstock::start(&config(&origin, &files.listener(2, &more)));
    let own = format!("cert = \"{}\", key = \"{}\"", files.path("1.pem"), files.path("1.key"));
    let ca = format!("ca = \"{}\", ", files.path("ca.pem"));
    let checked = run(&["cert", "check", &files.path("0.pem"), &files.path("0.key")]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let pin = said.lines().find_map(|line| line.strip_prefix("pin ")).expect("a pin").trim();
    let other = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for (tls, status, cause) in [
        (format!("{ca}{own}"), 200, ""),
        (format!("{ca}name = \"in.test\", {own}"), 200, ""),
        (format!("{ca}pin = [\"{other}\", \"{pin}\"], {own}"), 200, ""),
        (format!("verify = \"pin\", pin = [\"{pin}\"], {own}"), 200, ""),
        (format!("verify = \"off\", {own}"), 200, ""),
        (format!("verify = \"pin\", pin = [\"{other}\"], {own}"), 502, "upstream_untrusted"),
        (format!("{ca}name = \"wrong.test\", verify = \"ca\", {own}"), 502, "upstream_tls_failed"),
        (own.clone(), 502, "upstream_untrusted"),
        (ca.trim_end_matches(", ").to_owned(), 502, "upstream_"),
    ] {
        let text = format!(
            "[observe]\ncause_header = true\n[listener.web]\naddress = \"127.0.0.1:0\"\n\
             to = \"app\"\n[cluster.app]\nendpoints = [\"{}\"]\ntls = {{ {tls} }}\n",
            inner.address("web")
        );
        let outer = Penstock::start(&text);
        for _ in 0..2 {
            let request = "GET / HTTP/1.1\r\nHost: in.test\r\nConnection: close\r\n\r\n";
            let answer = talk(outer.address("web"), request).0.expect("an answer");
            assert_eq!(answer.status, status, "{tls}\n{answer:?}");
            assert!(answer.head.contains(cause), "{tls}\n{answer:?}");
        }
    }
}

#[test]
fn a_certificate_is_swapped_under_load_and_no_request_fails() {
    if !installed("curl") || !installed("openssl") {
        return;
    }
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test", "a.test"]));
    // A machine that stands still for seconds is not what is tested here.
    let patient = "timeouts = { tls_handshake = \"60s\" }\n";
    let listener = files.listener(1, "") + patient;
    let penstock = Penstock::start(&config(&origin, &listener));
    let address = penstock.address("web");
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            let ca = files.path("ca.pem");
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let url = format!("https://a.test:{}/", address.port());
                    let output = Command::new("curl")
                        .args(["-sS", "--fail-early", "--max-time", "20", "--cacert", &ca])
                        .args(["--resolve", &format!("a.test:{}:127.0.0.1", address.port())])
                        .args([&url, &url, &url])
                        .output()
                        .expect("curl runs");
                    let errors = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{errors}");
                    assert_eq!(output.stdout, b"originoriginorigin");
                    count.fetch_add(3, Relaxed);
                }
            })
        })
        .collect();
    let served = || penstock.json("/v1/certs")[0]["sha256"].as_str().expect("text").to_owned();
    let swap = |number: usize| {
        for kind in ["pem", "key"] {
            let fresh = files.folder.join("fresh");
            let from = files.folder.join(&format!("{number}.{kind}"));
            std::fs::copy(from, &fresh).expect("copied");
            std::fs::rename(&fresh, files.folder.join(&format!("0.{kind}"))).expect("moved");
        }
    };
    until("some requests", || (count.load(Relaxed) > 5).then_some(()));
    let first = served();
    // A file that is none: named, and the old one stays.
    let good = std::fs::read(files.folder.join("0.pem")).expect("read");
    std::fs::write(files.folder.join("0.pem"), b"garbage").expect("written");
    until("the bad one is refused", || {
        (penstock.metric("penstock_certificates_refused") == 1.0).then_some(())
    });
    has(&penstock.errors(), &["listener.web.tls: ", "0.pem holds no certificate"]);
    let (status, problem) = penstock.reload();
    assert_eq!(status, 422, "{problem}");
    has(&problem, &["holds no certificate"]);
    assert_eq!(served(), first);
    std::fs::write(files.folder.join("0.pem"), good).expect("written");
    swap(1);
    until("the new one is in force", || (served() != first).then_some(()));
    let before = count.load(Relaxed);
    until("requests after it", || (count.load(Relaxed) > before + 5).then_some(()));
    stop.store(true, Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert_eq!(penstock.metric("penstock_certificates_refused"), 0.0);
}

#[test]
fn check_finds_files_that_are_wrong_at_their_place() {
    let (origin, files) = (Origin::named("origin"), Certificates::make(&["a.test", "b.test"]));
    let mixed = files.listener(2, "").replace("1.key", "0.key");
    let path = files.folder.join("penstock.toml");
    std::fs::write(&path, config(&origin, &mixed)).expect("written");
    let output = run(&["check", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    has(&said, &["listener.web.tls.certificates[1].key", "is not the one of the certificate"]);
}
