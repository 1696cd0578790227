//! The HTTP/1 strictness table, row by row, through a real listener.

use crate::harness::{Origin, Penstock, talk};

/// A Penstock in front of `origin`.
fn penstock(origin: &Origin) -> Penstock {
    Penstock::start(&origin.config())
}

/// Rows that never reach the origin: an answer, and the connection closes.
#[track_caller]
fn check_refused(rows: &[(&str, u16)]) {
    let origin = Origin::named("one");
    let penstock = penstock(&origin);
    let address = penstock.address("web");
    for (request, status) in rows {
        let (reply, closed) = talk(address, request);
        let reply = reply.unwrap_or_else(|error| panic!("{request:?}: {error}"));
        assert_eq!(reply.status, *status, "{request:?}: {}", reply.head);
        assert!(closed, "{request:?}: {}", reply.head);
        assert_eq!(origin.head(), None, "{request:?} was forwarded");
    }
    // Each was counted under its cause.
    let failures = penstock.json("/v1/status")["failures"].clone();
    let counts = failures.as_array().expect("a list").iter().map(|pair| pair[1].as_u64());
    assert_eq!(counts.flatten().sum::<u64>(), rows.len() as u64, "{failures}");
}

/// A row that passes; `seen` and `unseen` are parts of the head that the origin gets.
#[track_caller]
fn check_passed(request: &str, seen: &[&str], unseen: &[&str]) {
    let origin = Origin::named("one");
    let penstock = penstock(&origin);
    let (reply, _) = talk(penstock.address("web"), request);
    let reply = reply.unwrap_or_else(|error| panic!("{request:?}: {error}"));
    assert_eq!((reply.status, reply.body.as_str()), (200, "one"), "{request:?}");
    let head = origin.head().expect("it was forwarded");
    for part in seen {
        assert!(head.contains(part), "{request:?}: no {part:?} in {head}");
    }
    for part in unseen {
        assert!(!head.contains(part), "{request:?}: {part:?} in {head}");
    }
}

