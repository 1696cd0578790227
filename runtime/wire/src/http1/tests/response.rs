//! Responses that are taken and responses that are not.

use super::response_of;
use crate::http1::{Framing, HeadError, Lenient, Method, ResponseError, ResponseHead, Version};

#[track_caller]
fn accept(method: Method, input: &str) -> ResponseHead {
    response_of(input.as_bytes(), method, Lenient::NONE)
        .unwrap_or_else(|error| panic!("{input:?}: {error}"))
}

#[track_caller]
fn framing(method: Method, start: &str, lines: &str, expected: Framing) {
    let head = accept(method, &format!("HTTP/1.1 {start}\r\n{lines}\r\n"));
    assert_eq!(head.framing(), expected, "{method:?} {start:?} {lines:?}");
}

#[track_caller]
fn refuse(input: &str, expected: impl Into<ResponseError>) {
    let answer = response_of(input.as_bytes(), Method::Get, Lenient::NONE);
    assert_eq!(answer.map(|_| ()), Err(expected.into()), "{input:?}");
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

#[test]
fn framing_follows_method_status_and_fields_in_this_order() {
    // RFC 9112 §6.3 (1).
    framing(Method::Head, "200 OK", "Content-Length: 5\r\n", Framing::None);
    framing(Method::Head, "200 OK", "Transfer-Encoding: chunked\r\n", Framing::None);
    framing(Method::Get, "304 Not Modified", "Content-Length: 5\r\n", Framing::None);
    framing(Method::Get, "204 No Content", "Content-Length: 5\r\n", Framing::None);
    framing(Method::Get, "100 Continue", "", Framing::None);
    framing(Method::Get, "101 Switching Protocols", "", Framing::None);
    // (2).
    framing(Method::Connect, "200 OK", "Content-Length: 5\r\n", Framing::None);
    framing(Method::Connect, "403 No", "Content-Length: 5\r\n", Framing::Length(5));
    // (4), (6), (8).
    framing(Method::Get, "200 OK", "Transfer-Encoding: chunked\r\n", Framing::Chunked);
    framing(Method::Get, "200 OK", "Content-Length: 0\r\n", Framing::Length(0));
    framing(Method::Get, "200 OK", "", Framing::UntilClose);
}

#[test]
fn doubtful_framing_is_refused() {
    // RFC 9112 §6.3 (3), (5); §6.1.
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    refuse(&ok(both), HeadError::LengthAndTransferEncoding);
    let differ = "Content-Length: 5\r\nContent-Length: 6\r\n";
    refuse(&ok(differ), HeadError::ConflictingContentLength);
    refuse(&ok("Content-Length: 5, 5\r\n"), HeadError::RepeatedContentLength);
    refuse(&ok("Content-Length: x\r\n"), HeadError::InvalidContentLength);
    refuse(&ok("Transfer-Encoding: gzip\r\n"), HeadError::InvalidTransferEncoding);
    refuse(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        HeadError::TransferEncodingOnHttp10,
    );
}

#[test]
fn malformed_heads_are_refused() {
    refuse("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidVersion);
    refuse("HTTP/2 200\r\n\r\n", HeadError::InvalidVersion);
    refuse("ICY 200 OK\r\n\r\n", HeadError::InvalidVersion);
    refuse("HTTP/1.1 20 OK\r\n\r\n", ResponseError::InvalidStatus);
    refuse("HTTP/1.1 2000 OK\r\n\r\n", ResponseError::InvalidStatus);
    refuse("HTTP/1.1 099 OK\r\n\r\n", ResponseError::InvalidStatus);
    refuse("HTTP/1.1 200 O\0K\r\n\r\n", ResponseError::InvalidStatus);
    refuse("HTTP/1.1 200 OK\n\r\n", HeadError::BareLf);
    refuse(&ok("X: 1\r\n 2\r\n"), HeadError::ObsFold);
    refuse(&ok("X: a\rb\r\n"), HeadError::InvalidFieldValue);
    refuse(&ok("X : a\r\n"), HeadError::InvalidFieldName);
    refuse(&ok(&"X: 1\r\n".repeat(101)), HeadError::TooManyFields { max: 100 });
}

#[test]
fn phrases_are_kept_whatever_they_are() {
    for (start, reason) in
        [("200 OK", "OK"), ("200 ", ""), ("200", ""), ("299 \u{e9} x", "\u{e9} x")]
    {
        let head = accept(Method::Get, &format!("HTTP/1.1 {start}\r\n\r\n"));
        assert_eq!(head.reason(), reason.as_bytes(), "{start:?}");
    }
}

#[test]
fn persistence_follows_version_option_and_framing() {
    // RFC 9112 §9.3; a body that ends with the connection ends it.
    for (start, lines, expected) in [
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\n", true),
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\nConnection: close\r\n", false),
        ("HTTP/1.0 200 OK", "Content-Length: 0\r\n", false),
        ("HTTP/1.0 200 OK", "Content-Length: 0\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK", "", false),
    ] {
        let head = accept(Method::Get, &format!("{start}\r\n{lines}\r\n"));
        assert_eq!(head.keep_alive(), expected, "{start} {lines:?}");
    }
}

#[test]
fn only_a_101_switches() {
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let head = accept(Method::Get, &format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n"));
    assert_eq!(head.upgrade(), Some(b"websocket".as_slice()));
    assert!(!head.is_informational());
    assert_eq!(accept(Method::Get, &ok(lines)).upgrade(), None);
    assert!(accept(Method::Get, "HTTP/1.1 103 Early Hints\r\n\r\n").is_informational());
}

#[test]
fn nominated_fields_are_not_live_and_underscores_are() {
    // RFC 9110 §7.6.1. Underscores: no origin reads a response through CGI variables.
    let head = accept(Method::Get, &ok("Connection: X-A\r\nX-A: 1\r\nX_B: 2\r\n"));
    let names: Vec<_> = head.fields().iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"X_B".as_slice()]);
}

#[test]
fn unframed_bodies_reach_each_version_in_its_way() {
    // RFC 9112 §7.
    let chunked = accept(Method::Get, &ok("Transfer-Encoding: chunked\r\n"));
    assert_eq!(chunked.framing_to(Version::Http11), Framing::Chunked);
    assert_eq!(chunked.framing_to(Version::Http10), Framing::UntilClose);
    let endless = accept(Method::Get, &ok(""));
    assert_eq!(endless.framing_to(Version::Http11), Framing::Chunked);
    assert_eq!(endless.framing_to(Version::Http10), Framing::UntilClose);
    let sized = accept(Method::Get, &ok("Content-Length: 3\r\n"));
    assert_eq!(sized.framing_to(Version::Http10), Framing::Length(3));
}
