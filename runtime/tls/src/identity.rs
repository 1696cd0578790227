//! Who a peer is, by the certificate that it presented.

use rustls::pki_types::CertificateDer;

use crate::certificate::Fingerprint;
use crate::x509::X509;

/// What a verified certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject, as in `CN=ada,O=Example`.
    pub subject: Box<str>,
    /// Who signed it.
    pub issuer: Box<str>,
    /// The serial number, in hexadecimal.
    pub serial: Box<str>,
    /// The first DNS name among the SANs.
    pub dns: Option<Box<str>>,
    /// The first URI among the SANs: a SPIFFE id, mostly.
    pub uri: Option<Box<str>>,
    /// The digest of the whole certificate.
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// From a certificate that was verified; `None` if it can't be read, which verification
    /// excludes.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Identity> {
        let read = X509::read(der)?;
        Some(Identity {
            subject: read.subject.into(),
            issuer: read.issuer.into(),
            serial: read.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
            dns: read.dns.map(Into::into),
            uri: read.uri.map(Into::into),
            fingerprint: Fingerprint::of(der),
        })
    }
}