#[test]
fn bodies_of_two_lengths_are_refused() {
    // RFC 9112 §6.3: both framings, or two lengths, mean a smuggling attempt.
    check_refused(&[
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
        ("POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ]);
}

#[test]
fn lines_that_end_or_fold_wrongly_are_refused() {
    // RFC 9112 §2.2 and §5.2; RFC 9110 §5.5 for the bytes of values.
    check_refused(&[
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
    ]);
}

#[test]
fn a_host_is_there_once_and_is_an_authority() {
    // RFC 9112 §3.2.
    check_refused(&[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ]);
}

#[test]
fn methods_that_no_origin_may_see_are_refused() {
    check_refused(&[
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ]);
    check_passed("FOO / HTTP/1.1\r\nHost: x\r\n\r\n", &["FOO / HTTP/1.1\r\n"], &[]);
}

#[test]
fn heads_over_a_limit_are_refused() {
    let (uri, line, head) = ("a".repeat(8 << 10), "b".repeat(33 << 10), "c".repeat(30 << 10));
    let fields = "X: y\r\n".repeat(101);
    check_refused(&[
        (&format!("GET /{uri} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {line}\r\n\r\n"), 431),
        (&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {head}\r\nB: {head}\r\nC: {head}\r\n\r\n"), 431),
        (&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"), 431),
    ]);
}

#[test]
fn a_chunk_line_with_lf_alone_is_refused() {
    // RFC 9112 §7.1. The head was right, so the origin may have been asked: it gets no body.
    let origin = Origin::named("one");
    let penstock = penstock(&origin);
    let request =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n";
    let (reply, closed) = talk(penstock.address("web"), request);
    assert_eq!((reply.expect("an answer").status, closed), (400, true));
    assert_eq!(origin.head(), None, "the origin never saw the request whole");
}

#[test]
fn chunk_extensions_are_dropped() {
    check_passed(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n\
         0;c\r\n\r\n",
        &["ransfer-"],
        &["a=b"],
    );
}

#[test]
fn fields_of_one_hop_stay_there_in_both_directions() {
    // RFC 9110 §7.6.1.
    check_passed(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
        &["X-B: 2\r\n"],
        &["X-A"],
    );
    let origin = Origin::start(|_| {
        "HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n"
            .to_owned()
    });
    let penstock = penstock(&origin);
    let (reply, closed) = talk(penstock.address("web"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = reply.expect("an answer").head;
    assert!(head.contains("X-B: 2\r\n") && !head.contains("X-A"), "{head}");
    assert!(!closed, "{head}");
}

#[test]
fn an_upgrade_to_h2c_is_not_passed_on() {
    check_passed(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        &["GET / HTTP/1.1\r\n"],
        &["h2c", "HTTP2-Settings", "Upgrade"],
    );
}

#[test]
fn targets_and_names_pass_as_they_came() {
    check_passed(
        "GET /a/%2e%2e//b/../c HTTP/1.1\r\nHOST: x\r\nX-MiXed: 1\r\nx_y: 2\r\n\r\n",
        &["GET /a/%2e%2e//b/../c HTTP/1.1\r\n", "X-MiXed: 1\r\n"],
        // An underscore can pass for a dash behind us: dropped, and counted.
        &["x_y"],
    );
    check_passed("GET http://x/y HTTP/1.1\r\nHost: x\r\n\r\n", &["GET /y HTTP/1.1\r\n"], &[]);
}

#[test]
fn a_path_is_matched_in_its_normal_form_and_a_dropped_name_is_counted() {
    let origin = Origin::named("one");
    let route = "[[listener.web.route]]\npath = \"/c\"\nto = \"app\"\n\n";
    let penstock = Penstock::start(&origin.config().replace("to = \"app\"\n\n", route));
    for (path, status) in [("/a/%2e%2e//b/../c", 200), ("/%63", 200), ("/a/c", 404)] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nx_y: 2\r\n\r\n");
        let (reply, _) = talk(penstock.address("web"), request);
        assert_eq!(reply.expect("an answer").status, status, "{path}");
        let head = origin.head();
        assert_eq!(head.is_some(), status == 200, "{path}");
        assert!(head.is_none_or(|head| head.starts_with(&format!("GET {path} HTTP/1.1\r\n"))));
    }
    assert_eq!(penstock.metric("penstock_dropped_fields_total"), 3.0);
}

#[test]
fn http_1_0_is_served() {
    let origin = Origin::named("one");
    let penstock = penstock(&origin);
    let address = penstock.address("web");
    let (reply, closed) = talk(address, "GET / HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_eq!((reply.expect("an answer").status, closed), (200, true));
    let (reply, closed) = talk(address, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((reply.expect("an answer").status, closed), (200, true));
}

#[test]
fn two_lengths_from_the_origin_are_its_failure() {
    let origin = Origin::start(|_| {
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_owned()
    });
    let penstock = penstock(&origin);
    let (reply, closed) = talk(penstock.address("web"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((reply.expect("an answer").status, closed), (502, false));
}

#[test]
fn what_is_waived_by_name_passes_and_is_counted() {
    let origin = Origin::named("one");
    let lenient = "to = \"app\"\nlenient = [\"obs-fold\", \"bare-lf\", \"underscore\", \
                   \"repeated-content-length\"]";
    let penstock = Penstock::start(&origin.config().replace("to = \"app\"", lenient));
    let address = penstock.address("web");
    let request = "GET / HTTP/1.1\nHost: x\nA: b\n c\nx_y: 2\n\n";
    let (reply, _) = talk(address, request);
    assert_eq!(reply.expect("an answer").status, 200);
    let head = origin.head().expect("it was forwarded");
    assert!(head.contains("x_y: 2\r\n") && !head.contains("\n c"), "{head:?}");
    assert_eq!(penstock.metric("penstock_lenient_total"), 1.0);
    // RFC 9112 §6.3: the same length twice may be taken for once; the origin gets it once.
    let twice = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
    let (reply, _) = talk(address, twice);
    assert_eq!(reply.expect("an answer").status, 200);
    let head = origin.head().expect("it was forwarded");
    assert_eq!(head.matches("Content-Length: 1\r\n").count(), 1, "{head}");
    assert_eq!(penstock.metric("penstock_lenient_total"), 2.0);
    // The after-effect of a row must not be another's: a plain request is as before.
    let (reply, closed) = talk(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((reply.expect("an answer").status, closed), (200, false));
}
