//! Whole sessions in memory: what is agreed on, what is refused, and what it is called.

use std::sync::Arc;

use rcgen::{BasicConstraints, IsCa};

use super::world::{Authority, NOW, Pair, Setup, params, pin_of};
use crate::provider::Version;
use crate::{
    Certificate, ClientCertificates, Received, Refusal, Revocations, TicketSecrets, Tickets,
    UnknownName, Verify, Versions,
};

const SECRET: &[u8] = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn both_versions_carry_bytes_both_ways() {
    let authority = Authority::new("root");
    for (version, name) in [(Version::Tls12, "TLSv1.2"), (Version::Tls13, "TLSv1.3")] {
        let mut setup = Setup::new(&authority, &["a.example"]);
        setup.client_versions = Versions::Only(version);
        let mut pair = setup.meet().unwrap();
        let facts = pair.facts();
        assert_eq!(facts.suite.version(), name);
        assert_eq!(facts.server_name.as_deref(), Some("a.example"));
        assert_eq!(pair.server.protocol(), Some(&b"http/1.1"[..]));
        assert!(!facts.resumed);
        let message: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        for piece in [1, 7, 4096, 1 << 20] {
            assert_eq!(pair.upload(&message, piece), message);
        }
        assert!(!pair.server.holds_bytes());
    }
}

