//! What an authority is shown (RFC 8737), and a listener whose certificate has not come yet.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ED25519};

use super::world::{Authority, Failed, Fixed, Pair, Setup};
use crate::{
    ACME_PROTOCOL, Acceptor, AcceptorSettings, Certificate, Connector, ConnectorSettings, Pin,
    Refusal, Revocations, TlsError, TlsProof, UnknownName, Verify, Versions,
};

fn acceptor(
    certificates: Vec<Certificate>,
    proofs: Vec<TlsProof>,
    awaits_more: bool,
) -> Result<Acceptor, TlsError> {
    Acceptor::new(AcceptorSettings {
        certificates,
        awaits_more,
        proofs,
        unknown_name: UnknownName::First,
        versions: Versions::Both,
        clients: None,
        tellings: Vec::new(),
        tickets: None,
        protocols: vec![b"http/1.1".to_vec()],
        clock: Arc::new(Fixed),
    })
}

/// A handshake of who asks for `name` and offers `protocols`, and believes `verify`.
fn meet(
    acceptor: &Acceptor,
    name: &str,
    protocols: &[&[u8]],
    verify: Verify,
) -> Result<Pair, Failed> {
    let connector = Connector::new(ConnectorSettings {
        verify,
        revocations: Revocations::default(),
        server_name: Some(name.to_owned()),
        certificate: None,
        versions: Versions::Both,
        protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(),
        clock: Arc::new(Fixed),
    });
    Pair::new(connector.unwrap().dialer().begin(None).unwrap(), acceptor.begin().unwrap())
}

#[test]
fn a_proof_is_shown_to_whoever_offers_its_protocol_and_nothing_else() {
    let authority = Authority::new("root");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let signed = params.self_signed(&key).unwrap();
    let (pem, key) = (signed.pem(), key.serialize_pem());
    let proof = TlsProof::read("A.example", pem.as_bytes(), key.as_bytes()).unwrap();
    let own = Verify::Pins(vec![Pin::of(signed.der()).unwrap()]);
    let ours = || Verify::Authorities(authority.trusted(), Vec::new());
    let certificates = vec![authority.issue(&["a.example", "b.example"])];

    let showing = acceptor(certificates.clone(), vec![proof], false).unwrap();
    // Its extension is critical, which our own side of a client does not understand.
    let failed = meet(&showing, "a.example", &[ACME_PROTOCOL], own).err().unwrap();
    let reason = failed.client.unwrap().reason;
    assert_eq!(reason, "the certificate has a critical extension that is not understood");
    // RFC 8737 §3: of another name there is nothing to show, and no other certificate is shown.
    let failed = meet(&showing, "b.example", &[ACME_PROTOCOL], Verify::Nothing).err().unwrap();
    assert_eq!(failed.server.unwrap().refusal, Refusal::UnknownName);
    for protocols in [&[&b"http/1.1"[..]][..], &[b"http/1.1", ACME_PROTOCOL], &[]] {
        let pair = meet(&showing, "a.example", protocols, ours()).unwrap();
        assert_ne!(pair.server.protocol(), Some(ACME_PROTOCOL));
    }
    // Without a proof the protocol is not spoken.
    let silent = acceptor(certificates, Vec::new(), false).unwrap();
    let failed = meet(&silent, "a.example", &[ACME_PROTOCOL], Verify::Nothing).err().unwrap();
    assert_eq!(failed.server.unwrap().refusal, Refusal::NothingInCommon);
}

#[test]
fn a_listener_whose_certificate_has_not_come_refuses_every_name() {
    let refused = acceptor(Vec::new(), Vec::new(), false).err();
    assert_eq!(refused, Some(TlsError::NothingToPresent));
    let waiting = acceptor(Vec::new(), Vec::new(), true).unwrap();
    let failed = meet(&waiting, "a.example", &[], Verify::Nothing).err().unwrap();
    assert_eq!(failed.server.unwrap().refusal, Refusal::UnknownName);
    let authority = Authority::new("root");
    assert!(Setup::new(&authority, &["a.example"]).meet().is_ok(), "the world is right otherwise");
}
