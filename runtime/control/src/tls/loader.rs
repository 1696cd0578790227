//! Makes the certificates of a config ready, and remembers what the last ones were made of.

use std::sync::Arc;

use penstock_config as config;
use penstock_config::{
    CertificateFiles, ClientCert, ClientField, ClusterProtocol, ClusterTls, Config, Files,
    Http2Mode, ListenerTls, Protocol, TlsVersion, VerifyEndpoint,
};
use penstock_env::Unix;
use penstock_proxy::{HttpProof, Snapshot, TlsParts};
use penstock_tls::{
    Acceptor, AcceptorSettings, Certificate, ClientCertificates, Connector, ConnectorSettings,
    DefaultTimeProvider, Fingerprint, Pin, Telling, Tickets, TlsProof, UnknownName, Verify,
    Version, Versions,
};

use super::BadTls;
use super::reading::{ListenerFiles, Reading};
use crate::acme::{Proof, ProofKind};

/// Makes certificates ready, and remembers what the last ones were made of: what is made of the
/// same again is the same, and its sessions and connections go on.
#[derive(Debug, Default)]
pub(crate) struct TlsLoader {
    listeners: Vec<Made<Acceptor>>,
    clusters: Vec<Made<Connector>>,
    /// What shows authorities that hosts are ours.
    pub(crate) proofs: Vec<Proof>,
    /// One key per set of secrets, kept over reloads.
    tickets: Vec<Arc<Tickets>>,
}

/// What was made, of what.
#[derive(Debug)]
struct Made<T> {
    /// The table that asks for it, which is the only one that gets it again.
    key: String,
    source: Vec<u8>,
    it: Arc<T>,
}

/// What a load came to. It is in force only once [`TlsLoader::keep`] was told so.
pub(crate) struct Loaded {
    listeners: Vec<Made<Acceptor>>,
    clusters: Vec<Made<Connector>>,
    tickets: Vec<Arc<Tickets>>,
    pub(crate) parts: TlsParts,
}

impl Loaded {
    /// Whether everything is as it is in `snapshot`.
    pub(crate) fn is_in_force(&self, snapshot: &Snapshot) -> bool {
        // What is the same as before is of the same table: see [`Made::key`].
        let accepts = snapshot.listeners.iter().filter_map(|one| one.tls.as_ref());
        let connects = snapshot.clusters.iter().filter_map(|one| one.tls.as_ref());
        self.listeners.iter().all(|made| accepts.clone().any(|tls| Arc::ptr_eq(tls, &made.it)))
            && self
                .clusters
                .iter()
                .all(|made| connects.clone().any(|tls| Arc::ptr_eq(tls, &made.it)))
            && self.parts.proofs == snapshot.proofs
    }
}

impl TlsLoader {
    /// Reads what `config` names. With `strict`, a certificate that is over is refused, unless it
    /// is in force already: a start serves with what there is.
    ///
    /// # Errors
    /// The first that can't be used.
    pub(crate) fn load(
        &self,
        config: &Config,
        files: &dyn Files,
        now: Unix,
        strict: bool,
    ) -> Result<Loaded, BadTls> {
        let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
        let mut known = self.tickets.clone();
        let mut used: Vec<Arc<Tickets>> = Vec::new();
        let proofs = self.http_proofs();
        let mut parts = TlsParts { listeners: Vec::new(), clusters: Vec::new(), proofs };
        for listener in &config.listeners {
            parts.listeners.push(match &listener.tls {
                None => None,
                Some(tls) => {
                    let key = format!("listener.{}.tls", listener.name);
                    let mut from = Reading::new(files, key, now, strict);
                    let read = ListenerFiles::read(tls, &listener.name, &mut from)?;
                    let tickets = tls.session_tickets.then(|| read.tickets(&mut known, now));
                    used.extend(tickets.clone());
                    let made = self.acceptor(listener, tls, tickets, read, from)?;
                    listeners.push(made);
                    listeners.last().map(|made| Arc::clone(&made.it))
                }
            });
        }
        for cluster in &config.clusters {
            parts.clusters.push(match &cluster.tls {
                None => None,
                Some(tls) => {
                    let key = format!("cluster.{}.tls", cluster.name);
                    let from = Reading::new(files, key, now, strict);
                    clusters.push(self.connector(cluster, tls, from)?);
                    clusters.last().map(|made| Arc::clone(&made.it))
                }
            });
        }
        known.retain(|one| used.iter().any(|used| Arc::ptr_eq(one, used)));
        Ok(Loaded { listeners, clusters, tickets: known, parts })
    }

    /// Takes note that a load is in force now.
    pub(crate) fn keep(&mut self, loaded: Loaded) {
        (self.listeners, self.clusters) = (loaded.listeners, loaded.clusters);
        self.tickets = loaded.tickets;
    }

    /// Gives tickets their next key, where it is time.
    pub(crate) fn turn_tickets(&self, now: Unix) {
        for tickets in &self.tickets {
            if tickets.turn(now.us / 1_000_000) {
                tracing::info!("session tickets have a new key");
            }
        }
    }

    fn http_proofs(&self) -> Arc<[HttpProof]> {
        let of_http = |proof: &Proof| match &proof.kind {
            ProofKind::Http(proof) => Some(proof.clone()),
            ProofKind::Tls(_) => None,
        };
        self.proofs.iter().filter_map(of_http).collect()
    }

    fn tls_proofs(&self, listener: &str) -> Vec<TlsProof> {
        let of_tls = |proof: &Proof| match &proof.kind {
            ProofKind::Tls(tls) if proof.listener == listener => Some(tls.clone()),
            _ => None,
        };
        self.proofs.iter().filter_map(of_tls).collect()
    }

