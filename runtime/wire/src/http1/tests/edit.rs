//! Edits: what they change, what they leave, and what they refuse.

use crate::http1::{
    EDITED_BYTES_MAX, EditError, FIELDS_CEILING, Fields, Framing, Lenient, Limits, RequestHead,
    RequestOutbound, ResponseHead, parse_request, write_request,
};

const INPUT: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nB: 2\r\nx-a: 3\r\n\r\n";

/// Edits the head of `INPUT`; what it renders to must be `expected`, or the error must be.
#[track_caller]
fn check(
    edit: impl FnOnce(&mut RequestHead) -> Result<(), EditError>,
    expected: Result<&str, EditError>,
) {
    let mut head = RequestHead::new();
    parse_request(INPUT, &Limits::default(), Lenient::NONE, &mut head).expect("it is valid");
    let answer = edit(&mut head);
    let mut out = Vec::new();
    write_request(&head, &RequestOutbound::of(&head), &mut out);
    let rendered = String::from_utf8(out).expect("the input is ASCII");
    match expected {
        Ok(expected) => assert_eq!((answer, rendered.as_str()), (Ok(()), expected)),
        Err(error) => {
            assert_eq!(answer, Err(error));
            assert_eq!(rendered.as_bytes(), INPUT, "a refused edit must change nothing");
        }
    }
}

#[track_caller]
fn check_fields(
    edit: impl FnOnce(&mut Fields) -> Result<(), EditError>,
    lines: Result<&str, EditError>,
) {
    let expected = lines.map(|lines| format!("GET /a?b HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    check(|head| edit(head.fields_mut()), expected.as_deref().map_err(|error| *error));
}

#[test]
fn fields_are_edited_in_their_place() {
    check_fields(|f| f.append(b"C", b" 4 "), Ok("X-A: 1\r\nB: 2\r\nx-a: 3\r\nC: 4\r\n"));
    check_fields(|f| f.set(b"x-A", b"9"), Ok("X-A: 9\r\nB: 2\r\n"));
    check_fields(|f| f.set(b"C", b""), Ok("X-A: 1\r\nB: 2\r\nx-a: 3\r\nC: \r\n"));
    check_fields(|f| f.set_value_at(2, b"9"), Ok("X-A: 1\r\nB: 9\r\nx-a: 3\r\n"));
    check_fields(|f| f.join(b"x-a", b"9"), Ok("X-A: 1\r\nB: 2\r\nx-a: 3, 9\r\n"));
    check_fields(|f| f.join(b"c", b"9"), Ok("X-A: 1\r\nB: 2\r\nx-a: 3\r\nc: 9\r\n"));
    check_fields(|f| f.remove(b"X-a").map(|count| assert_eq!(count, 2)), Ok("B: 2\r\n"));
    let none = "X-A: 1\r\nB: 2\r\nx-a: 3\r\n";
    check_fields(|f| f.remove(b"C").map(|count| assert_eq!(count, 0)), Ok(none));
}

#[test]
fn what_is_no_field_is_refused() {
    for name in ["", "a b", "a:", "a\r\n", "\u{e9}"] {
        check_fields(|f| f.append(name.as_bytes(), b"1"), Err(EditError::InvalidName));
        check_fields(|f| f.set(name.as_bytes(), b"1"), Err(EditError::InvalidName));
    }
    for value in ["a\r\nX: 1", "a\n", "\0", "a\r", "\x7f"] {
        check_fields(|f| f.append(b"C", value.as_bytes()), Err(EditError::InvalidValue));
        check_fields(|f| f.set(b"B", value.as_bytes()), Err(EditError::InvalidValue));
        check_fields(|f| f.set_value_at(2, value.as_bytes()), Err(EditError::InvalidValue));
        check_fields(|f| f.join(b"B", value.as_bytes()), Err(EditError::InvalidValue));
    }
    check_fields(|f| f.set_value_at(4, b"1"), Err(EditError::NoSuchField { index: 4 }));
}

#[test]
fn what_frames_or_routes_is_not_edited_as_a_field() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Connection",
        "HTTP2-Settings",
    ] {
        check_fields(|f| f.append(name.as_bytes(), b"1"), Err(EditError::Reserved));
        check_fields(|f| f.set(name.as_bytes(), b"1"), Err(EditError::Reserved));
        check_fields(|f| f.remove(name.as_bytes()).map(drop), Err(EditError::Reserved));
    }
    check_fields(|f| f.set_value_at(0, b"b"), Err(EditError::Reserved));
}

#[test]
fn the_start_line_and_the_host_are_edited_as_attributes() {
    let fields = "X-A: 1\r\nB: 2\r\nx-a: 3\r\n\r\n";
    check(
        |head| head.set_path_and_query(b"/c?d"),
        Ok(&format!("GET /c?d HTTP/1.1\r\nHost: a\r\n{fields}")),
    );
    check(|head| head.set_method(b"FOO"), Ok(&format!("FOO /a?b HTTP/1.1\r\nHost: a\r\n{fields}")));
    check(
        |head| head.set_authority(b"[::1]:80"),
        Ok(&format!("GET /a?b HTTP/1.1\r\nHost: [::1]:80\r\n{fields}")),
    );
    for path in ["", "a", "*", "/a b", "/a#b", "/\r\n", "/\u{e9}"] {
        let error = EditError::Invalid { what: "path" };
        check(|head| head.set_path_and_query(path.as_bytes()), Err(error));
    }
    for method in ["", "G T", "CONNECT", "G\r\n"] {
        let error = EditError::Invalid { what: "method" };
        check(|head| head.set_method(method.as_bytes()), Err(error));
    }
    for authority in ["", "u@a", "a:x", "a\r\n"] {
        let error = EditError::Invalid { what: "authority" };
        check(|head| head.set_authority(authority.as_bytes()), Err(error));
    }
}

#[test]
fn edits_have_limits() {
    let mut head = RequestHead::new();
    head.start(b"GET", b"/", b"a").expect("all parts are valid");
    let value = vec![b'v'; EDITED_BYTES_MAX / 4];
    let outcomes: Vec<_> = (0..4).map(|_| head.fields_mut().set(b"X", &value)).collect();
    let over = Err(EditError::TooLarge { max: EDITED_BYTES_MAX });
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), over]);
    head.start(b"GET", b"/", b"a").expect("all parts are valid");
    let room = (0..).take_while(|_| head.fields_mut().append(b"X", b"1").is_ok()).count();
    assert_eq!(room, FIELDS_CEILING - 1, "`Host` takes one");
}

#[test]
fn no_status_brings_a_body_that_is_not_there() {
    let mut head = ResponseHead::new();
    for (before, after, allowed) in [
        (200, 503, true),
        (204, 304, true),
        (200, 204, true),
        (404, 304, true),
        (304, 200, false),
        (200, 101, false),
        (200, 1000, false),
    ] {
        head.start(before).expect("it is a status");
        assert_eq!(head.set_status(after).is_ok(), allowed, "{before} to {after}");
    }
    for status in [0, 99, 100, 199, 1000] {
        assert!(head.start(status).is_err());
    }
    head.start(200).expect("it is a status");
    assert_eq!(head.framing(), Framing::Length(0));
    head.start(304).expect("it is a status");
    assert_eq!(head.framing(), Framing::None);
}
