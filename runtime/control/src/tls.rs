//! The certificates that a config names, read and made ready; again when their files change.

use std::sync::Arc;

use penstock_config as config;
use penstock_config::{
    CertificateFiles, ClientCert, ClientField, ClusterProtocol, ClusterTls, Config, Content,
    CrlOver, Files, Http2Mode, ListenerTls, Protocol, TlsVersion, VerifyEndpoint,
};
use penstock_env::Unix;
use penstock_proxy::{HttpProof, Snapshot, TlsParts};
use penstock_tls::{
    Acceptor, AcceptorSettings, Authorities, Certificate, ClientCertificates, Connector,
    ConnectorSettings, DefaultTimeProvider, Fingerprint, ListOver, Pin, RevocationList,
    Revocations, Telling, TicketSecrets, Tickets, TlsError, TlsProof, UnknownName, Verify, Version,
    Versions,
};
use thiserror::Error;

use crate::acme::{Proof, ProofKind, certificate_path};

/// The authorities of the system, as Debian, Red Hat and Alpine have them.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why a config's certificates can't be used.
#[derive(Debug, Error)]
#[error("{key}: {file}{problem}")]
pub struct BadTls {
    /// The table that names it, as in `listener.web.tls`.
    pub key: String,
    /// The file, with a blank behind it; empty where none is to blame.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

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
        let name = |key: &str| key.split('.').nth(1).unwrap_or_default().to_owned();
        let listeners = self.listeners.iter().all(|made| {
            let name = name(&made.key);
            let same = |old: &penstock_proxy::snapshot::Listener| {
                *old.config.name == *name
                    && old.tls.as_ref().is_some_and(|tls| Arc::ptr_eq(tls, &made.it))
            };
            snapshot.listeners.iter().any(same)
        });
        listeners
            && self.clusters.iter().all(|made| {
                let name = name(&made.key);
                let same = |old: &penstock_proxy::snapshot::Cluster| {
                    *old.config.name == *name
                        && old.tls.as_ref().is_some_and(|tls| Arc::ptr_eq(tls, &made.it))
                };
                snapshot.clusters.iter().any(same)
            })
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
        let seconds = now.us / 1_000_000;
        let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
        let mut known = self.tickets.clone();
        let mut used: Vec<Arc<Tickets>> = Vec::new();
        let proofs = self.http_proofs();
        let mut parts = TlsParts { listeners: Vec::new(), clusters: Vec::new(), proofs };
        for listener in &config.listeners {
            parts.listeners.push(match &listener.tls {
                None => None,
                Some(tls) => {
                    let mut from = Reading::new(files, format!("listener.{}.tls", listener.name));
                    let read = ListenerFiles::read(tls, &listener.name, &mut from)?;
                    let tickets = tls.session_tickets.then(|| read.tickets(&mut known, seconds));
                    used.extend(tickets.clone());
                    let made = self.acceptor(listener, (tls, tickets), read, from, now, strict)?;
                    listeners.push(made);
                    listeners.last().map(|made| Arc::clone(&made.it))
                }
            });
        }
        for cluster in &config.clusters {
            parts.clusters.push(match &cluster.tls {
                None => None,
                Some(tls) => {
                    let from = Reading::new(files, format!("cluster.{}.tls", cluster.name));
                    clusters.push(self.connector(cluster, tls, from, seconds, strict)?);
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
        (tls, tickets): (&ListenerTls, Option<Arc<Tickets>>),
        read: ListenerFiles,
        mut from: Reading<'_>,
        now: Unix,
        strict: bool,
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
            from.check_dates(certificate, files, now.us / 1_000_000, strict && !known)?;
            if let (Some(staple), Some(path)) = (certificate.staple(), &files.ocsp) {
                let known = in_force.contains(&staple.fingerprint);
                let dates =
                    staple.check_dates(i64::try_from(now.us / 1_000_000).unwrap_or(i64::MAX));
                from.judge(dates, &format!("{} ", path.display()), strict && !known)?;
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
        now: u64,
        strict: bool,
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
            from.check_dates(certificate, files, now, strict && !known)?;
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

/// The files of a listener, read.
struct ListenerFiles {
    certificates: Vec<Certificate>,
    authorities: Option<Authorities>,
    revocations: Revocations,
    secrets: Option<TicketSecrets>,
    /// Tells one way to verify downstreams from every other.
    audience: Vec<u8>,
}

impl ListenerFiles {
    /// The tickets of a listener: one set for all that have the same secrets and audience.
    fn tickets(&self, known: &mut Vec<Arc<Tickets>>, now: u64) -> Arc<Tickets> {
        let same = known.iter().find(|one| one.is_of(self.secrets.as_ref(), &self.audience));
        if let Some(tickets) = same {
            return Arc::clone(tickets);
        }
        let tickets = Tickets::new(self.secrets.clone(), &self.audience, now);
        known.push(Arc::clone(&tickets));
        tickets
    }

    fn read(
        tls: &ListenerTls,
        listener: &str,
        from: &mut Reading<'_>,
    ) -> Result<ListenerFiles, BadTls> {
        let certificates = tls.certificates.iter().map(|files| from.certificate(files));
        let mut certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        let acme = tls.acme.as_ref().map(|acme| certificate_path(acme, listener));
        certificates.extend(acme.and_then(|path| from.certificate_by_acme(&path)));
        let authorities = tls.client_ca.as_ref();
        let secrets = tls.session_ticket_key.as_ref();
        let revocations = from.revocations(&tls.client_crl, tls.client_crl_over)?;
        let audience = match authorities {
            Some(path) => {
                let pem = from.bytes(path)?;
                let mut audience = format!("{:?} {}", tls.client_cert, Fingerprint::of(&pem));
                // Nobody who was revoked since comes back with a ticket.
                for list in revocations.lists() {
                    audience.push_str(&format!(" {}", list.fingerprint));
                }
                audience.into_bytes()
            }
            None => Vec::new(),
        };
        Ok(ListenerFiles {
            audience,
            certificates,
            authorities: authorities.map(|path| from.parse(path, Authorities::read)).transpose()?,
            revocations,
            secrets: secrets.map(|path| from.parse(path, TicketSecrets::read)).transpose()?,
        })
    }
}

/// The reading of one table's files: everything read is kept, to tell whether it changed.
struct Reading<'f> {
    files: &'f dyn Files,
    key: String,
    read: Vec<u8>,
}

impl<'f> Reading<'f> {
    fn new(files: &'f dyn Files, key: String) -> Reading<'f> {
        Reading { files, key, read: Vec::new() }
    }

    /// What it was made of: the table and its files. Compared, never shown.
    fn source(&self, table: &impl std::fmt::Debug) -> Vec<u8> {
        let mut all = format!("{table:?}\0").into_bytes();
        all.extend_from_slice(&self.read);
        Fingerprint::of(&all).0.to_vec()
    }

    fn bytes(&mut self, path: &std::path::Path) -> Result<Vec<u8>, BadTls> {
        let bytes = self.files.read(path).map_err(|error| BadTls {
            key: self.key.clone(),
            file: format!("{} ", path.display()),
            problem: format!("cannot be read: {error}"),
        })?;
        self.read.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.read.extend_from_slice(&bytes);
        Ok(bytes)
    }

    fn parse<T>(
        &mut self,
        path: &std::path::Path,
        parse: impl FnOnce(&[u8]) -> Result<T, TlsError>,
    ) -> Result<T, BadTls> {
        let bytes = self.bytes(path)?;
        parse(&bytes).map_err(|error| self.bad(&format!("{} ", path.display()), &error))
    }

    fn certificate(&mut self, files: &CertificateFiles) -> Result<Certificate, BadTls> {
        let (cert, key) = (self.bytes(&files.cert)?, self.bytes(&files.key)?);
        let read = Certificate::read(&cert, &key);
        let read = read.map_err(|error| {
            let file = if error.is_of_key() { &files.key } else { &files.cert };
            self.bad(&format!("{} ", file.display()), &error)
        })?;
        match &files.ocsp {
            Some(path) => self.parse(path, |response| read.with_staple(response)),
            None => Ok(read),
        }
    }

    /// What an order left on disk, if there was one; what can't be used is ordered anew.
    fn certificate_by_acme(&mut self, path: &std::path::Path) -> Option<Certificate> {
        let pem = self.files.read(path).ok()?;
        self.read.extend_from_slice(&pem);
        match Certificate::read(&pem, &pem) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::error!("{}: {} {error}", self.key, path.display());
                None
            }
        }
    }

    fn endpoint_authorities(&mut self, tls: &ClusterTls) -> Result<Authorities, BadTls> {
        if let Some(path) = &tls.ca {
            return self.parse(path, Authorities::read);
        }
        let system = SYSTEM_AUTHORITIES.iter().map(std::path::Path::new);
        match system.into_iter().find(|path| path.exists()) {
            Some(path) => self.parse(path, Authorities::read),
            None => Err(BadTls {
                key: self.key.clone(),
                file: String::new(),
                problem: "the system has no bundle of authorities; set `ca`".to_owned(),
            }),
        }
    }

    /// A list that is over is in force all the same: what it revokes, at least.
    fn revocations(
        &mut self,
        paths: &[std::path::PathBuf],
        over: CrlOver,
    ) -> Result<Revocations, BadTls> {
        let mut lists = Vec::new();
        for path in paths {
            lists.extend(self.parse(path, RevocationList::read)?);
        }
        let over = match over {
            CrlOver::Use => ListOver::Use,
            CrlOver::Refuse => ListOver::Refuse,
        };
        Ok(Revocations::new(lists, over))
    }

    fn check_dates(
        &self,
        certificate: &Certificate,
        files: &CertificateFiles,
        now: u64,
        strict: bool,
    ) -> Result<(), BadTls> {
        let checked = certificate.check_dates(i64::try_from(now).unwrap_or(i64::MAX));
        self.judge(checked, &format!("{}: ", files.cert.display()), strict)
    }

    fn judge(&self, dates: Result<(), TlsError>, file: &str, strict: bool) -> Result<(), BadTls> {
        match dates.map_err(|error| self.bad(file, &error)) {
            Err(bad) if !strict => {
                tracing::warn!("{bad}");
                Ok(())
            }
            other => other,
        }
    }

    fn bad(&self, file: &str, error: &TlsError) -> BadTls {
        BadTls { key: self.key.clone(), file: file.to_owned(), problem: error.to_string() }
    }
}

/// Looks into the files that a config names, for findings with a place.
pub(crate) fn examine(content: &Content<'_>, now: Option<i64>) -> Result<(), String> {
    match *content {
        Content::Key { cert, key } => match Certificate::read(cert, key) {
            Err(error) if error.is_of_key() => Err(error.to_string()),
            _ => Ok(()),
        },
        Content::Certificate { cert, key } => {
            let certificate = Certificate::read(cert, key).map_err(|error| error.to_string())?;
            match now {
                Some(now) => certificate.check_dates(now).map_err(|error| error.to_string()),
                None => Ok(()),
            }
        }
        Content::Staple { cert, key, response } => {
            let read = Certificate::read(cert, key).and_then(|read| read.with_staple(response));
            let read = read.map_err(|error| error.to_string())?;
            match (read.staple(), now) {
                (Some(staple), Some(now)) => staple.check_dates(now).map_err(|e| e.to_string()),
                _ => Ok(()),
            }
        }
        Content::Authorities(pem) => {
            Authorities::read(pem).map(drop).map_err(|error| error.to_string())
        }
        Content::RevocationLists(bytes) => {
            RevocationList::read(bytes).map(drop).map_err(|error| error.to_string())
        }
        Content::TicketSecrets(text) => {
            TicketSecrets::read(text).map(drop).map_err(|error| error.to_string())
        }
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
