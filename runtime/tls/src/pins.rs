//! Verification of an endpoint: by authorities, by the digest of its key, or not at all.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::x509::X509;

/// The SHA-256 of a public key, as in RFC 7469 §2.4: of its SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Of the key in a certificate.
    pub fn of(certificate: &[u8]) -> Option<Pin> {
        X509::read(certificate).map(|read| Pin::of_key(read.public_key))
    }

    pub(crate) fn of_key(public_key: &[u8]) -> Pin {
        let mut pin = [0; 32];
        pin.copy_from_slice(digest(&SHA256, public_key).as_ref());
        Pin(pin)
    }
}

/// Verifies by authorities where there are any, and by pins where there are any.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) authorities: Option<Arc<WebPkiServerVerifier>>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Only the endpoint's own key is compared: anybody can add a certificate to a chain.
        let pin = if self.pins.is_empty() { None } else { Some(Pin::of(end_entity)) };
        if let Some(found) = pin {
            let found = found.ok_or(CertificateError::BadEncoding)?;
            let same = |pin: &Pin| verify_slices_are_equal(&pin.0, &found.0).is_ok();
            if !self.pins.iter().any(same) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
