//! Why certificates, keys and settings can't be used, in plain sentences.

use thiserror::Error;

/// What is wrong with a file or a setting. Who reports it names the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// No certificate in a file that should hold some.
    #[error("holds no certificate: PEM text with BEGIN CERTIFICATE is expected")]
    NoCertificate,
    /// No key in a file that should hold one.
    #[error("holds no private key: PEM text with BEGIN PRIVATE KEY is expected")]
    NoKey,
    /// More keys than one: which is meant?
    #[error("holds {count} private keys; one is expected")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// The key is encrypted with a passphrase.
    #[error("the private key is encrypted with a passphrase; nobody is there to type it")]
    EncryptedKey,
    /// The PEM text is cut or garbled.
    #[error("is not PEM text: {reason}")]
    NotPem {
        /// What the parser said.
        reason: String,
    },
    /// The certificate is no X.509 version 3 certificate.
    #[error("certificate {index} of the file is malformed")]
    MalformedCertificate {
        /// Which, counted from 1.
        index: usize,
    },
    /// The key is of a kind that can't sign.
    #[error("the private key can't be used: {reason}")]
    UnusableKey {
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are not a pair.
    #[error("the private key is not the one of the certificate for {subject}")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate can't be presented.
    #[error("{reason}")]
    UnusableCertificate {
        /// What is wrong.
        reason: String,
    },
    /// The certificate is over.
    #[error("the certificate for {subject} expired on {date}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// When.
        date: String,
    },
    /// The certificate is for later.
    #[error("the certificate for {subject} is not valid before {date}")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// When.
        date: String,
    },
    /// The staple is no OCSP response.
    #[error("is not an OCSP response in DER")]
    NotAnOcspResponse,
    /// The staple is the responder's excuse.
    #[error("says nothing of a certificate: its responder answered {answer}")]
    NoOcspStatus {
        /// As RFC 6960 calls it.
        answer: &'static str,
    },
    /// The staple is about somebody else.
    #[error("is about another certificate, not the one for {subject} with serial number {serial}")]
    OcspOfAnother {
        /// The certificate's subject.
        subject: String,
        /// Its number, in hexadecimal digits.
        serial: String,
    },
    /// Who heeds the staple refuses the certificate.
    #[error("says that the certificate for {subject} is {status}")]
    OcspNotGood {
        /// The certificate's subject.
        subject: String,
        /// What it is.
        status: &'static str,
    },
    /// Who issued the certificate is not known, so who may speak of it is not either.
    #[error("can't be verified without the certificate of {issuer}: put it into the chain")]
    OcspWithoutIssuer {
        /// Who issued the certificate.
        issuer: String,
    },
    /// The staple's signature is of a kind that clients don't accept.
    #[error("is signed with an algorithm that is not accepted, such as SHA-1")]
    OcspAlgorithm,
    /// The staple is forged, or somebody else's.
    #[error("is signed neither by {issuer} nor by one whose certificate comes with it")]
    OcspForged {
        /// Who issued the certificate.
        issuer: String,
    },
    /// Who signed the staple may not.
    #[error("is signed by {signer}, which {issuer} has not made its responder: {reason}")]
    OcspResponder {
        /// Who signed it.
        signer: String,
        /// Who issued the certificate.
        issuer: String,
        /// What the signer's certificate lacks.
        reason: String,
    },
    /// Nobody could tell when the staple is over.
    #[error("does not say until when it holds (nextUpdate)")]
    OcspWithoutEnd,
    /// The staple is over.
    #[error("held until {date}; a newer one is due")]
    OcspOver {
        /// When.
        date: String,
    },
    /// A key file without keys.
    #[error("holds no ticket secret: one line of 64 hexadecimal digits is expected")]
    NoTicketSecret,
    /// A line of a key file that is no secret.
    #[error("line {line} is not a ticket secret: 64 hexadecimal digits are expected")]
    BadTicketSecret {
        /// Which, counted from 1.
        line: usize,
    },
    /// More secrets than are tried.
    #[error("holds more than {max} ticket secrets")]
    TooManyTicketSecrets {
        /// How many are allowed.
        max: usize,
    },
    /// No verifier can be built of these authorities.
    #[error("can't be used to verify: {reason}")]
    UnusableAuthorities {
        /// What is wrong.
        reason: String,
    },
    /// No list in a file that should hold some.
    #[error("holds no revocation list: PEM text with BEGIN X509 CRL, or DER, is expected")]
    NoRevocationList,
    /// A list that is none.
    #[error("revocation list {index} of the file is malformed, or does not say when it is over")]
    MalformedRevocationList {
        /// Which, counted from 1.
        index: usize,
    },
    /// A list that can't be looked into.
    #[error("revocation list {index} of the file can't be used: {reason}")]
    UnusableRevocationList {
        /// Which, counted from 1.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// A name that no certificate can be for.
    #[error("{name} is neither a host name nor an IP address")]
    BadServerName {
        /// The name.
        name: String,
    },
    /// A listener without certificates.
    #[error("no certificate is configured")]
    NothingToPresent,
}

impl TlsError {
    /// Whether the private key is to blame, not the certificate that it comes with.
    pub fn is_of_key(&self) -> bool {
        matches!(
            self,
            TlsError::NoKey
                | TlsError::SeveralKeys { .. }
                | TlsError::EncryptedKey
                | TlsError::UnusableKey { .. }
                | TlsError::KeyMismatch { .. }
        )
    }
}
