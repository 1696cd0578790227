//! A small world of authorities and certificates, and two sessions that talk in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, PKCS_ED25519, RevokedCertParams,
    SigningKey,
};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::{
    Acceptor, AcceptorSettings, Authorities, Certificate, ClientCertificates, Connector,
    ConnectorSettings, Facts, Pin, Received, Revocations, Session, SessionError, Telling, Tickets,
    UnknownName, Verify, Versions,
};

/// 2026-01-01T00:00:00Z.
pub(super) const NOW: u64 = 1_767_225_600;

#[derive(Debug)]
pub(super) struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

/// An authority that signs what it is asked to.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Authority { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn trusted(&self) -> Authorities {
        Authorities::read(self.pem().as_bytes()).unwrap()
    }

    /// A certificate and its key in PEM.
    pub(super) fn sign(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let issuer: &Issuer<'_, _> = &self.issuer;
        (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Its signature, by Ed25519.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.issuer.key().sign(bytes).unwrap()
    }

    /// A list of what it has revoked, in DER, over after so many seconds.
    pub(super) fn revoke(&self, serials: &[u64], seconds: i64) -> Vec<u8> {
        let at = |seconds: i64| {
            let since = Duration::from_secs(NOW.strict_add_signed(seconds));
            SystemTime::UNIX_EPOCH + since
        };
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: at(-100).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(-86_400).into(),
            next_update: at(seconds).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer: &Issuer<'_, _> = &self.issuer;
        params.signed_by(issuer).unwrap().der().to_vec()
    }

    pub(super) fn issue(&self, names: &[&str]) -> Certificate {
        let (chain, key) = self.sign(params(names));
        Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap()
    }
}

pub(super) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    let first = names.first().cloned().unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, first);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What differs between the tests.
pub(super) struct Setup {
    pub(super) certificates: Vec<Certificate>,
    pub(super) unknown_name: UnknownName,
    pub(super) versions: Versions,
    pub(super) clients: Option<ClientCertificates>,
    pub(super) tickets: Option<Arc<Tickets>>,
    pub(super) verify: Verify,
    pub(super) server_name: &'static str,
    pub(super) client_versions: Versions,
    pub(super) client: Option<Certificate>,
    /// What the client looks endpoints up in.
    pub(super) revocations: Revocations,
}

impl Setup {
    pub(super) fn new(authority: &Authority, names: &[&str]) -> Setup {
        Setup {
            certificates: vec![authority.issue(names)],
            unknown_name: UnknownName::Refuse,
            versions: Versions::Both,
            clients: None,
            tickets: None,
            verify: Verify::Authorities(authority.trusted(), Vec::new()),
            server_name: "a.example",
            client_versions: Versions::Both,
            client: None,
            revocations: Revocations::default(),
        }
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor::new(AcceptorSettings {
            certificates: self.certificates.clone(),
            awaits_more: false,
            proofs: Vec::new(),
            unknown_name: self.unknown_name,
            versions: self.versions,
            clients: self.clients.clone(),
            tellings: vec![Telling::ClientCert, Telling::XForwardedClientCert],
            tickets: self.tickets.clone(),
            protocols: vec![b"http/1.1".to_vec()],
            clock: Arc::new(Fixed),
        })
        .unwrap()
    }

    pub(super) fn connector(&self) -> Connector {
        Connector::new(ConnectorSettings {
            verify: self.verify.clone(),
            revocations: self.revocations.clone(),
            server_name: Some(self.server_name.to_owned()),
            certificate: self.client.clone(),
            versions: self.client_versions,
            protocols: vec![b"http/1.1".to_vec()],
            clock: Arc::new(Fixed),
        })
        .unwrap()
    }

    /// Both sides after a handshake, or how each side ended.
    pub(super) fn meet(&self) -> Result<Pair, Failed> {
        Pair::new(self.connector().dialer().begin(None).unwrap(), self.acceptor().begin().unwrap())
    }
}

pub(super) struct Pair {
    pub(super) client: Session,
    pub(super) server: Session,
}

#[derive(Debug)]
pub(super) struct Failed {
    pub(super) client: Option<SessionError>,
    pub(super) server: Option<SessionError>,
}

impl Pair {
    pub(super) fn new(client: Session, server: Session) -> Result<Pair, Failed> {
        let mut pair = Pair { client, server };
        let (mut up, mut down, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut failed = Failed { client: None, server: None };
        pair.client.receive(&[], &mut plain, &mut to_server).unwrap();
        for _ in 0..10 {
            std::mem::swap(&mut up, &mut to_server);
            to_server.clear();
            failed.server = pair.server.receive(&up, &mut plain, &mut to_client).err();
            std::mem::swap(&mut down, &mut to_client);
            to_client.clear();
            failed.client = pair.client.receive(&down, &mut plain, &mut to_server).err();
            if failed.server.is_some() || failed.client.is_some() {
                let end = pair.server.receive(&to_server, &mut plain, &mut to_client).err();
                failed.server = failed.server.or(end);
                return Err(failed);
            }
            if to_server.is_empty() {
                break;
            }
        }
        assert!(plain.is_empty());
        assert!(!pair.client.holds_bytes() && !pair.server.holds_bytes());
        Ok(pair)
    }

    /// What the server says of the connection.
    pub(super) fn facts(&mut self) -> Facts {
        self.server.facts(&[Telling::ClientCert]).unwrap()
    }

    /// Sends `plain` to the server in pieces of at most `piece` bytes; what it reads.
    pub(super) fn upload(&mut self, plain: &[u8], piece: usize) -> Vec<u8> {
        let (mut sealed, mut opened, mut back) = (Vec::new(), Vec::new(), Vec::new());
        self.client.seal(plain, &mut sealed).unwrap();
        for piece in sealed.chunks(piece) {
            let received = self.server.receive(piece, &mut opened, &mut back).unwrap();
            assert_eq!(received, Received::Open);
        }
        assert!(back.is_empty());
        opened
    }
}

pub(super) fn pin_of(certificate: &Certificate) -> Pin {
    certificate.pin()
}
