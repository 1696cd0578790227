//! OCSP responses: which are stapled, and until when; with those of `samples`, which `openssl ocsp`
//! made.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::world::{Authority, NOW, params};
use crate::certificate::{date, read_chain};
use crate::x509::X509;
use crate::{Certificate, TlsError, Validity, staple};

/// An element of several.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, &content].concat()
}

fn time(seconds: i64) -> Vec<u8> {
    let digits: String = date(seconds).chars().filter(char::is_ascii_digit).collect();
    element(0x18, &[digits.as_bytes(), b"Z"])
}

const SHA1: &[u8] = &[0x30, 9, 0x06, 5, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0];
const GOOD: &[u8] = &[0x80, 0];
const UNKNOWN: &[u8] = &[0x82, 0];
/// RFC 8410 §3.
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// What an authority says of the certificate `serial` by the first of `pem`'s authority, whose
/// certificate is the second.
#[derive(Clone, Copy)]
struct Said<'a> {
    by: &'a Authority,
    pem: &'a str,
    serial: &'a [u8],
    status: &'a [u8],
    /// Seconds from now.
    from: i64,
    until: Option<i64>,
}

impl Said<'_> {
    fn single(&self) -> Vec<u8> {
        let chain = read_chain(self.pem.as_bytes()).unwrap();
        let (own, issuer) = (X509::read(&chain[0]).unwrap(), X509::read(&chain[1]).unwrap());
        let hash =
            |bytes: &[u8]| element(0x04, &[digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()]);
        let (name, key) = (hash(own.issuer_name), hash(issuer.key().unwrap().1));
        let id = element(0x30, &[SHA1, &name, &key, &element(0x02, &[self.serial])]);
        let until = self.until.map(|until| element(0xa0, &[&time(NOW as i64 + until)]));
        let until = until.unwrap_or_default();
        element(0x30, &[&id, self.status, &time(NOW as i64 + self.from), &until])
    }

    fn response(&self) -> Vec<u8> {
        response(self.by, &[self.single()])
    }
}

