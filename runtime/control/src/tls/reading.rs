//! The files of one table, read: into certificates, authorities and keys, or a finding that names
//! the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use penstock_config::{CertificateFiles, ClusterTls, Content, CrlOver, Files, ListenerTls};
use penstock_env::Unix;
use penstock_tls::{
    Authorities, Certificate, Fingerprint, ListOver, RevocationList, Revocations, Staple,
    TicketSecrets, Tickets, TlsError,
};

use super::BadTls;
use crate::acme::certificate_path;

/// The files of a listener, read.
pub(super) struct ListenerFiles {
    pub(super) certificates: Vec<Certificate>,
    pub(super) authorities: Option<Authorities>,
    pub(super) revocations: Revocations,
    secrets: Option<TicketSecrets>,
    /// Tells one way to verify downstreams from every other.
    audience: Vec<u8>,
}

impl ListenerFiles {
    /// The tickets of a listener: one set for all that have the same secrets and audience.
    pub(super) fn tickets(&self, known: &mut Vec<Arc<Tickets>>, now: Unix) -> Arc<Tickets> {
        let same = known.iter().find(|one| one.is_of(self.secrets.as_ref(), &self.audience));
        if let Some(tickets) = same {
            return Arc::clone(tickets);
        }
        let tickets = Tickets::new(self.secrets.clone(), &self.audience, now.us / 1_000_000);
        known.push(Arc::clone(&tickets));
        tickets
    }

    pub(super) fn read(
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
pub(super) struct Reading<'f> {
    files: &'f dyn Files,
    now: Unix,
    /// Whether what is over is refused, unless it is in force already: else that is told of.
    strict: bool,
    pub(super) key: String,
    pub(super) read: Vec<u8>,
}

impl<'f> Reading<'f> {
    pub(super) fn new(files: &'f dyn Files, key: String, now: Unix, strict: bool) -> Reading<'f> {
        Reading { files, now, strict, key, read: Vec::new() }
    }

    /// What it was made of: the table and its files. Compared, never shown.
    pub(super) fn source(&self, table: &impl std::fmt::Debug) -> Vec<u8> {
        let mut all = format!("{table:?}\0").into_bytes();
        all.extend_from_slice(&self.read);
        Fingerprint::of(&all).0.to_vec()
    }

    fn bytes(&mut self, path: &Path) -> Result<Vec<u8>, BadTls> {
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
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, TlsError>,
    ) -> Result<T, BadTls> {
        let bytes = self.bytes(path)?;
        parse(&bytes).map_err(|error| self.bad(&format!("{} ", path.display()), &error))
    }

    pub(super) fn certificate(&mut self, files: &CertificateFiles) -> Result<Certificate, BadTls> {
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
    fn certificate_by_acme(&mut self, path: &Path) -> Option<Certificate> {
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

    pub(super) fn endpoint_authorities(&mut self, tls: &ClusterTls) -> Result<Authorities, BadTls> {
        if let Some(path) = &tls.ca {
            return self.parse(path, Authorities::read);
        }
        let system = SYSTEM_AUTHORITIES.iter().map(Path::new);
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
    pub(super) fn revocations(
        &mut self,
        paths: &[PathBuf],
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

    /// Whether the certificate is over, or not yet valid; `known` is one that is in force.
    pub(super) fn check_dates(
        &self,
        certificate: &Certificate,
        files: &CertificateFiles,
        known: bool,
    ) -> Result<(), BadTls> {
        let dates = certificate.check_dates(self.now.seconds());
        self.judge(dates, &format!("{}: ", files.cert.display()), known)
    }

    /// The same of what is stapled to it.
    pub(super) fn check_staple_dates(
        &self,
        staple: &Staple,
        path: &Path,
        known: bool,
    ) -> Result<(), BadTls> {
        let dates = staple.check_dates(self.now.seconds());
        self.judge(dates, &format!("{} ", path.display()), known)
    }

    fn judge(&self, dates: Result<(), TlsError>, file: &str, known: bool) -> Result<(), BadTls> {
        match dates.map_err(|error| self.bad(file, &error)) {
            Err(bad) if known || !self.strict => {
                tracing::warn!("{bad}");
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn bad(&self, file: &str, error: &TlsError) -> BadTls {
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

/// The authorities of the system, as Debian, Red Hat and Alpine have them.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
