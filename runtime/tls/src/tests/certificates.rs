//! Files that are what they should be, and files that are not.

use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::world::{Authority, params};
use crate::certificate::date;
use crate::{Authorities, Certificate, TlsError};

#[track_caller]
fn refused(chain: &str, key: &str, expected: &str) {
    let error = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_certificate_tells_its_names_and_dates() {
    let mut wanted = params(&["a.example", "*.b.example"]);
    wanted.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
    wanted.not_before = rcgen::date_time_ymd(2026, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2026, 3, 1);
    let (chain, key) = Authority::new("root").sign(wanted);
    let read = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(read.names.shown(), ["a.example", "*.b.example", "10.0.0.1"]);
    assert_eq!(read.issuer, "CN=root");
    assert_eq!(read.ends(), "2026-03-01 00:00:00 UTC");
    assert_eq!(read.check_dates(1_767_225_600), Ok(()));
    assert_eq!(
        read.check_dates(1_772_323_201).unwrap_err().to_string(),
        "the certificate for CN=a.example expired on 2026-03-01 00:00:00 UTC"
    );
    assert!(matches!(read.check_dates(0), Err(TlsError::NotYetValid { .. })));
}

#[test]
fn without_sans_the_common_name_is_the_name() {
    let mut wanted = CertificateParams::new(Vec::new()).unwrap();
    wanted.distinguished_name.push(DnType::CommonName, "old.example");
    let (chain, key) = Authority::new("root").sign(wanted);
    let read = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(read.names.shown(), ["old.example"]);
}

#[test]
fn what_is_wrong_with_files_is_said_in_a_sentence() {
    let authority = Authority::new("root");
    let (chain, key) = authority.sign(params(&["a.example"]));
    let (_, other_key) = authority.sign(params(&["b.example"]));
    refused("", &key, "holds no certificate");
    refused(&key, &key, "holds no certificate");
    refused(&chain, "", "holds no private key");
    refused(&chain, &chain, "holds no private key");
    refused(&chain, &format!("{key}{other_key}"), "holds 2 private keys");
    refused(&chain, &other_key, "is not the one of the certificate for CN=a.example");
    refused(&chain[..chain.len() / 2], &key, "is not PEM text");
    let garbled = chain.replacen("MII", "MIJ", 1).replacen("MIG", "MIH", 1);
    assert!(Certificate::read(garbled.as_bytes(), key.as_bytes()).is_err());
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    refused(&chain, locked, "encrypted with a passphrase");
}

#[test]
fn an_rsa_or_ecdsa_key_is_as_good() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let signed = params(&["a.example"]).self_signed(&key).unwrap();
        let read = Certificate::read(signed.pem().as_bytes(), key.serialize_pem().as_bytes());
        assert_eq!(read.unwrap().names.shown(), ["a.example"]);
    }
}

#[test]
fn authorities_are_counted_and_none_is_an_error() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let bundle = format!("{}{}", one.pem(), two.pem());
    assert_eq!(Authorities::read(bundle.as_bytes()).unwrap().count(), 2);
    assert_eq!(Authorities::read(b"").unwrap_err(), TlsError::NoCertificate);
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, expected) in [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399, "2000-02-28 23:59:59 UTC"),
        (951_782_400, "2000-02-29 00:00:00 UTC"),
        (1_709_164_800, "2024-02-29 00:00:00 UTC"),
        (4_102_444_799, "2099-12-31 23:59:59 UTC"),
        (-1, "1969-12-31 23:59:59 UTC"),
    ] {
        assert_eq!(date(seconds), expected);
    }
}