fn response(by: &Authority, singles: &[Vec<u8>]) -> Vec<u8> {
    let signer = read_chain(by.pem().as_bytes()).unwrap();
    let by_name = element(0xa1, &[X509::read(&signer[0]).unwrap().subject_name]);
    let list = element(0x30, &[&singles.concat()]);
    let data = element(0x30, &[&by_name, &time(NOW as i64), &list]);
    let signature = element(0x03, &[&[0], &by.sign_bytes(&data)]);
    let basic = element(0x30, &[&data, &element(0x30, &[ED25519]), &signature]);
    let oid: &[u8] = &[0x06, 9, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
    let bytes = element(0x30, &[oid, &element(0x04, &[&basic])]);
    element(0x30, &[&[0x0a, 1, 0], &element(0xa0, &[&bytes])])
}

/// A certificate with the serial number 5 and its authority's, and the key.
fn chain(authority: &Authority) -> (String, String) {
    let mut wanted = params(&["a.example"]);
    wanted.serial_number = Some(5_u64.into());
    let (own, key) = authority.sign(wanted);
    (own + &authority.pem(), key)
}

#[test]
fn a_good_response_is_stapled_and_no_other() {
    // RFC 6960 §3.2 and §4.2.1.
    let authority = Authority::new("root");
    let (pem, key) = chain(&authority);
    let another = Authority::new("root");
    let (namesake, _) = chain(&another);
    let (by, serial) = (&authority, &[5]);
    let good = Said { by, pem: &pem, serial, status: GOOD, from: -60, until: Some(60) };
    let revoked = element(0xa1, &[&time(NOW as i64 - 100)]);
    let stapled = |response: &[u8]| {
        let certificate = Certificate::read(pem.as_bytes(), key.as_bytes()).unwrap();
        certificate.with_staple(response).map(|read| read.staple().unwrap().validity)
    };
    let validity = stapled(&good.response()).unwrap();
    assert_eq!((validity.not_before, validity.not_after), (NOW as i64 - 60, NOW as i64 + 60));
    let other = Said { serial: &[6], ..good };
    assert!(stapled(&response(by, &[other.single(), good.single()])).is_ok());
    for (bytes, expected) in [
        (
            other.response(),
            "is about another certificate, not the one for CN=a.example with \
                            serial number 05",
        ),
        (Said { pem: &namesake, ..good }.response(), "is about another certificate"),
        (Said { by: &another, ..good }.response(), "is signed neither by CN=root nor by one"),
        (Said { status: &revoked, ..good }.response(), "CN=a.example is revoked"),
        (Said { status: UNKNOWN, ..good }.response(), "is unknown to its responder"),
        (Said { until: None, ..good }.response(), "does not say until when it holds"),
        (b"\x30\x03\x0a\x01\x03".to_vec(), "its responder answered tryLater"),
        (b"no".to_vec(), "is not an OCSP response"),
    ] {
        let error = stapled(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let whole = good.response();
    for cut in 0..whole.len() {
        assert_eq!(stapled(&whole[..cut]).unwrap_err(), TlsError::NotAnOcspResponse, "at {cut}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            assert!(stapled(&changed).is_err() || changed == whole, "{value} at {at}");
        }
    }
}

#[test]
fn only_the_issuer_and_whom_it_made_its_responder_are_believed() {
    // RFC 6960 §4.2.2.2.
    let chain = read_chain(include_bytes!("samples/ocsp/chain.pem")).unwrap();
    let next_update = "2046-01-22 06:50:06 UTC";
    let read = |response: &[u8], chain: &[_]| match staple::read(response, chain) {
        Ok(Validity { not_after, .. }) => date(not_after),
        Err(error) => error.to_string(),
    };
    for (response, expected) in [
        (&include_bytes!("samples/ocsp/issuer-by-name.der")[..], next_update),
        (include_bytes!("samples/ocsp/issuer-by-key.der"), next_update),
        // Until its certificate is over.
        (include_bytes!("samples/ocsp/responder.der"), "2036-11-20 06:50:06 UTC"),
        (
            include_bytes!("samples/ocsp/responder-left-out.der"),
            "is signed neither by CN=issuing nor by one whose certificate comes with it",
        ),
        (
            include_bytes!("samples/ocsp/no-responder.der"),
            "is signed by CN=host, which CN=issuing has not made its responder: its certificate is \
             not for this use (extended key usage OCSPSigning)",
        ),
        (
            include_bytes!("samples/ocsp/foreign-responder.der"),
            "is signed by CN=foreign, which CN=issuing has not made its responder: another \
             authority signed its certificate",
        ),
        (
            include_bytes!("samples/ocsp/namesake.der"),
            "is signed by CN=issuing, which CN=issuing has not made its responder: its certificate \
             is an authority's own (CA:TRUE)",
        ),
        (
            include_bytes!("samples/ocsp/sha1.der"),
            "is signed with an algorithm that is not accepted, such as SHA-1",
        ),
    ] {
        assert_eq!(read(response, &chain), expected);
    }
    let good = include_bytes!("samples/ocsp/issuer-by-name.der");
    let alone = "can't be verified without the certificate of CN=issuing: put it into the chain";
    assert_eq!(read(good, &chain[..1]), alone);
}

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

#[test]
fn a_staple_is_presented_while_it_holds() {
    let by = &Authority::new("root");
    let (pem, key) = chain(by);
    let said = Said { by, pem: &pem, serial: &[5], status: GOOD, from: -60, until: Some(60) };
    let certificate = Certificate::read(pem.as_bytes(), key.as_bytes()).unwrap();
    let certificate = certificate.with_staple(&said.response()).unwrap();
    for (now, expected) in [(-61, false), (-60, true), (60, true), (61, false)] {
        let clock = At(NOW.strict_add_signed(now));
        assert_eq!(certificate.presented(&clock).ocsp.is_some(), expected, "{now}");
        assert!(Arc::ptr_eq(&certificate.presented(&clock), &certificate.presented(&clock)));
    }
    let staple = certificate.staple().unwrap();
    assert_eq!(staple.check_dates(NOW as i64 - 100), Ok(()));
    let over = staple.check_dates(NOW as i64 + 61).unwrap_err().to_string();
    assert_eq!(over, "held until 2026-01-01 00:01:00 UTC; a newer one is due");
}
