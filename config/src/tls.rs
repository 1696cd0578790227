//! `tls` of a listener and of a cluster: what is presented, who is believed.

use std::path::{Path, PathBuf};

use crate::acme::{Acme, AcmeChallenge};
use crate::client::ClientField;
use crate::files::Content;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{Group, TableSchema, TableWriter, choice, section};
use crate::grammar::setting::ListOf;
use crate::values::pin::KeyPin;
use crate::values::server_name::ServerName;

section! {
    /// How a listener speaks TLS.
    pub struct ListenerTls("tls", check = check_listener) {
        .. {
            /// What is presented: the first whose names fit what the downstream asks for.
            certificates: Certificates;
        }
        /// A certificate that the appliance gets and renews itself.
        acme: Option<Acme> = None;
        /// What is done with a name that no certificate is for.
        unknown_name: UnknownName = UnknownName::Refuse;
        /// The versions that are spoken.
        versions: Vec<TlsVersion> = TlsVersion::ALL.to_vec(), in VERSIONS;
        /// Authorities of downstream certificates, in PEM. With it, they are asked for.
        client_ca: Option<PathBuf> = None;
        /// Whether a downstream without a certificate is refused.
        client_cert: ClientCert = ClientCert::Required;
        /// Lists of revoked downstream certificates, in PEM or DER. With any, each authority of
        /// a chain needs its own.
        client_crl: Vec<PathBuf> = Vec::new(), in LISTS;
        /// What is done with certificates of an authority whose list is over.
        client_crl_over: CrlOver = CrlOver::Use;
        /// Which header fields tell endpoints of a downstream's certificate.
        client_fields: Vec<ClientField> = Vec::new(), in CLIENT_FIELDS;
        /// Secrets that session tickets are sealed with, a line of 64 hexadecimal digits each.
        /// Shared by a fleet; without it, tickets end with the process.
        session_ticket_key: Option<PathBuf> = None;
        /// Whether sessions are resumed.
        session_tickets: bool = true;
    }
}

section! {
    /// A certificate with its key.
    pub struct CertificateFiles("certificate", check = check_certificate) {
        /// The certificate and its intermediates, in PEM.
        cert: PathBuf;
        /// Its private key, in PEM.
        key: PathBuf;
        /// An OCSP response for it, in DER, that is stapled to it until it is over.
        ocsp: Option<PathBuf> = None;
    }
}

/// The certificates of a listener that are files: never empty, unless one comes by ACME.
///
/// Read from `certificates`, or from `cert`, `key` and `ocsp`, which are one.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificates(Vec<CertificateFiles>);

impl std::ops::Deref for Certificates {
    type Target = [CertificateFiles];

    fn deref(&self) -> &[CertificateFiles] {
        &self.0
    }
}

impl Group for Certificates {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Certificates> {
        let several =
            table.optional::<Option<Vec<CertificateFiles>>>("certificates", || None, &SEVERAL);
        let cert = table.optional::<Option<PathBuf>>("cert", || None, &());
        let key = table.optional::<Option<PathBuf>>("key", || None, &());
        let ocsp = table.optional::<Option<PathBuf>>("ocsp", || None, &());
        match (several?, cert?, key?, ocsp?) {
            (Some(several), None, None, None) => Some(Certificates(several)),
            (None, Some(cert), Some(key), ocsp) => {
                let files = CertificateFiles { cert, key, ocsp };
                check_certificate(&files, table)?;
                Some(Certificates(vec![files]))
            }
            (Some(_), ..) => table.contradict("certificates", "stands beside `cert` or `key`"),
            (None, Some(_), None, _) => table.missing("key", "a `cert` needs its `key`"),
            (None, None, None, None) if table.peek("acme").is_some() => {
                Some(Certificates(Vec::new()))
            }
            (None, None, ..) => {
                table.missing("cert", "neither `cert` nor `certificates` nor `acme` is set")
            }
        }
    }

    fn write(&self, out: &mut TableWriter<'_>) {
        if !self.0.is_empty() {
            out.put("certificates", &self.0);
        }
    }

