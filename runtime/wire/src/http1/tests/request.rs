//! Requests that are taken and requests that are not: the strictness table, row by row.

use super::request_of;
use crate::http1::{
    Framing, HeadError, Lenient, Limits, Method, RequestError, RequestHead, TargetForm, Version,
};

#[track_caller]
fn parse(input: &str) -> Result<RequestHead, RequestError> {
    request_of(input.as_bytes(), &Limits::default(), Lenient::NONE)
}

#[track_caller]
fn accept(input: &str) -> RequestHead {
    parse(input).unwrap_or_else(|error| panic!("{input:?}: {error}"))
}

#[track_caller]
fn refuse(input: &str, expected: impl Into<RequestError>) {
    let expected = expected.into();
    assert_eq!(parse(input).map(|_| ()), Err(expected), "{input:?}");
}

#[track_caller]
fn refuse_with(input: &str, limits: &Limits, expected: impl Into<RequestError>) {
    let answer = request_of(input.as_bytes(), limits, Lenient::NONE);
    assert_eq!(answer.map(|_| ()), Err(expected.into()), "{input:?}");
}

/// A GET with these field lines after a valid `Host`.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A POST with these field lines after a valid `Host`.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn two_ways_to_frame_are_refused() {
    // RFC 9112 §6.3 (3).
    let both = HeadError::LengthAndTransferEncoding;
    refuse(&post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), both);
    refuse(&post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), both);
    refuse(&post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), both);
}

#[test]
fn repeated_lengths_are_refused() {
    // RFC 9112 §6.3 (5); RFC 9110 §8.6.
    let repeated = HeadError::RepeatedContentLength;
    refuse(&post("Content-Length: 5\r\nContent-Length: 5\r\n"), repeated);
    refuse(&post("Content-Length: 5, 5\r\n"), repeated);
    let conflicting = HeadError::ConflictingContentLength;
    refuse(&post("Content-Length: 5\r\nContent-Length: 6\r\n"), conflicting);
    refuse(&post("Content-Length: 5, 6\r\n"), conflicting);
}

#[test]
fn lengths_that_are_no_plain_number_are_refused() {
    // RFC 9110 §8.6: 1*DIGIT.
    for value in ["", "+5", "-5", "0x5", "5 5", "5;", "05", "5,", ",", "five", "\u{665}"] {
        let line = format!("Content-Length: {value}\r\n");
        refuse(&post(&line), HeadError::InvalidContentLength);
    }
    // 2^64 does not fit, 2^64 - 1 does.
    let line = "Content-Length: 18446744073709551616\r\n";
    refuse(&post(line), HeadError::InvalidContentLength);
    let head = accept(&post("Content-Length: 18446744073709551615\r\n"));
    assert_eq!(head.framing(), Framing::Length(u64::MAX));
}

#[test]
fn transfer_codings_other_than_one_chunked_are_refused() {
    // RFC 9112 §6.1.
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "identity",
        "",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "\x0bchunked",
    ] {
        let line = format!("Transfer-Encoding: {value}\r\n");
        let expected = if value.starts_with('\x0b') {
            HeadError::InvalidFieldValue
        } else {
            HeadError::InvalidTransferEncoding
        };
        refuse(&post(&line), expected);
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    refuse(&post(twice), HeadError::InvalidTransferEncoding);
    assert_eq!(accept(&post("transfer-ENCODING: \t Chunked \r\n")).framing(), Framing::Chunked);
}

#[test]
fn transfer_encoding_on_http10_is_refused() {
    // RFC 9112 §6.1.
    refuse(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        HeadError::TransferEncodingOnHttp10,
    );
}

