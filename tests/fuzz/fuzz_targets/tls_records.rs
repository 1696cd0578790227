//! Any script of a TLS 1.3 peer behind its handshake: records of any content, cut anywhere.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use penstock_tls::property::check_session;
use penstock_tls::{
    Acceptor, AcceptorSettings, Authorities, Certificate, Connector, ConnectorSettings,
    DefaultTimeProvider, Dialer, Revocations, UnknownName, Verify, Versions,
};

/// A server with a certificate of its own making, and a client that trusts it.
fn sides() -> (Acceptor, Connector) {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
    let made = made.expect("a certificate");
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let authorities = Authorities::read(pem.as_bytes()).expect("an authority");
    let certificate = Certificate::read(pem.as_bytes(), key.as_bytes()).expect("a certificate");
    let acceptor = Acceptor::new(AcceptorSettings {
        certificates: vec![certificate],
        awaits_more: false,
        proofs: Vec::new(),
        unknown_name: UnknownName::Refuse,
        versions: Versions::Both,
        clients: None,
        tellings: Vec::new(),
        tickets: None,
        protocols: Vec::new(),
        clock: Arc::new(DefaultTimeProvider),
    });
    let connector = Connector::new(ConnectorSettings {
        verify: Verify::Authorities(authorities, Vec::new()),
        revocations: Revocations::default(),
        server_name: Some("a.example".to_owned()),
        certificate: None,
        versions: Versions::Both,
        protocols: Vec::new(),
        clock: Arc::new(DefaultTimeProvider),
    });
    (acceptor.expect("a server"), connector.expect("a client"))
}

static SIDES: LazyLock<(Acceptor, Connector)> = LazyLock::new(sides);

thread_local! {
    static DIALER: Dialer = SIDES.1.dialer();
}

fuzz_target!(|script: &[u8]| {
    let client = DIALER.with(|dialer| dialer.begin(None)).expect("a client");
    check_session(client, SIDES.0.begin().expect("a server"), script);
});
