//! Heads from HTTP/2 to HTTP/1 and back, as rows.

use http::{HeaderValue, Request, Version};
use penstock_wire::http1::{
    Connection, Framing, KnownSet, Lenient, Limits, Method, RequestHead, RequestOutbound,
    ResponseHead, ResponseOutbound, parse_response, write_request,
};

use super::request::{self, Wish};
use super::response;
use crate::failure::Cause;

const URI: &str = "http://a.test/x?y";

fn read(method: &str, uri: &str, fields: &[(&str, &str)], bare: bool) -> Result<String, Cause> {
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for &(name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    let limits = (&Limits::default(), Lenient::NONE);
    request::read(&parts, Wish::Answer { bare }, limits, &mut text, &mut head)?;
    let mut out = Vec::new();
    write_request(&head, &RequestOutbound::of(&head), &mut out);
    Ok(String::from_utf8(out).expect("text"))
}

#[track_caller]
fn check(fields: &[(&str, &str)], bare: bool, expected: &str) {
    let expected = format!("GET /x?y HTTP/1.1\r\nhost: a.test\r\n{expected}\r\n");
    assert_eq!(read("GET", URI, fields, bare), Ok(expected));
}

#[track_caller]
fn check_refused(method: &str, uri: &str, fields: &[(&str, &str)], cause: Cause) {
    assert_eq!(read(method, uri, fields, true), Err(cause));
}

#[test]
fn requests_become_what_an_endpoint_would_get() {
    check(&[], true, "");
    check(&[("accept", "*/*"), ("x-a", "1")], true, "accept: */*\r\nx-a: 1\r\n");
    // RFC 9113 §8.3.1: the same host twice is one.
    check(&[("host", "A.test")], true, "");
    // RFC 9113 §8.2.3: crumbs are joined.
    check(
        &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")],
        true,
        "x: y\r\ncookie: a=b; c=d\r\n",
    );
    check(&[("content-length", "5")], false, "content-length: 5\r\n");
    check(&[], false, "Transfer-Encoding: chunked\r\n");
    // RFC 9110 §6.6.2: who announces trailers gets them through.
    let trails = [("content-length", "5"), ("trailer", "x-end")];
    check(&trails, false, "trailer: x-end\r\nTransfer-Encoding: chunked\r\n");
    // RFC 9110 §10.1.4: `TE` is for this hop, and so is said again for the next.
    check(&[("te", "trailers")], true, "TE: trailers\r\nConnection: TE\r\n");
}

#[test]
fn what_would_be_read_in_two_ways_is_refused() {
    // RFC 9113 §8.3.1: another host than the authority.
    check_refused("GET", URI, &[("host", "b.test")], Cause::HostMismatch);
    check_refused("GET", URI, &[("host", "a.test"), ("host", "b.test")], Cause::HostMismatch);
    check_refused("GET", "/x", &[], Cause::MissingHost);
    check_refused("GET", "/x", &[("host", "a"), ("host", "a")], Cause::RepeatedHost);
    check_refused("GET", "http://u@a.test/", &[], Cause::InvalidHost);
    check_refused("GET", "*", &[("host", "a")], Cause::InvalidTarget);
    // RFC 9113 §8.2.1: no blanks around a value.
    check_refused("GET", URI, &[("x", " a")], Cause::InvalidFieldValue);
    check_refused("GET", URI, &[("x", "a\t")], Cause::InvalidFieldValue);
    // RFC 9110 §8.6.
    let twice = [("content-length", "5"), ("content-length", "5")];
    check_refused("GET", URI, &twice, Cause::RepeatedContentLength);
    check_refused("GET", URI, &[("content-length", "+5")], Cause::InvalidContentLength);
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), n.to_string())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    check_refused("GET", URI, &many, Cause::TooManyFields);
}

#[test]
fn a_connect_keeps_its_method_for_the_exchange_to_refuse() {
    let (parts, ()) = Request::builder()
        .method("CONNECT")
        .uri("a.test:443")
        .version(Version::HTTP_2)
        .body(())
        .expect("a request")
        .into_parts();
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    let limits = (&Limits::default(), Lenient::NONE);
    let read = request::read(&parts, Wish::Answer { bare: false }, limits, &mut text, &mut head);
    assert!(read.is_ok(), "{read:?}");
    assert_eq!(head.method(), Method::Connect);
}

#[test]
fn responses_leave_behind_what_speaks_of_the_connection() {
    let head =
        b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\
        Transfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let mut parsed = ResponseHead::new();
    parse_response(head, Method::Get, &Limits::default(), Lenient::NONE, &mut parsed)
        .expect("a response");
    let outbound = ResponseOutbound {
        framing: Framing::UntilClose,
        connection: Connection::Close,
        drop: KnownSet::NONE,
        extra: &[(b"Via", b"1.1 penstock")],
    };
    let response = response::head_of(&parsed, &outbound);
    let fields: Vec<_> =
        response.headers().iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    let expected: [(&str, &[u8]); 4] =
        [("server", b"x"), ("set-cookie", b"a"), ("set-cookie", b"b"), ("via", b"1.1 penstock")];
    assert_eq!((response.status().as_u16(), &fields[..]), (200, &expected[..]));
}
