//! Certificates that others made, and what becomes of them when they are cut or changed.

use std::io::Write;

use rcgen::{DnType, DnValue, SanType};

use super::world::{Authority, params};
use crate::certificate::read_chain;
use crate::x509::X509;

fn der() -> Vec<u8> {
    let mut wanted = params(&["a.example"]);
    wanted.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
    wanted.distinguished_name.push(DnType::OrganizationName, "Ex, \"ample\"\n");
    wanted
        .distinguished_name
        .push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
    wanted.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 999]), "x");
    wanted.serial_number = Some(vec![1, 0xab].into());
    // Past 2049 dates are written otherwise (RFC 5280 §4.1.2.5).
    wanted.not_before = rcgen::date_time_ymd(1999, 12, 31);
    wanted.not_after = rcgen::date_time_ymd(2050, 1, 2);
    let (chain, _) = Authority::new("root").sign(wanted);
    read_chain(chain.as_bytes()).unwrap().remove(0).to_vec()
}

#[test]
fn fields_are_read_as_they_were_written() {
    let der = der();
    let read = X509::read(&der).unwrap();
    assert_eq!(read.serial, [1, 0xab]);
    assert_eq!(read.issuer, "CN=root");
    // RFC 4514 §2.1 and §2.4.
    assert_eq!(read.subject, "2.5.4.999=x,C=DE,O=Ex\\, \\\"ample\\\"\\0a,CN=a.example");
    assert_eq!((read.not_before, read.not_after), (946_598_400, 2_524_694_400));
    assert_eq!(read.dns.first(), Some(&"a.example"));
    assert_eq!(read.uris.first(), Some(&"spiffe://a/b"));
    // An Ed25519 key: 12 bytes of header, 32 of key (RFC 8410 §4).
    assert_eq!(read.public_key.len(), 44);
}

#[test]
fn no_cut_and_no_change_makes_reading_panic() {
    let der = der();
    for at in 0..der.len() {
        assert!(X509::read(&der[..at]).is_none(), "cut at {at}");
        for value in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut changed = der.clone();
            changed[at] = value;
            let _ = X509::read(&changed);
        }
    }
    let mut longer = der;
    longer.push(0);
    assert!(X509::read(&longer).is_none());
}

#[test]
fn authorities_of_the_world_are_read() {
    // The system's bundle, where there is one: over a hundred shapes of names.
    let Ok(pem) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") else {
        // Not `eprintln!`: what that prints is shown of tests that failed, and of no others.
        let _ = writeln!(std::io::stderr(), "skipped: no /etc/ssl/certs/ca-certificates.crt");
        return;
    };
    for der in read_chain(&pem).unwrap() {
        let read = X509::read(&der).unwrap();
        assert!(!read.subject.is_empty() && read.not_before < read.not_after);
    }
}
