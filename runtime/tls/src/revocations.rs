//! Lists of revoked certificates (RFC 5280 §5): read, shown, and what is made of them.
//!
//! Whether a certificate is on one, and who signed the list, webpki looks at in the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, Der as DerOf, TrustAnchor};
use rustls::server::WebPkiClientVerifier;

use crate::certificate::{Fingerprint, Validity};
use crate::error::TlsError;
use crate::provider::provider;
use crate::x509::Crl;

/// What one authority has revoked.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Whose list it is.
    pub issuer: String,
    /// From when it is, and by when there should be a newer one.
    pub validity: Validity,
    /// How many certificates it names.
    pub revoked_count: usize,
    /// Tells it from every other.
    pub fingerprint: Fingerprint,
    der: CertificateRevocationListDer<'static>,
}

/// What is done with certificates of an authority whose list is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOver {
    /// What it revokes stays revoked, and the others are accepted.
    #[default]
    Use,
    /// All are refused until there is a newer one.
    Refuse,
}

/// The lists that certificates are looked up in. Without any, nothing is revoked; with one, each
/// authority of a chain needs its own.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    lists: Vec<RevocationList>,
    over: ListOver,
}

impl Revocations {
    /// Of `lists`, in any order.
    pub fn new(mut lists: Vec<RevocationList>, over: ListOver) -> Revocations {
        // webpki takes the first that an authority made.
        lists.sort_by_key(|list| std::cmp::Reverse(list.validity.not_before));
        Revocations { lists, over }
    }

    /// The lists, the newest first.
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    pub(crate) fn der(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> {
        self.lists.iter().map(|list| list.der.clone())
    }

    pub(crate) fn refuse_when_over(&self) -> bool {
        self.over == ListOver::Refuse
    }
}

impl RevocationList {
    /// The lists of a file: one in DER, or any number in PEM.
    ///
    /// # Errors
    /// There is none, or one that can't be used. Not that it is over.
    pub fn read(bytes: &[u8]) -> Result<Vec<RevocationList>, TlsError> {
        // The header of a DER sequence is no letter and no dash.
        if bytes.first() == Some(&0x30) {
            return Ok(vec![RevocationList::of(bytes.to_vec().into(), 1)?]);
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(bytes).zip(1..);
        let lists: Vec<_> = lists
            .map(|(der, index)| {
                let der = der.map_err(|error| TlsError::NotPem { reason: error.to_string() })?;
                RevocationList::of(der, index)
            })
            .collect::<Result<_, _>>()?;
        if lists.is_empty() { Err(TlsError::NoRevocationList) } else { Ok(lists) }
    }

    fn of(
        der: CertificateRevocationListDer<'static>,
        index: usize,
    ) -> Result<RevocationList, TlsError> {
        let crl = Crl::read(&der).ok_or(TlsError::MalformedRevocationList { index })?;
        let (issuer, revoked_count) = (crl.issuer, crl.revoked_count);
        let validity = Validity { not_before: crl.this_update, not_after: crl.next_update };
        // RFC 5280 §5.1.2.1. Easily made by openssl, and refused by webpki without a word.
        let checked = if crl.versioned { check(&der) } else { Err(VERSION_1.to_owned()) };
        checked.map_err(|reason| TlsError::UnusableRevocationList { index, reason })?;
        let fingerprint = Fingerprint::of(&der);
        Ok(RevocationList { issuer, validity, revoked_count, fingerprint, der })
    }
}

impl fmt::Debug for RevocationList {
    /// Without what it holds, which can be megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RevocationList { issuer, validity, fingerprint, .. } = self;
        write!(f, "RevocationList({issuer}, {validity:?}, {fingerprint})")
    }
}

const VERSION_1: &str =
    "it is of version 1, which has no number (`openssl ca` numbers lists where `crlnumber` is set)";

/// Whether webpki takes a list. It says so only to whoever builds a verifier, and of that one
/// only the lists are of interest.
fn check(der: &CertificateRevocationListDer<'static>) -> Result<(), String> {
    let nobody = TrustAnchor {
        subject: DerOf::from_slice(&[]),
        subject_public_key_info: DerOf::from_slice(&[]),
        name_constraints: None,
    };
    let roots = Arc::new(RootCertStore { roots: vec![nobody] });
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    builder.with_crls([der.clone()]).build().map(drop).map_err(|error| error.to_string())
}
