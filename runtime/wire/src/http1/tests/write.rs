//! Rendering: what is kept byte for byte, what is left out, what is added.

use crate::http1::{
    Connection, Framing, Known, KnownSet, Lenient, Limits, Method, RequestHead, RequestOutbound,
    ResponseHead, ResponseOutbound, parse_request, parse_response, write_request, write_response,
};

#[track_caller]
fn request(input: &str, change: impl FnOnce(&mut RequestOutbound<'_>), expected: &str) {
    let mut head = RequestHead::new();
    let lenient = Lenient::OBS_FOLD | Lenient::BARE_LF | Lenient::REPEATED_CONTENT_LENGTH;
    let answer = parse_request(input.as_bytes(), &Limits::default(), lenient, &mut head);
    assert!(answer.is_ok(), "{input:?}: {answer:?}");
    let mut outbound = RequestOutbound::of(&head);
    change(&mut outbound);
    let mut out = Vec::new();
    write_request(&head, &outbound, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[track_caller]
fn response(input: &str, change: impl FnOnce(&mut ResponseOutbound<'_>), expected: &str) {
    let mut head = ResponseHead::new();
    let limits = Limits::default();
    let answer = parse_response(input.as_bytes(), Method::Get, &limits, Lenient::NONE, &mut head);
    assert!(answer.is_ok(), "{input:?}: {answer:?}");
    let mut outbound = ResponseOutbound::of(&head);
    change(&mut outbound);
    let mut out = Vec::new();
    write_response(&head, &outbound, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn what_was_received_is_kept_byte_for_byte() {
    let plain = "PUT /a?b HTTP/1.1\r\nhOST: a\r\nX-a:1\r\nX-A:   2  \r\nContent-Length: 3\r\n\r\n";
    request(plain, |_| {}, plain);
    let plain = "HTTP/1.1 200 Fine\r\nserver:x\r\nContent-length: 3\r\n\r\n";
    response(plain, |_| {}, plain);
}

#[test]
fn what_ends_at_this_hop_is_left_out() {
    // RFC 9110 §7.6.1; RFC 9113 §3.1 for h2c.
    request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-A, Upgrade, HTTP2-Settings\r\nX-A: 1\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AA\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nX_Y: 1\r\n\
         Proxy: x\r\nZ: 1\r\n\r\n",
        |outbound| outbound.connection = Connection::Upgrade,
        "GET / HTTP/1.1\r\nHost: a\r\nZ: 1\r\n\r\n",
    );
    response(
        "HTTP/1.1 200 OK\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\n\
         Upgrade: h2,h2c\r\nContent-Length: 0\r\n\r\n",
        |_| {},
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn every_request_leaves_as_http11_in_origin_form_with_a_host() {
    // RFC 9112 §3.2.1, §3.2.2.
    request(
        "GET http://A:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        |_| {},
        "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    request(
        "GET http://a?y HTTP/1.0\r\nX: 1\r\n\r\n",
        |_| {},
        "GET /?y HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    );
    request(
        "GET / HTTP/1.0\r\nX: 1\r\n\r\n",
        |outbound| outbound.host = b"fallback",
        "GET / HTTP/1.1\r\nHost: fallback\r\nX: 1\r\n\r\n",
    );
    request(
        "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        |_| {},
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    );
}

#[test]
fn waived_lines_leave_in_their_strict_form() {
    request(
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n",
        |_| {},
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1 \t2\r\n\r\n",
    );
    request(
        "GET / HTTP/1.1\nHost: a\nX: 1\n\n",
        |_| {},
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    );
    request(
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\n",
        |_| {},
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\n",
    );
}

#[test]
fn framing_is_written_as_decided() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nX: 1\r\n\r\n";
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    request(chunked, |_| {}, &with("X: 1\r\nTransfer-Encoding: chunked\r\n"));
    let length = |outbound: &mut RequestOutbound<'_>| outbound.framing = Framing::Length(7);
    request(chunked, length, &with("X: 1\r\nContent-Length: 7\r\n"));
    let sized = with("Content-Length: 5\r\nX: 1\r\n");
    request(&sized, length, &with("X: 1\r\nContent-Length: 7\r\n"));
    let none = |outbound: &mut RequestOutbound<'_>| outbound.framing = Framing::None;
    request(&sized, none, &with("X: 1\r\n"));
}

#[test]
fn nominating_a_length_does_not_lose_it() {
    let input = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length, Host\r\n\
                 Content-Length: 5\r\n\r\n";
    request(input, |_| {}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
}

#[test]
fn fields_are_replaced_and_added_behind() {
    request(
        "GET / HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nHost: a\r\nx-forwarded-for: 7\r\n\r\n",
        |outbound| {
            outbound.drop = KnownSet::NONE.with(Known::XForwardedFor);
            outbound.extra = &[(b"X-Forwarded-For", b"192.0.2.1"), (b"Via", b"1.1 penstock")];
        },
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nVia: 1.1 penstock\r\n\r\n",
    );
}

#[test]
fn the_connection_is_spoken_of_as_decided() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    request(upgrade, |_| {}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    request(
        upgrade,
        |outbound| outbound.connection = Connection::Upgrade,
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    );
    // RFC 9110 §10.1.4.
    let trailers = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n";
    request(
        trailers,
        |_| {},
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    );
    request(
        trailers,
        |outbound| outbound.connection = Connection::Close,
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
    );
    response(
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
        |outbound| outbound.connection = Connection::KeepAlive,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
    );
    response(
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        |outbound| outbound.connection = Connection::Upgrade,
        "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    );
}

#[test]
fn bodyless_responses_keep_only_lengths_that_mean_something() {
    // RFC 9110 §8.6: 304 may say what a 200 would have; 204 must not.
    let same = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    response(same, |_| {}, same);
    response(
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        |_| {},
        "HTTP/1.1 204 No Content\r\n\r\n",
    );
    response(
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        |_| {},
        "HTTP/1.1 204 No Content\r\n\r\n",
    );
}

#[test]
fn status_lines_that_lack_something_are_written_anew() {
    // RFC 9112 §4: the blank behind the status is not optional.
    response("HTTP/1.1 200\r\n\r\n", |_| {}, "HTTP/1.1 200 \r\n\r\n");
    response("HTTP/1.0 200 Ok then\r\n\r\n", |_| {}, "HTTP/1.1 200 Ok then\r\n\r\n");
}

#[test]
fn heads_of_our_own_are_complete() {
    let mut head = RequestHead::new();
    head.start(b"GET", b"/health", b"a:81").expect("all parts are valid");
    let mut out = Vec::new();
    write_request(&head, &RequestOutbound::of(&head), &mut out);
    assert_eq!(out, b"GET /health HTTP/1.1\r\nHost: a:81\r\n\r\n");
    let mut head = ResponseHead::new();
    head.start(503).expect("it is a status");
    head.set_framing(Framing::Length(4));
    head.fields_mut().append(b"Retry-After", b"1").expect("it is a field");
    out.clear();
    write_response(&head, &ResponseOutbound::of(&head), &mut out);
    let expected =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(out, expected.as_bytes());
}
