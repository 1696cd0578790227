//! What can be checked of the harness without a proxy: readings, sums, and configurations.

use std::path::Path;
use std::time::Duration;

use penstock_config::{Config, UncheckedFiles};

use crate::idle_load::is_whole;
use crate::origin::HeadEnds;
use crate::peers::{FilterUnderTest, Site, quoted};
use crate::process::kib_of;
use crate::report::median;
use crate::wrk::{Window, parse};
use crate::{Figure, Peer, Report, Spoken, h2load};

const WRK: &str = "Running 2s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.12ms  341.00us   7.84ms   86.10%
  Latency Distribution
     50%    1.07ms
     99%    2.31ms
  114052 requests in 2.00s, 70.90MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 12
Requests/sec:  57026.11
Transfer/sec:     35.45MB
";

#[test]
fn reads_what_wrk_prints() {
    let expected = Window {
        requests: 114_052,
        requests_per_second: 57_026.11,
        p99: Duration::from_micros(2310),
        errors: 16,
    };
    assert_eq!(parse(WRK).expect("all fields are there"), expected);
    assert!(parse("unable to connect to 127.0.0.1:8080 Connection refused").is_err());
}

const H2LOAD: &str = "starting benchmark...
finished in 2.00s, 46663.50 req/s, 23.99MB/s
requests: 93327 total, 93583 started, 93327 done, 93320 succeeded, 7 failed, 7 errored, 0 timeout
status codes: 93320 2xx, 0 3xx, 7 4xx, 0 5xx
";

#[test]
fn reads_what_h2load_prints() {
    let expected =
        Window { requests: 93_327, requests_per_second: 46_663.5, p99: Duration::ZERO, errors: 7 };
    assert_eq!(h2load::parse(H2LOAD).expect("all fields are there"), expected);
    assert!(h2load::parse("unable to connect").is_err());
}

#[test]
fn counts_heads_however_they_were_cut() {
    let input = b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\r\n\r\n";
    for cut in 0..=input.len() {
        let mut ends = HeadEnds::default();
        let count = ends.count(&input[..cut]) + ends.count(&input[cut..]);
        assert_eq!(count, 2, "cut at {cut}");
    }
}

#[test]
fn an_answer_is_whole_with_its_last_body_byte() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nvia: x\r\n\r\nabc";
    for bytes in 0..=answer.len() {
        assert_eq!(is_whole(&answer[..bytes]), bytes == answer.len(), "{bytes} bytes");
    }
}

#[test]
fn ratios_are_taken_round_by_round() {
    let mut report = Report::bare("t", vec!["c".into()]);
    let section = report.section("64 connections".into());
    // The machine halves its speed in the second round: the ratio stays one half.
    for (ours, theirs) in [(10.0, 20.0), (20.0, 40.0), (10.0, 20.0)] {
        for (peer, cost) in [(Peer::Penstock, ours), (Peer::Haproxy, theirs)] {
            report.add(section, peer, Figure { cost, ..Figure::default() });
        }
    }
    let text = report.markdown();
    assert!(text.contains("| Penstock | 10.00 | 10.00 | 0.50 | - | - | 0 |"), "{text}");
    assert!(text.contains("| HAProxy | 20.00 | 20.00 | 1.00 | - | - | 0 |"), "{text}");
    assert!(text.contains("| x HAProxy | requests/s | p99 |"), "{text}");
    assert_eq!(report.difference(Peer::Penstock, Peer::Haproxy), Some(10.0));
    assert_eq!(report.difference(Peer::Penstock, Peer::Nginx), None);
}

#[test]
fn the_median_of_two_middles_is_their_mean() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan());
}

#[test]
fn reads_kib_lines_of_proc() {
    assert_eq!(kib_of("Rss:  99 kB\nPss:   1234 kB\n", "Pss:"), Some(1234));
    assert_eq!(kib_of("Rss:  99 kB\n", "Pss:"), None);
}