#[test]
fn folds_are_refused() {
    // RFC 9112 §5.2.
    refuse(&get("X: 1\r\n 2\r\n"), HeadError::ObsFold);
    refuse(&get("X: 1\r\n\t2\r\n"), HeadError::ObsFold);
    // RFC 9112 §2.2: a blank after the start line.
    refuse("GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::ObsFold);
}

#[test]
fn bare_line_feeds_are_refused() {
    // RFC 9112 §2.2.
    refuse("GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::BareLf);
    refuse("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLf);
    refuse("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLf);
    refuse("GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", HeadError::BareLf);
    refuse("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLf);
    refuse("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::BareLf);
}

#[test]
fn control_characters_in_values_are_refused() {
    // RFC 9110 §5.5: bare CR, NUL.
    for value in ["a\rb", "\ra", "a\r", "a\0b", "\0", "a\x01b", "a\x7fb", "a\x0bb"] {
        refuse(&get(&format!("X: {value}\r\n")), HeadError::InvalidFieldValue);
    }
    accept(&get("X: a\tb \u{e9}\r\n"));
}

#[test]
fn field_names_that_are_no_tokens_are_refused() {
    // RFC 9112 §5.1: no blank before the colon; RFC 9110 §5.1.
    for line in ["X : 1", ": 1", "X", "X\t: 1", "X(: 1", "X\0: 1", "\u{e9}: 1", "[: 1"] {
        refuse(&get(&format!("{line}\r\n")), HeadError::InvalidFieldName);
    }
}

#[test]
fn host_must_be_there_once_and_valid() {
    // RFC 9112 §3.2.
    refuse("GET / HTTP/1.1\r\n\r\n", RequestError::MissingHost);
    refuse(&get("Host: a\r\n"), RequestError::RepeatedHost);
    refuse("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", RequestError::RepeatedHost);
    for host in [
        "",
        "u@a",
        "a:8x",
        "[::1",
        "[::1]x",
        "[::1]:8x",
        "a:65536",
        "a b",
        "a,b",
        "a/b",
        "a:1:2",
        "::1",
        "[::g]",
        "[fe80::1%25eth0]",
        "a%2e",
        ":80",
        "a:+80",
        "a?",
        "a#",
        "a\\b",
        "\u{e9}",
        "a@",
        "a:000080",
    ] {
        refuse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), RequestError::InvalidHost);
    }
    for (authority, host, port) in [
        ("a", "a", None),
        ("A.example:8080", "A.example", Some(8080)),
        ("127.0.0.1:1", "127.0.0.1", Some(1)),
        ("[::1]", "[::1]", None),
        ("[2001:DB8::1]:443", "[2001:DB8::1]", Some(443)),
        ("a:", "a", None),
        ("x_y.z", "x_y.z", None),
    ] {
        let head = accept(&format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
        assert_eq!(head.authority(), Some(authority.as_bytes()));
        assert_eq!(head.host(), Some(host.as_bytes()));
        assert_eq!(head.port(), port);
    }
}

#[test]
fn absolute_targets_must_agree_with_host() {
    // RFC 9112 §3.2.2.
    let mismatch = RequestError::HostMismatch;
    refuse("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", mismatch);
    refuse("GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n", mismatch);
    refuse("GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", mismatch);
    refuse("GET http://a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", RequestError::InvalidHost);
    // RFC 9110 §4.2.4.
    refuse("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidHost);
    refuse("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidHost);
    refuse("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget);
    refuse("GET http://a/ HTTP/1.1\r\n\r\n", RequestError::MissingHost);
    for (line, path, query) in [
        ("GET http://a/x?y=/z HTTP/1.1", "/x", Some("y=/z")),
        ("GET HTTP://A:80 HTTP/1.1", "/", None),
        ("GET http://a?x HTTP/1.1", "/", Some("x")),
        ("OPTIONS http://a HTTP/1.1", "*", None),
    ] {
        let head = accept(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(head.form(), TargetForm::Absolute);
        assert_eq!(head.path(), path.as_bytes(), "{line}");
        assert_eq!(head.query(), query.map(str::as_bytes), "{line}");
    }
}

#[test]
fn targets_have_a_form_that_the_method_allows() {
    // RFC 9112 §3.2.
    for target in ["x", "*", "a:80", "/a#b", "/\u{e9}", "?x", "http:/a", "//"] {
        let expected = RequestError::InvalidTarget;
        let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        if target == "//" { drop(accept(&input)) } else { refuse(&input, expected) }
    }
    for target in ["/", "a", "a:", "a:x", "u@a:1", "http://a:1/"] {
        let input = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        refuse(&input, RequestError::InvalidTarget);
    }
    let head = accept("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.form(), head.path()), (TargetForm::Asterisk, b"*".as_slice()));
    let head = accept("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((head.method(), head.form()), (Method::Connect, TargetForm::Authority));
    assert_eq!((head.path(), head.port()), (b"".as_slice(), Some(443)));
    let head = accept("GET /a/%2e%2e//b/../c?d?e HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.path(), b"/a/%2e%2e//b/../c");
    assert_eq!(head.query(), Some(b"d?e".as_slice()));
}

#[test]
fn request_lines_have_one_blank_between_their_parts() {
    // RFC 9112 §3: the lenient parsing that it allows is the smuggler's.
    refuse("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidTarget);
    refuse("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidVersion);
    refuse("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::InvalidLineEnd);
    refuse("GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::InvalidLineEnd);
    refuse("GET /\r\nHost: a\r\n\r\n", RequestError::InvalidTarget);
    refuse("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidMethod);
    refuse(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidMethod);
    refuse("G{T / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::InvalidMethod);
    refuse("\x16\x03\x01\x02", RequestError::InvalidMethod);
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.10", "ICY"] {
        let input = format!("GET / {version}\r\nHost: a\r\n\r\n");
        let is_long = version == "HTTP/1.10";
        let expected = if is_long { HeadError::InvalidLineEnd } else { HeadError::InvalidVersion };
        refuse(&input, expected);
    }
}

#[test]
fn methods_are_told_apart_by_case() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("TRACE", Method::Trace),
        ("FOO", Method::Other),
        ("get", Method::Other),
    ] {
        let head = accept(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.method(), head.method_name()), (method, name.as_bytes()));
    }
    let input = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33));
    refuse(&input, RequestError::InvalidMethod);
}

#[test]
fn empty_lines_in_front_are_forgiven_twice() {
    // RFC 9112 §2.2.
    accept("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    accept("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refuse(
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        RequestError::TooManyEmptyLines { max: 2 },
    );
}

#[test]
fn limits_bite_at_their_byte() {
    let limits =
        Limits { head_bytes_max: 200, line_bytes_max: 100, target_bytes_max: 50, fields_max: 3 };
    let with = |target: usize, value: usize, pad: usize| {
        let target = "t".repeat(target - 1);
        let (value, pad) = ("v".repeat(value), "p".repeat(pad));
        format!("GET /{target} HTTP/1.1\r\nHost: a\r\nX: {value}\r\nY: {pad}\r\n\r\n")
    };
    let check = |input: String| request_of(input.as_bytes(), &limits, Lenient::NONE).map(|_| ());
    assert_eq!(check(with(50, 1, 1)), Ok(()));
    assert_eq!(check(with(51, 1, 1)), Err(RequestError::TargetTooLong { max: 50 }));
    // `X: ` has 3 bytes.
    assert_eq!(check(with(1, 97, 1)), Ok(()));
    assert_eq!(check(with(1, 98, 1)), Err(HeadError::LineTooLong { max: 100 }.into()));
    let fixed = with(1, 80, 0).len();
    assert_eq!(check(with(1, 80, 200 - fixed)), Ok(()));
    let over = check(with(1, 80, 201 - fixed));
    assert_eq!(over, Err(HeadError::HeadTooLarge { max: 200 }.into()));
    let many = get("A: 1\r\nB: 2\r\nC: 3\r\n");
    refuse_with(&many, &limits, HeadError::TooManyFields { max: 3 });
    assert_eq!(check(get("A: 1\r\nB: 2\r\n")), Ok(()));
    // What is over the limit is refused without an end in sight.
    refuse_with(&"GET /".repeat(60), &limits, HeadError::InvalidVersion);
    let endless = format!("GET /{}", "x".repeat(300));
    refuse_with(&endless, &limits, RequestError::TargetTooLong { max: 50 });
}

#[test]
fn the_first_error_wins() {
    // A bare LF before a bad name, and after it; a fold behind a NUL.
    refuse("GET / HTTP/1.1\r\nHost: a\nB@d: 1\r\n\r\n", HeadError::BareLf);
    refuse("GET / HTTP/1.1\r\nB@d: 1\nHost: a\r\n\r\n", HeadError::InvalidFieldName);
    refuse("GET / HTTP/1.1\r\nX: \0\r\n fold\r\n\r\n", HeadError::InvalidFieldValue);
    refuse("GET / HTTP/3\r\nX: \0\n", HeadError::InvalidVersion);
}

#[test]
fn underscore_and_proxy_fields_are_dropped_and_counted() {
    let head = accept(&get("X_A: 1\r\nProxy: evil\r\nx-a: 2\r\nX_B: 3\r\n"));
    assert_eq!(head.dropped_count(), 3);
    let names: Vec<_> = head.fields().iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"Host".as_slice(), b"x-a".as_slice()]);
    assert_eq!(head.fields().value_of(b"X_A"), None);
}

#[test]
fn fields_that_speak_of_the_connection_are_not_live() {
    // RFC 9110 §7.6.1.
    let head = accept(&get(
        "Connection: X-A, close\r\nX-A: 1\r\nx-a: 2\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Proxy-Connection: x\r\nUpgrade: websocket\r\nConnection: Host, Y\r\nY: 1\r\nZ: 1\r\n",
    ));
    let names: Vec<_> = head.fields().iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"Host".as_slice(), b"Z".as_slice()]);
    assert!(!head.keep_alive());
    assert!(head.te_trailers());
    assert_eq!(head.upgrade(), None);
    let many = format!("Connection: {}\r\n", "x,".repeat(33));
    refuse(&get(&many), HeadError::TooManyConnectionOptions { max: 32 });
}

#[test]
fn upgrades_need_the_option_and_are_never_h2c() {
    // RFC 9110 §7.8; RFC 9113 §3.1.
    for (lines, expected) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: Upgrade\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: \r\n", None),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", None),
        ("Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", None),
    ] {
        let head = accept(&get(lines));
        assert_eq!(head.upgrade(), expected.map(str::as_bytes), "{lines:?}");
        assert_eq!(head.fields().count(), 1);
    }
    let lines = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    let head = accept(&format!("GET / HTTP/1.0\r\n{lines}\r\n"));
    assert_eq!(head.upgrade(), None);
}

#[test]
fn persistence_follows_version_and_option() {
    // RFC 9112 §9.3.
    for (version, option, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let head = accept(&format!("GET / HTTP/{version}\r\nHost: a\r\n{option}\r\n"));
        assert_eq!(head.keep_alive(), expected, "{version} {option:?}");
    }
}

#[test]
fn http10_needs_no_host() {
    let head = accept("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!((head.version(), head.authority()), (Version::Http10, None));
    assert_eq!(head.framing(), Framing::None);
}

#[test]
fn expectations_are_seen_in_http11_alone() {
    // RFC 9110 §10.1.1.
    assert!(accept(&post("Expect: 100-Continue\r\nContent-Length: 1\r\n")).expect_continue());
    assert!(!accept(&post("Expect: 200-ok\r\n")).expect_continue());
    assert!(!accept("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue());
}

#[test]
fn waivers_apply_where_named_and_are_reported() {
    let with = |lines: &str, lenient| {
        let input = get(lines);
        let head = request_of(input.as_bytes(), &Limits::default(), lenient)?;
        let value = head.fields().value_of(b"x").unwrap_or_default().to_vec();
        Ok::<_, RequestError>((head.waived(), value))
    };
    let fold = Lenient::OBS_FOLD;
    assert_eq!(with("X: 1\r\n \t2\r\n", fold), Ok((fold, b"1  \t2".to_vec())));
    assert_eq!(with("X: 1\r\n", fold), Ok((Lenient::NONE, b"1".to_vec())));
    let refused = Err(HeadError::ObsFold.into());
    assert_eq!(with("X: 1\r\n \r\n", fold), refused);
    assert_eq!(with("Transfer-Encoding:\r\n chunked\r\n", fold), refused);
    assert_eq!(with("Content-Length:\r\n 1\r\n", fold), refused);
    assert_eq!(with("Connection: a\r\n b\r\n", fold), refused);
    let underscore = Lenient::UNDERSCORE;
    assert_eq!(with("_: 1\r\nX: 2\r\n", underscore), Ok((underscore, b"2".to_vec())));
    let repeated = Lenient::REPEATED_CONTENT_LENGTH;
    let twice = "Content-Length: 7, 7\r\nContent-Length: 7\r\n";
    assert_eq!(with(twice, repeated), Ok((repeated, b"".to_vec())));
    let refused = Err(HeadError::ConflictingContentLength.into());
    assert_eq!(with("Content-Length: 7, 8\r\n", repeated), refused);
}

#[test]
fn bare_line_feeds_are_waived_only_when_no_line_has_crlf() {
    let check = |input: &str, expected: Result<(), HeadError>| {
        let answer = request_of(input.as_bytes(), &Limits::default(), Lenient::BARE_LF);
        let waived = answer.map(|head| assert_eq!(head.waived(), Lenient::BARE_LF));
        assert_eq!(waived, expected.map_err(RequestError::from), "{input:?}");
    };
    check("GET / HTTP/1.1\nHost: a\nX: 1\n\n", Ok(()));
    check("GET / HTTP/1.1\nHost: a\r\n\n", Err(HeadError::BareLf));
    check("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", Err(HeadError::BareLf));
    check("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(HeadError::BareLf));
}