    fn acceptor(
        &self,
        listener: &config::Listener,
        tls: &ListenerTls,
        tickets: Option<Arc<Tickets>>,
        read: ListenerFiles,
        mut from: Reading<'_>,
    ) -> Result<Made<Acceptor>, BadTls> {
        let proofs = self.tls_proofs(&listener.name);
        proofs.iter().for_each(|proof| from.read.extend(proof.fingerprint().0));
        let protocols = protocols_of(listener);
        let source = from.source(&(tls, &protocols));
        let old = self.listeners.iter().find(|made| made.key == from.key);
        if let Some(old) = old.filter(|made| made.source == source) {
            return Ok(Made { key: from.key, source, it: Arc::clone(&old.it) });
        }
        let in_force = old.iter().flat_map(|made| made.it.certificates());
        let both = |one: &Certificate| {
            [Some(one.fingerprint), one.staple().map(|staple| staple.fingerprint)]
        };
        let in_force: Vec<Fingerprint> = in_force.flat_map(both).flatten().collect();
        for (certificate, files) in read.certificates.iter().zip(&*tls.certificates) {
            let known = in_force.contains(&certificate.fingerprint);
            from.check_dates(certificate, files, known)?;
            if let (Some(staple), Some(path)) = (certificate.staple(), &files.ocsp) {
                let known = in_force.contains(&staple.fingerprint);
                from.check_staple_dates(staple, path, known)?;
            }
        }
        let settings = AcceptorSettings {
            certificates: read.certificates,
            awaits_more: tls.acme.is_some(),
            proofs,
            unknown_name: match tls.unknown_name {
                config::UnknownName::Refuse => UnknownName::Refuse,
                config::UnknownName::First => UnknownName::First,
            },
            versions: versions_of(&tls.versions),
            clients: read.authorities.map(|authorities| ClientCertificates {
                authorities,
                revocations: read.revocations,
                required: tls.client_cert == ClientCert::Required,
            }),
            tellings: tls.client_fields.iter().map(|&field| telling_of(field)).collect(),
            tickets,
            protocols,
            clock: Arc::new(DefaultTimeProvider),
        };
        let acceptor = Acceptor::new(settings).map_err(|error| from.bad("", &error))?;
        Ok(Made { key: from.key, source, it: Arc::new(acceptor) })
    }

    fn connector(
        &self,
        cluster: &config::Cluster,
        tls: &ClusterTls,
        mut from: Reading<'_>,
    ) -> Result<Made<Connector>, BadTls> {
        let pins = tls.pin.iter().map(|pin| Pin(pin.0)).collect();
        let verify = match tls.verify {
            VerifyEndpoint::Off => Verify::Nothing,
            VerifyEndpoint::Pin => Verify::Pins(pins),
            VerifyEndpoint::Ca => Verify::Authorities(from.endpoint_authorities(tls)?, pins),
        };
        let revocations = from.revocations(&tls.crl, tls.crl_over)?;
        let certificate = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let files = CertificateFiles { cert: cert.clone(), key: key.clone(), ocsp: None };
                Some((from.certificate(&files)?, files))
            }
            _ => None,
        };
        let source = from.source(&(tls, cluster.protocol));
        let old = self.clusters.iter().find(|made| made.key == from.key);
        if let Some(old) = old.filter(|made| made.source == source) {
            return Ok(Made { key: from.key, source, it: Arc::clone(&old.it) });
        }
        if let Some((certificate, files)) = &certificate {
            let in_force = old.and_then(|made| made.it.certificate());
            let known = in_force.is_some_and(|one| one.fingerprint == certificate.fingerprint);
            from.check_dates(certificate, files, known)?;
        }
        let settings = ConnectorSettings {
            verify,
            revocations,
            server_name: tls.name.as_ref().map(|name| name.as_str().to_owned()),
            certificate: certificate.map(|(certificate, _)| certificate),
            versions: versions_of(&tls.versions),
            protocols: match cluster.protocol {
                ClusterProtocol::Http1 => vec![b"http/1.1".to_vec()],
                ClusterProtocol::Http2 => vec![b"h2".to_vec()],
            },
            clock: Arc::new(DefaultTimeProvider),
        };
        let connector = Connector::new(settings).map_err(|error| from.bad("", &error))?;
        Ok(Made { key: from.key, source, it: Arc::new(connector) })
    }
}

fn telling_of(field: ClientField) -> Telling {
    match field {
        ClientField::ClientCert => Telling::ClientCert,
        ClientField::ClientCertChain => Telling::ClientCertChain,
        ClientField::XForwardedClientCert => Telling::XForwardedClientCert,
    }
}

fn versions_of(versions: &[TlsVersion]) -> Versions {
    match versions {
        [TlsVersion::Tls12] => Versions::Only(Version::Tls12),
        [TlsVersion::Tls13] => Versions::Only(Version::Tls13),
        _ => Versions::Both,
    }
}

/// What is offered by ALPN, best first. A protocol that is not served is never agreed on.
fn protocols_of(listener: &config::Listener) -> Vec<Vec<u8>> {
    match listener.protocol {
        Protocol::Http | Protocol::Grpc => {
            // RFC 9113 §3.2.
            let all: &[&[u8]] = match listener.http2.mode {
                Http2Mode::Auto => &[b"h2", b"http/1.1", b"http/1.0"],
                Http2Mode::Only => &[b"h2"],
                Http2Mode::Off => &[b"http/1.1", b"http/1.0"],
            };
            all.iter().map(|name| name.to_vec()).collect()
        }
    }
}