    fn describe(out: &mut TableSchema) {
        let docs = &["What is presented: the first whose names fit what is asked for."];
        out.optional::<Option<Vec<CertificateFiles>>>("certificates", docs, &None, &SEVERAL);
        let docs = &["The certificate and its intermediates, in PEM, where there is only one."];
        out.optional::<Option<PathBuf>>("cert", docs, &None, &());
        let docs = &["Its private key, in PEM."];
        out.optional::<Option<PathBuf>>("key", docs, &None, &());
        let docs = &["An OCSP response for it, in DER, that is stapled to it until it is over."];
        out.optional::<Option<PathBuf>>("ocsp", docs, &None, &());
    }
}

choice! {
    /// What is done with a name that no certificate is for.
    pub enum UnknownName("unknown-name") {
        /// The handshake is refused.
        Refuse = "refuse",
        /// The first certificate is presented all the same.
        First = "first",
    }
}

choice! {
    /// Whether a downstream has to present a certificate.
    pub enum ClientCert("client-cert") {
        /// One without is refused.
        Required = "required",
        /// One without is served; a wrong one is refused.
        Optional = "optional",
    }
}

choice! {
    /// What is done with certificates of an authority whose revocation list is over.
    pub enum CrlOver("crl-over") {
        /// What it revokes stays revoked, the others are accepted.
        Use = "use",
        /// All are refused, until there is a newer list.
        Refuse = "refuse",
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion("tls-version") {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

section! {
    /// How a cluster's endpoints are spoken to over TLS.
    pub struct ClusterTls("tls", check = check_cluster) = default {
        /// The authorities of endpoints' certificates, in PEM; the system's if not set.
        ca: Option<PathBuf> = None;
        /// Lists of revoked certificates of endpoints, in PEM or DER. With any, each authority of
        /// a chain needs its own.
        crl: Vec<PathBuf> = Vec::new(), in LISTS;
        /// What is done with endpoints of an authority whose list is over.
        crl_over: CrlOver = CrlOver::Use;
        /// Digests of endpoints' public keys: `sha256/` and base64. One of them has to fit.
        pin: Vec<KeyPin> = Vec::new();
        /// How an endpoint proves who it is.
        verify: VerifyEndpoint = VerifyEndpoint::Ca;
        /// The name that endpoints are asked for and verified by; their address if not set.
        name: Option<ServerName> = None;
        /// Our certificate, in PEM, for endpoints that ask for one.
        cert: Option<PathBuf> = None;
        /// Its private key, in PEM.
        key: Option<PathBuf> = None;
        /// The versions that are spoken.
        versions: Vec<TlsVersion> = TlsVersion::ALL.to_vec(), in VERSIONS;
    }
}

choice! {
    /// How an endpoint proves who it is.
    pub enum VerifyEndpoint("verify") {
        /// By an authority's signature; with `pin`, by its key as well.
        Ca = "ca",
        /// By its key alone, which is one of `pin`.
        Pin = "pin",
        /// Not at all: whoever answers at its address is believed.
        Off = "off",
    }
}

fn check_listener(tls: &ListenerTls, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    if table.peek("client_cert").is_some() && tls.client_ca.is_none() {
        return table.contradict("client_cert", "needs a `client_ca` to verify by");
    }
    let proves = |acme: &Acme| acme.challenge == AcmeChallenge::TlsAlpn01;
    let closed = tls.client_ca.is_some() && tls.client_cert == ClientCert::Required;
    if closed && tls.acme.as_ref().is_some_and(proves) {
        let problem = "\"tls-alpn-01\" can't pass a listener that requires client certificates";
        return table.contradict("acme", problem);
    }
    if !tls.client_fields.is_empty() && tls.client_ca.is_none() {
        return table.contradict("client_fields", "needs a `client_ca` to verify by");
    }
    // RFC 9440 §2.3: it does not come alone.
    let has = |field| tls.client_fields.contains(&field);
    if has(ClientField::ClientCertChain) && !has(ClientField::ClientCert) {
        return table.contradict("client_fields", "\"client-cert-chain\" needs \"client-cert\"");
    }
    if !tls.client_crl.is_empty() && tls.client_ca.is_none() {
        return table.contradict("client_crl", "needs a `client_ca` to verify by");
    }
    if tls.client_crl_over != CrlOver::Use && tls.client_crl.is_empty() {
        return table.contradict("client_crl_over", "needs a `client_crl`");
    }
    if tls.session_ticket_key.is_some() && !tls.session_tickets {
        return table.contradict("session_ticket_key", "`session_tickets` is false");
    }
    check_versions(&tls.versions, table)?;
    if let Some(path) = &tls.client_ca {
        check_file(path, "client_ca", table, |bytes| Content::Authorities(bytes))?;
    }
    for path in &tls.client_crl {
        check_file(path, "client_crl", table, |bytes| Content::RevocationLists(bytes))?;
    }
    if let Some(path) = &tls.session_ticket_key {
        check_file(path, "session_ticket_key", table, |bytes| Content::TicketSecrets(bytes))?;
    }
    Some(())
}

fn check_cluster(tls: &ClusterTls, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    check_versions(&tls.versions, table)?;
    match tls.verify {
        VerifyEndpoint::Pin if tls.pin.is_empty() => {
            return table.contradict("verify", "needs at least one `pin`");
        }
        VerifyEndpoint::Off if !tls.pin.is_empty() => {
            return table.contradict("verify", "\"off\" would look at no `pin`");
        }
        VerifyEndpoint::Pin | VerifyEndpoint::Off if tls.ca.is_some() => {
            return table.contradict("ca", "`verify` says that no authority is asked");
        }
        VerifyEndpoint::Pin | VerifyEndpoint::Off if !tls.crl.is_empty() => {
            return table.contradict("crl", "`verify` says that no authority is asked");
        }
        _ => {}
    }
    if tls.crl_over != CrlOver::Use && tls.crl.is_empty() {
        return table.contradict("crl_over", "needs a `crl`");
    }
    if let Some(path) = &tls.ca {
        check_file(path, "ca", table, |bytes| Content::Authorities(bytes))?;
    }
    for path in &tls.crl {
        check_file(path, "crl", table, |bytes| Content::RevocationLists(bytes))?;
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let files = CertificateFiles { cert: cert.clone(), key: key.clone(), ocsp: None };
            check_certificate(&files, table)
        }
        (Some(_), None) => table.missing("key", "a `cert` needs its `key`"),
        (None, Some(_)) => table.missing("cert", "a `key` needs its `cert`"),
        (None, None) => Some(()),
    }
}

fn check_versions(versions: &[TlsVersion], table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let repeated = matches!(versions, [one, other] if one == other);
    if repeated { table.contradict("versions", "names a version twice") } else { Some(()) }
}

/// A file of somebody else's format, with a finding at its key.
pub(crate) fn check_file(
    path: &Path,
    key: &'static str,
    table: &mut TableReader<'_, '_, '_>,
    content: impl for<'c> Fn(&'c [u8]) -> Content<'c>,
) -> Option<()> {
    let span = table.span_of(key);
    let files = table.reader.files;
    if !files.are_checked() {
        return Some(());
    }
    let problem = match files.read(path) {
        Ok(bytes) => files.examine(&content(&bytes)).err(),
        Err(error) => Some(format!("cannot be read: {error}")),
    };
    match problem {
        Some(problem) => table.reader.below(key, |reader| reader.refuse_file(span, problem)),
        None => Some(()),
    }
}

/// All three files, each with its own finding.
fn check_certificate(files: &CertificateFiles, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let disk = table.reader.files;
    if !disk.are_checked() {
        return Some(());
    }
    let mut read = |key: &str, path: &Path| {
        let span = table.span_of(key);
        match disk.read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => table
                .reader
                .below(key, |reader| reader.refuse_file(span, format!("cannot be read: {error}"))),
        }
    };
    let (cert, key) = (read("cert", &files.cert), read("key", &files.key));
    let ocsp = files.ocsp.as_ref().map(|path| read("ocsp", path));
    let (cert, key) = (cert?, key?);
    let ocsp = match ocsp {
        Some(staple) => Some(staple?),
        None => None,
    };
    let (cert, key) = (&*cert, &*key);
    let mut examine = |name: &str, content: &Content<'_>| match disk.examine(content) {
        Ok(()) => Some(()),
        Err(problem) => {
            let span = table.span_of(name);
            table.reader.below(name, |reader| reader.refuse_file(span, problem))
        }
    };
    examine("key", &Content::Key { cert, key })?;
    examine("cert", &Content::Certificate { cert, key })?;
    match &ocsp {
        Some(response) => examine("ocsp", &Content::Staple { cert, key, response }),
        None => Some(()),
    }
}

const SEVERAL: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 10_000, bare: false };
const CLIENT_FIELDS: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 3, bare: true };
const LISTS: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 64, bare: true };
const VERSIONS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 2, bare: true };
