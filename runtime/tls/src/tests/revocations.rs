//! Lists of revoked certificates: read, and looked into in handshakes by both sides.

use super::world::{Authority, NOW, Setup, params};
use crate::provider::Version;
use crate::{
    Certificate, ClientCertificates, ListOver, Refusal, RevocationList, Revocations, SessionError,
    TlsError, Versions,
};

fn numbered(authority: &Authority, name: &str, serial: u64) -> Certificate {
    let mut wanted = params(&[name]);
    wanted.serial_number = Some(serial.into());
    let (chain, key) = authority.sign(wanted);
    Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap()
}

fn lists(all: &[&[u8]], over: ListOver) -> Revocations {
    let read = |bytes: &&[u8]| RevocationList::read(bytes).unwrap();
    Revocations::new(all.iter().flat_map(read).collect(), over)
}

/// Why a client with the certificate `serial` is refused, in both versions; if it is.
fn of_client(authority: &Authority, serial: u64, looked: &Revocations) -> Option<SessionError> {
    let mut setup = Setup::new(authority, &["a.example"]);
    setup.client = Some(numbered(authority, "ada.example", serial));
    setup.clients = Some(ClientCertificates {
        authorities: authority.trusted(),
        revocations: looked.clone(),
        required: true,
    });
    let refused = [Version::Tls12, Version::Tls13].map(|version| {
        setup.client_versions = Versions::Only(version);
        setup.meet().err().map(|failed| failed.server.unwrap())
    });
    assert_eq!(refused[0], refused[1]);
    let [refused, _] = refused;
    assert!(refused.as_ref().is_none_or(|why| why.refusal == Refusal::CertificateRefused));
    refused
}

#[track_caller]
fn refused(refused: Option<SessionError>, reason: &str) {
    let refused = refused.expect("a refusal");
    assert!(refused.reason.contains(reason), "{}", refused.reason);
}

#[test]
fn a_revoked_client_is_refused_and_the_others_are_not() {
    let authority = Authority::new("root");
    let looked = lists(&[&authority.revoke(&[5, 7], 3_600)], ListOver::Refuse);
    assert_eq!(of_client(&authority, 6, &looked), None);
    refused(of_client(&authority, 7, &looked), "is revoked");
    assert_eq!(of_client(&authority, 7, &Revocations::default()), None);
}

#[test]
fn every_authority_needs_its_list_and_has_signed_it() {
    // RFC 5280 §6.3.3.
    let (authority, other) = (Authority::new("root"), Authority::new("other"));
    let looked = lists(&[&other.revoke(&[], 3_600)], ListOver::Use);
    refused(of_client(&authority, 6, &looked), "no revocation list of an authority");
    // Of the same name, with another key.
    let forged = lists(&[&Authority::new("root").revoke(&[], 3_600)], ListOver::Use);
    refused(of_client(&authority, 6, &forged), "is not signed by it");
}

#[test]
fn a_list_that_is_over_is_used_or_refuses_all_as_is_wished() {
    let authority = Authority::new("root");
    let over = authority.revoke(&[7], -60);
    assert_eq!(of_client(&authority, 6, &lists(&[&over], ListOver::Use)), None);
    refused(of_client(&authority, 7, &lists(&[&over], ListOver::Use)), "is revoked");
    refused(of_client(&authority, 6, &lists(&[&over], ListOver::Refuse)), "is over");
}

#[test]
fn endpoints_are_looked_up_too() {
    let authority = Authority::new("root");
    let mut setup = Setup::new(&authority, &["a.example"]);
    setup.certificates = vec![numbered(&authority, "a.example", 9)];
    setup.revocations = lists(&[&authority.revoke(&[8], 3_600)], ListOver::Use);
    assert!(setup.meet().is_ok());
    setup.revocations = lists(&[&authority.revoke(&[9], 3_600)], ListOver::Use);
    refused(setup.meet().err().unwrap().client, "is revoked");
}

#[test]
fn lists_are_read_in_der_and_in_pem_and_shown() {
    let (authority, other) = (Authority::new("root"), Authority::new("other"));
    let (der, second) = (authority.revoke(&[1, 2, 300], 3_600), other.revoke(&[], 60));
    let [list] = &RevocationList::read(&der).unwrap()[..] else { panic!("one list") };
    assert_eq!((list.issuer.as_str(), list.revoked_count), ("CN=root", 3));
    let now = NOW as i64;
    let validity = (list.validity.not_before, list.validity.not_after);
    assert_eq!(validity, (now - 86_400, now + 3_600));
    let text = |der: &[u8]| {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n")
    };
    let both = format!("# two\n{}{}", text(&der), text(&second));
    let read = RevocationList::read(both.as_bytes()).unwrap();
    assert_eq!((&read[0], read[1].issuer.as_str()), (list, "CN=other"));
    for (bytes, wrong) in [
        (&b""[..], TlsError::NoRevocationList),
        (authority.pem().as_bytes(), TlsError::NoRevocationList),
        (&der[..der.len() - 1], TlsError::MalformedRevocationList { index: 1 }),
        (text(&[0x30, 0]).as_bytes(), TlsError::MalformedRevocationList { index: 1 }),
    ] {
        assert_eq!(RevocationList::read(bytes).err(), Some(wrong));
    }
    // An algorithm, nobody, two dates, and no version in front.
    let dates = [&b"\x17\x0d260101000000Z"[..], b"\x17\x0d270101000000Z"].concat();
    let first = [&b"\x30\x29\x30\x27\x30\x05\x06\x03\x2b\x65\x70\x30\x00"[..], &dates].concat();
    let refused = RevocationList::read(&first).unwrap_err().to_string();
    assert!(refused.contains("is of version 1"), "{refused}");
    for cut in 0..der.len() {
        assert!(RevocationList::read(&der[..cut]).is_err());
    }
    // Of several by one authority, the newest is looked into.
    let newest = Revocations::new(vec![list.clone(), read[1].clone()], ListOver::Use);
    assert_eq!(newest.lists().len(), 2);
}
