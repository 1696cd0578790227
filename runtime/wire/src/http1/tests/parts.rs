//! The small parts: paths, hosts, dates, names, waivers.

use crate::http1::date::http_date;
use crate::http1::path::{PathError, doubts, normalise, normalise_as};
use crate::http1::{Known, Lenient, host, token};

#[track_caller]
fn path(input: &str, expected: Result<&str, PathError>) {
    let mut out = Vec::new();
    let answer = normalise(input.as_bytes(), &mut out);
    assert_eq!(answer, expected.map(str::as_bytes), "{input:?}");
}

#[test]
fn paths_are_matched_in_one_form() {
    // The strictness table's row; RFC 3986 §6.2.2.
    path("/a/%2e%2e//b/../c", Ok("/c"));
    for (input, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("//", "/"),
        ("/a//b///", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../../c", "/c"),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/...", "/..a/..."),
        ("/%7Euser/%41%2d", "/~user/A-"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%252e", "/a%252e"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%2e%2e%2fa", "/..%2Fa"),
        ("*", "*"),
        ("", ""),
    ] {
        path(input, Ok(expected));
    }
}

#[test]
fn a_path_has_the_readings_that_origins_have() {
    let (slash, backslash) = (Lenient::ESCAPED_SLASH, Lenient::BACKSLASH);
    let parameters = Lenient::PATH_PARAMETERS;
    let all = slash | backslash | parameters;
    for (path, doubtful, reading, expected) in [
        ("/a/b%20c", Lenient::NONE, all, Ok("/a/b%20c")),
        ("/a%2Fb", slash, slash, Ok("/a/b")),
        ("/a%2fb", slash, backslash | parameters, Ok("/a%2Fb")),
        ("/x%2f%2e.%2Fa/", slash, slash, Ok("/a/")),
        ("/x\\..\\a", backslash, backslash, Ok("/a")),
        ("/x%5c..%5Ca", backslash, backslash, Ok("/a")),
        ("/x\\a", backslash, slash, Ok("/x\\a")),
        ("/a;x=1/b;/;c", parameters, parameters, Ok("/a/b/")),
        ("/x/..;y/a", parameters, parameters, Ok("/a")),
        ("/x/..;y/a", parameters, slash, Ok("/x/..;y/a")),
        ("/a;%2f..%2fb", slash | parameters, parameters, Ok("/a")),
        ("/a;%2f..%2fb", slash | parameters, slash | parameters, Ok("/b")),
        ("/%2f..", slash, slash, Err(PathError::AboveRoot)),
        ("/%5", Lenient::NONE, all, Err(PathError::InvalidPercent)),
        ("*", Lenient::NONE, all, Ok("*")),
    ] {
        assert_eq!(doubts(path.as_bytes()), doubtful, "{path:?}");
        let mut out = Vec::new();
        let read = normalise_as(path.as_bytes(), reading, &mut out);
        assert_eq!(read.map(|()| &*out), expected.map(str::as_bytes), "{path:?} as {reading:?}");
    }
    assert_eq!(all.parts().count(), 7);
    assert_eq!(Lenient::NONE.parts().count(), 0);
}

#[test]
fn paths_without_a_form_are_refused() {
    for input in ["/%", "/%2", "/%g0", "/%+1", "/a%"] {
        path(input, Err(PathError::InvalidPercent));
    }
    path("/a%00", Err(PathError::EncodedNul));
    for input in ["/..", "/../a", "/a/../..", "/%2e%2E/a", "//.."] {
        path(input, Err(PathError::AboveRoot));
    }
}

#[test]
fn normal_paths_are_not_copied() {
    let mut out = Vec::new();
    let path = b"/api/v1/users;x=1/42".as_slice();
    let normal = normalise(path, &mut out).expect("it is normal");
    assert_eq!(normal.as_ptr(), path.as_ptr());
}

#[test]
fn authorities_are_the_same_up_to_case_and_default_port() {
    assert!(host::same(b"A", b"a:80", 80));
    assert!(!host::same(b"a", b"a:80", 443));
    assert!(!host::same(b"a", b"b", 80));
    assert!(!host::same(b"", b"", 80));
}

#[test]
fn dates_are_written_as_imf_fixdate() {
    // RFC 9110 §5.6.7.
    for (unix_s, expected) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_210_096, "Thu, 29 Feb 2024 12:34:56 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(std::str::from_utf8(&http_date(unix_s)), Ok(expected));
    }
}

#[test]
fn known_names_are_found_in_any_case_and_nothing_else_is() {
    for (name, known) in [
        ("host", Known::Host),
        ("TE", Known::Te),
        ("Via", Known::Via),
        ("Content-LENGTH", Known::ContentLength),
        ("http2-Settings", Known::Http2Settings),
        ("tRANSFER-eNCODING", Known::TransferEncoding),
        ("X-Forwarded-For", Known::XForwardedFor),
        ("Set-Cookie", Known::SetCookie),
        ("Client-Cert", Known::ClientCert),
        ("client-cert-chain", Known::ClientCertChain),
        ("X-Forwarded-Client-Cert", Known::XForwardedClientCert),
        ("Hos", Known::Other),
        ("Hosts", Known::Other),
        ("H0st", Known::Other),
        ("Content_Length", Known::Other),
        ("Content^Length", Known::Other),
        ("Content.Length", Known::Other),
        ("", Known::Other),
    ] {
        assert_eq!(Known::of(name.as_bytes()), known, "{name}");
    }
}

#[test]
fn no_two_tokens_fold_to_one_known_name() {
    // The comparison sets bit 5 of each byte: among token bytes only letters may meet.
    let tokens: Vec<u8> = (0..=255).filter(|&byte| token::is_token(&[byte])).collect();
    for &a in &tokens {
        for &b in &tokens {
            let plain = b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if plain && a | 0x20 == b {
                assert!(a.eq_ignore_ascii_case(&b), "{a:#x} folds to {b:#x}");
            }
        }
    }
}

#[test]
fn waivers_are_found_by_the_names_they_print() {
    for (name, waiver) in Lenient::NAMES {
        assert_eq!(Lenient::named(name), Some(waiver));
        assert_eq!(waiver.names().collect::<Vec<_>>(), [name]);
    }
    assert_eq!(Lenient::named("te-and-cl"), None);
    let both = Lenient::OBS_FOLD | Lenient::UNDERSCORE;
    assert_eq!(format!("{both:?}"), r#"["obs-fold", "underscore"]"#);
}