#[test]
fn no_placeholder_is_left_in_a_configuration() {
    let (wasm, config, proof) = ("f.wasm".into(), "{\"a\": 1}".into(), String::new());
    let filter = FilterUnderTest { wasm, config, proof };
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let folder = Path::new("run");
    let (listen, origin) = (address(1), address(2));
    let site =
        Site { listen, origin, folder, filter: Some(&filter), spoken: Spoken::Tls, connections: 1 };
    for peer in [Peer::Penstock, Peer::Haproxy, Peer::Nginx, Peer::EnvoyDefault] {
        assert_eq!(peer.carries(Spoken::Tcp), Ok(()));
        let text = peer.config_text(&Site { spoken: Spoken::Tcp, ..site });
        assert!(!text.contains("http"), "{}: {text}", peer.name());
        let text = text.replace("\"@type\"", "");
        assert!(!text.contains('@'), "{}: {text}", peer.name());
    }
    for peer in [Peer::Penstock, Peer::Nginx] {
        let text = peer.config_text(&Site { spoken: Spoken::Udp, ..site });
        assert!(!text.contains('@'), "{}: {text}", peer.name());
        assert!(text.contains("udp"), "{}: {text}", peer.name());
    }
    for spoken in [Spoken::Http2ToHttp1, Spoken::Http2, Spoken::Grpc] {
        for peer in [Peer::Penstock, Peer::Haproxy, Peer::EnvoyDefault, Peer::EnvoyTuned] {
            let text = peer.config_text(&Site { spoken, ..site }).replace("\"@type\"", "");
            assert!(!text.contains('@'), "{}: {text}", peer.name());
        }
    }
    for peer in [
        Peer::Penstock,
        Peer::PenstockLog,
        Peer::PenstockFilter,
        Peer::Haproxy,
        Peer::Nginx,
        Peer::EnvoyDefault,
        Peer::EnvoyTuned,
        Peer::EnvoyFilter,
    ] {
        let text = peer.config_text(&site).replace("\"@type\"", "");
        assert!(!text.contains('@'), "{}: {text}", peer.name());
        assert_eq!(text.contains("f.wasm"), peer.has_filter(), "{}", peer.name());
    }
}

#[test]
fn who_has_no_configuration_for_what_is_spoken_takes_no_part() {
    for (peer, spoken) in [
        (Peer::EnvoyDefault, Spoken::Tls),
        (Peer::EnvoyTuned, Spoken::Tcp),
        (Peer::Haproxy, Spoken::Udp),
        (Peer::Nginx, Spoken::Http2ToHttp1),
    ] {
        assert!(peer.carries(spoken).is_err(), "{} {spoken:?}", peer.name());
    }
}

#[test]
fn our_own_configuration_is_one() {
    let filter = FilterUnderTest {
        wasm: "f.wasm".into(),
        config: "{\"a\": \"\\\"\"}".into(),
        proof: String::new(),
    };
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let folder = Path::new("/tmp/run");
    let (listen, origin) = (address(1), address(2));
    for (peer, spoken) in [
        (Peer::Penstock, Spoken::Tls),
        (Peer::Penstock, Spoken::Tcp),
        (Peer::Penstock, Spoken::Udp),
        (Peer::Penstock, Spoken::Http2ToHttp1),
        (Peer::Penstock, Spoken::Grpc),
        (Peer::PenstockLog, Spoken::Tls),
        (Peer::PenstockFilter, Spoken::Tls),
    ] {
        let site = Site { listen, origin, folder, filter: Some(&filter), spoken, connections: 1 };
        let text = peer.config_text(&site);
        if let Err(findings) = Config::parse(peer.name(), text.as_bytes(), &UncheckedFiles) {
            panic!("{findings}");
        }
    }
}

#[test]
fn reads_how_many_connections_openssl_made() {
    let text = "1 connections in 0.1s; 2.0 connections/user sec, bytes read 0\n\
                734 connections in 2 real seconds, 0 bytes read per connection\n";
    assert_eq!(crate::scenario::tls::connections(text), Some(734));
    assert_eq!(crate::scenario::tls::connections(""), None);
}

#[test]
fn quotes_as_both_toml_and_yaml_read() {
    assert_eq!(quoted("{\"a\": \"\\\"}\n"), r#""{\"a\": \"\\\"}\n""#);
}