#[test]
fn an_idle_session_gives_its_buffer_back() {
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    let mut pair = setup.meet().unwrap();
    assert!(pair.server.give_back().is_some());
    assert!(pair.server.give_back().is_none());
    let (mut sealed, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
    pair.client.seal(b"hello", &mut sealed).unwrap();
    pair.server.lend(|| Vec::with_capacity(4096));
    pair.server.receive(&sealed[..9], &mut plain, &mut out).unwrap();
    assert!(pair.server.holds_bytes());
    assert!(pair.server.give_back().is_none());
    pair.server.receive(&sealed[9..], &mut plain, &mut out).unwrap();
    assert_eq!(plain, b"hello");
    assert_eq!(pair.server.give_back().map(|buffer| buffer.capacity()), Some(4096));
}

#[test]
fn close_notify_tells_an_end_from_a_cut() {
    // RFC 8446 §6.1.
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    let mut pair = setup.meet().unwrap();
    let (mut sealed, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
    pair.client.seal(b"last", &mut sealed).unwrap();
    pair.client.close(&mut sealed);
    let received = pair.server.receive(&sealed, &mut plain, &mut out).unwrap();
    assert_eq!((received, plain.as_slice()), (Received::Closed, &b"last"[..]));
    // The other direction is still open.
    let mut answer = Vec::new();
    pair.server.seal(b"answer", &mut answer).unwrap();
    pair.server.close(&mut answer);
    plain.clear();
    assert_eq!(pair.client.receive(&answer, &mut plain, &mut out), Ok(Received::Closed));
    assert_eq!(plain, b"answer");
}

#[test]
fn the_name_chooses_the_certificate() {
    let authority = Authority::new("root");
    let mut setup = Setup::new(&authority, &["first.example"]);
    setup.certificates.push(authority.issue(&["a.example"]));
    setup.certificates.push(authority.issue(&["*.wild.example"]));
    for name in ["a.example", "first.example", "x.wild.example"] {
        setup.server_name = name;
        assert_eq!(setup.meet().unwrap().facts().server_name.as_deref(), Some(name));
    }
    setup.server_name = "unknown.example";
    let failed = setup.meet().err().unwrap();
    assert_eq!(failed.server.unwrap().refusal, Refusal::UnknownName);
    // The first certificate instead: the client finds that it is for another name.
    setup.unknown_name = UnknownName::First;
    let reason = setup.meet().err().unwrap().client.unwrap().reason;
    assert!(reason.contains("not for unknown.example"), "{reason}");
    setup.verify = Verify::Nothing;
    assert!(setup.meet().is_ok());
}

#[test]
fn sessions_are_resumed_on_every_appliance_that_has_the_secret() {
    let authority = Authority::new("root");
    for version in [Version::Tls12, Version::Tls13] {
        let mut setup = Setup::new(&authority, &["a.example"]);
        setup.client_versions = Versions::Only(version);
        let dialer = setup.connector().dialer();
        let mut resumed = Vec::new();
        for _ in 0..3 {
            // Each time another process with the same file.
            setup.tickets =
                Some(Tickets::new(Some(TicketSecrets::read(SECRET).unwrap()), b"", NOW));
            let server = setup.acceptor().begin().unwrap();
            let mut pair = Pair::new(dialer.begin(None).unwrap(), server).unwrap();
            let facts = pair.facts();
            resumed.push(facts.resumed);
            assert_eq!(facts.server_name.as_deref(), Some("a.example"));
        }
        assert_eq!(resumed, [false, true, true], "{version:?}");
        setup.tickets = Some(Tickets::new(None, b"", NOW));
        let server = setup.acceptor().begin().unwrap();
        let mut pair = Pair::new(dialer.begin(None).unwrap(), server).unwrap();
        assert!(!pair.facts().resumed);
    }
}

#[test]
fn client_certificates_are_asked_for_verified_and_told() {
    let (authority, stranger) = (Authority::new("root"), Authority::new("stranger"));
    for version in [Version::Tls12, Version::Tls13] {
        let mut setup = Setup::new(&authority, &["a.example"]);
        setup.client_versions = Versions::Only(version);
        let asked = |required| ClientCertificates {
            authorities: authority.trusted(),
            revocations: Revocations::default(),
            required,
        };
        setup.clients = Some(asked(false));
        assert_eq!(setup.meet().unwrap().facts().client, None);
        setup.clients = Some(asked(true));
        let failed = setup.meet().err().unwrap();
        assert_eq!(failed.server.unwrap().refusal, Refusal::CertificateMissing);
        setup.client = Some(authority.issue(&["ada.example"]));
        let client = setup.meet().unwrap().facts().client.unwrap();
        assert_eq!(&*client.subject, "CN=ada.example");
        assert_eq!(client.dns.first().map(|name| &**name), Some("ada.example"));
        for required in [false, true] {
            setup.clients = Some(asked(required));
            setup.client = Some(stranger.issue(&["eve.example"]));
            let server = setup.meet().err().unwrap().server.unwrap();
            assert_eq!(server.refusal, Refusal::CertificateRefused);
            assert!(server.reason.contains("not among the trusted"), "{}", server.reason);
        }
    }
}

#[test]
fn pins_hold_with_authorities_and_without() {
    let authority = Authority::new("root");
    let mut setup = Setup::new(&authority, &["a.example"]);
    let pin = pin_of(&setup.certificates[0]);
    let other = pin_of(&authority.issue(&["a.example"]));
    setup.verify = Verify::Authorities(authority.trusted(), vec![other, pin]);
    assert!(setup.meet().is_ok());
    setup.verify = Verify::Pins(vec![pin]);
    assert!(setup.meet().is_ok());
    for verify in [Verify::Pins(vec![other]), Verify::Authorities(authority.trusted(), vec![other])]
    {
        setup.verify = verify;
        let client = setup.meet().err().unwrap().client.unwrap();
        assert_eq!(client.reason, "the certificate's key is none of those pinned");
    }
}

#[test]
fn what_a_peer_does_not_accept_is_said_in_a_sentence() {
    let (authority, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let check = |change: &dyn Fn(&mut Setup), refusal: Refusal, text: &str| {
        let mut setup = Setup::new(&authority, &["a.example"]);
        change(&mut setup);
        let failed = setup.meet().err().unwrap();
        let error = failed.client.unwrap();
        assert!(error.reason.contains(text), "{}", error.reason);
        assert_eq!(error.refusal, refusal);
    };
    check(
        &|setup| setup.verify = Verify::Authorities(stranger.trusted(), Vec::new()),
        Refusal::CertificateRefused,
        "issuer is not among the trusted",
    );
    check(
        &|setup| {
            let mut wanted = params(&["a.example"]);
            wanted.not_after = rcgen::date_time_ymd(2025, 1, 1);
            let (chain, key) = authority.sign(wanted);
            setup.certificates = vec![Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap()];
        },
        Refusal::CertificateRefused,
        "the certificate is expired",
    );
    check(
        &|setup| {
            let mut wanted = params(&["a.example"]);
            wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let (chain, key) = authority.sign(wanted);
            setup.certificates = vec![Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap()];
        },
        Refusal::CertificateRefused,
        "authority's own (CA:TRUE)",
    );
    check(
        &|setup| {
            setup.versions = Versions::Only(Version::Tls13);
            setup.client_versions = Versions::Only(Version::Tls12);
        },
        Refusal::Alert,
        "speaks no version",
    );
}

#[test]
fn what_is_not_tls_is_called_so() {
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\0\0\0\0\0"]
    {
        let mut session = setup.acceptor().begin().unwrap();
        let error = session.receive(bytes, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.refusal, Refusal::NotTls, "{}", error.reason);
        assert_eq!(error.reason, "what came is not TLS");
    }
}

#[test]
fn a_handshake_is_the_same_however_its_bytes_are_cut() {
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    let (mut hello, mut plain) = (Vec::new(), Vec::new());
    let mut client = setup.connector().dialer().begin(None).unwrap();
    client.receive(&[], &mut plain, &mut hello).unwrap();
    let acceptor = Arc::new(setup.acceptor());
    for cut in 0..hello.len() {
        let (mut session, mut out) = (acceptor.begin().unwrap(), Vec::new());
        let first = session.receive(&hello[..cut], &mut plain, &mut out).unwrap();
        assert_eq!((first, out.len()), (Received::Handshaking, 0), "{cut}");
        session.receive(&hello[cut..], &mut plain, &mut out).unwrap();
        assert!(out.len() > 500, "{cut}");
    }
}

#[test]
fn a_flipped_bit_ends_the_session_and_the_peer_is_told() {
    let setup = Setup::new(&Authority::new("root"), &["a.example"]);
    let mut pair = setup.meet().unwrap();
    let (mut sealed, mut plain, mut alert) = (Vec::new(), Vec::new(), Vec::new());
    pair.client.seal(b"hello", &mut sealed).unwrap();
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    assert!(pair.server.receive(&sealed, &mut plain, &mut alert).is_err());
    assert!(plain.is_empty() && !alert.is_empty());
    let told = pair.client.receive(&alert, &mut plain, &mut Vec::new()).unwrap_err();
    assert_eq!(told.refusal, Refusal::Alert);
}
