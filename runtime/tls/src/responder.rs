//! Who signed an OCSP response, and whether they may (RFC 6960 §4.2.2.2): the authority that issued
//! the certificate, or somebody whom it gave a certificate for that.
//!
//! Not for what the response says: see `staple`. Nor for whether a responder's certificate is
//! revoked: its authority says of most that nobody need ask (§4.2.2.2.1).

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error as WebpkiError, KeyUsage, anchor_from_trusted_cert};

use crate::certificate::Validity;
use crate::der::{Der, OCTET_STRING, SEQUENCE};
use crate::error::TlsError;
use crate::provider::provider;
use crate::x509::X509;

/// What was signed, and what belongs to the signature.
pub(crate) struct Signed<'a> {
    /// With its header, as it was signed.
    pub(crate) whole: &'a [u8],
    /// The tag of ResponderID: by name, or by key.
    pub(crate) named_by: u8,
    /// Who says to have signed it.
    pub(crate) signer: &'a [u8],
    /// AlgorithmIdentifier, without its header.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    /// Certificates that came along, one behind the other.
    pub(crate) certificates: &'a [u8],
}

impl Signed<'_> {
    /// Whether `issuer`, or a responder that it has made, signed it: when that one's certificate
    /// is valid, which is not looked at here.
    ///
    /// # Errors
    /// Neither did, or with an algorithm that nobody should accept.
    pub(crate) fn check(
        &self,
        der: &CertificateDer<'_>,
        issuer: &X509<'_>,
    ) -> Result<Option<Validity>, TlsError> {
        let algorithms = provider().signature_verification_algorithms.all;
        if !algorithms.iter().any(|one| *one.signature_alg_id() == *self.algorithm) {
            return Err(TlsError::OcspAlgorithm);
        }
        if self.is_by(issuer) {
            return Ok(None);
        }
        let mut certificates = Der(self.certificates);
        while let Some(own) = certificates.whole(SEQUENCE) {
            let Some(responder) = X509::read(own).filter(|responder| self.is_by(responder)) else {
                continue;
            };
            let (not_before, not_after) = (responder.not_before, responder.not_after);
            let delegated = delegated(&own.into(), not_before, der);
            delegated.map_err(|error| TlsError::OcspResponder {
                signer: responder.subject,
                issuer: issuer.subject.clone(),
                reason: reason(&error),
            })?;
            return Ok(Some(Validity { not_before, not_after }));
        }
        Err(TlsError::OcspForged { issuer: issuer.subject.clone() })
    }

    /// Whether the key of `signer` made the signature, and it is who is named: by another name,
    /// clients don't find it.
    fn is_by(&self, signer: &X509<'_>) -> bool {
        let Some((kind, key)) = signer.key() else { return false };
        // RFC 6960 §4.2.1: the digest is SHA-1's, of the key without its kind.
        let is_named = match self.named_by {
            BY_NAME => self.signer == signer.subject_name,
            BY_KEY => {
                let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, key);
                Der(self.signer).take(OCTET_STRING) == Some(digest.as_ref())
            }
            _ => false,
        };
        is_named
            && provider().signature_verification_algorithms.all.iter().any(|one| {
                *one.signature_alg_id() == *self.algorithm
                    && *one.public_key_alg_id() == *kind
                    && one.verify_signature(key, self.whole, self.signature).is_ok()
            })
    }
}

/// RFC 6960 §4.2.2.2: `issuer` itself signed the responder's certificate, for this use.
fn delegated(
    responder: &CertificateDer<'_>,
    not_before: i64,
    issuer: &CertificateDer<'_>,
) -> Result<(), WebpkiError> {
    let issuer = [anchor_from_trusted_cert(issuer)?];
    // Files are judged first and their dates later, where it is known what a date may refuse.
    let at = UnixTime::since_unix_epoch(Duration::from_secs(not_before.try_into().unwrap_or(0)));
    let algorithms = provider().signature_verification_algorithms.all;
    let usage = KeyUsage::required(OCSP_SIGNING);
    EndEntityCert::try_from(responder)?
        .verify_for_usage(algorithms, &issuer, &[], at, usage, None, None)
        .map(drop)
}

fn reason(error: &WebpkiError) -> String {
    let text = match error {
        WebpkiError::RequiredEkuNotFoundContext(_) => {
            "its certificate is not for this use (extended key usage OCSPSigning)"
        }
        WebpkiError::UnknownIssuer
        | WebpkiError::InvalidSignatureForPublicKey
        | WebpkiError::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "another authority signed its certificate"
        }
        WebpkiError::CaUsedAsEndEntity => "its certificate is an authority's own (CA:TRUE)",
        other => return format!("its certificate is not accepted: {other:?}"),
    };
    text.to_owned()
}

/// ResponderID: `[1] Name` and `[2] KeyHash`.
const BY_NAME: u8 = 0xa1;
const BY_KEY: u8 = 0xa2;
/// 1.3.6.1.5.5.7.3.9, id-kp-OCSPSigning.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];
