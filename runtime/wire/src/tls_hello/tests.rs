//! Real hellos, hellos made by hand, and what becomes of both when they are changed.

use penstock_env::Rng;

use super::property::check_hello;
use super::{HelloError, Parsed, parse_client_hello};

const OPENSSL_13: &[u8] = include_bytes!("samples/openssl-tls13.bin");
const OPENSSL_12: &[u8] = include_bytes!("samples/openssl-tls12.bin");
const CURL: &[u8] = include_bytes!("samples/curl.bin");

#[track_caller]
fn check(input: &[u8], name: Option<&str>, protocols: &[&str], tls13: bool) {
    check_hello(input);
    let mut scratch = Vec::new();
    match parse_client_hello(input, &mut scratch) {
        Ok(Parsed::Complete(hello)) => {
            assert_eq!(hello.server_name, name);
            let found: Vec<_> = hello.protocols.map(String::from_utf8_lossy).collect();
            assert_eq!(found, protocols);
            assert_eq!(hello.offers_tls13, tls13);
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(input: &[u8], expected: HelloError) {
    check_hello(input);
    assert_eq!(parse_client_hello(input, &mut Vec::new()), Err(expected));
}

#[test]
fn hellos_of_others_are_read() {
    check(OPENSSL_13, Some("a.example"), &["h2", "http/1.1"], true);
    check(OPENSSL_12, None, &[], false);
    check(CURL, Some("localhost"), &["h2", "http/1.1"], true);
}

#[test]
fn a_hello_is_the_same_in_many_records() {
    let body = &OPENSSL_13[5..];
    for size in [1, 3, 4, 5, 17, 100, body.len() - 1] {
        let mut cut = Vec::new();
        for fragment in body.chunks(size) {
            cut.extend_from_slice(&record(fragment));
        }
        check(&cut, Some("a.example"), &["h2", "http/1.1"], true);
    }
}

#[test]
fn what_is_not_a_hello_is_refused_at_its_first_wrong_byte() {
    refused(b"GET / HTTP/1.1\r\n", HelloError::NotTls);
    refused(b"\x16\x02", HelloError::NotTls);
    refused(b"\x16\x03\x01\x00\x00", HelloError::NotTls);
    refused(b"\x16\x03\x01\x40\x01", HelloError::NotTls);
    refused(b"\x15\x03\x01\x00\x02\x02\x28", HelloError::NotTls);
    refused(&record(b"\x02"), HelloError::NotAClientHello { kind: 2 });
    let large = HelloError::TooLarge { length: 0x4001, max: 0x4000 };
    refused(&record(b"\x01\x00\x40\x01"), large);
    let mut second = record(b"\x01\x00");
    second.push(23);
    refused(&second, HelloError::BadRecord);
}

#[test]
fn names_that_two_readers_could_read_differently_are_refused() {
    // RFC 6066 §3 and RFC 8446 §4.2.
    let sni = |name: &[u8]| extension(0, &vector16(&[&[0], &vector16(name)[..]].concat()));
    check(&hello(&sni(b"a.example")), Some("a.example"), &[], false);
    for bad in [
        &b""[..],
        b"a.example.",
        b"a..b",
        b"a b",
        b"10.0.0.1",
        b"[::1]",
        b"a\0b",
        "\u{e4}".as_bytes(),
    ] {
        refused(&hello(&sni(bad)), HelloError::BadServerName);
    }
    let two = [&sni(b"a.example")[..], &sni(b"b.example")].concat();
    refused(&hello(&two), HelloError::RepeatedExtension { kind: 0 });
    let list = [&[0][..], &vector16(b"a.example"), &[0], &vector16(b"b.example")].concat();
    refused(&hello(&extension(0, &vector16(&list))), HelloError::BadServerName);
    refused(&hello(&extension(0, b"")), HelloError::BadServerName);
}

#[test]
fn lists_have_to_fit_into_what_they_are_in() {
    refused(&hello(&extension(16, &vector16(b""))), HelloError::BadProtocols);
    refused(&hello(&extension(16, &vector16(b"\x00"))), HelloError::BadProtocols);
    refused(&hello(&extension(16, &vector16(b"\x03h2"))), HelloError::BadProtocols);
    refused(&hello(&extension(43, b"\x03\x03\x04\x03")), HelloError::BadLength);
    refused(&hello(b"\x00"), HelloError::BadLength);
    let many: Vec<u8> = (100..165).flat_map(|kind| extension(kind, b"")).collect();
    refused(&hello(&many), HelloError::TooManyExtensions { max: 64 });
    let mut behind = hello(&extension(43, b"\x02\x03\x04"));
    behind.push(0);
    check(&behind, None, &[], true);
}

#[test]
fn no_change_to_a_hello_makes_cuts_disagree() {
    let mut rng = Rng::new(4);
    for sample in [OPENSSL_13, OPENSSL_12, CURL] {
        for _ in 0..300 {
            let mut changed = sample.to_vec();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(changed.len() as u32) as usize;
                match rng.below(3) {
                    0 => changed[at] ^= 1 << rng.below(8),
                    1 => changed[at] = rng.below(256) as u8,
                    _ => {
                        changed.remove(at);
                    }
                }
            }
            check_hello(&changed);
        }
    }
}

fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &vector16(fragment)].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    let fixed = [&[3, 3][..], &[7; 32], &[0], &vector16(&[0x13, 1]), &[1, 0]].concat();
    let body = [&fixed[..], &vector16(extensions)].concat();
    let length = (body.len() as u32).to_be_bytes();
    record(&[&[1][..], &length[1..], &body].concat())
}
