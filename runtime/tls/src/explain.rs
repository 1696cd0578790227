//! What a failed handshake means, in words for operators and in kinds for counters.

use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, Error, InvalidMessage,
    PeerIncompatible,
};

/// The kinds of failed handshakes, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What came is not TLS: plain HTTP on a TLS port, or a scan.
    NotTls,
    /// Both sides speak TLS, but share no version, cipher, group or protocol.
    NothingInCommon,
    /// The peer asked for a name that we have no certificate for.
    UnknownName,
    /// The peer presented no certificate where one is required.
    CertificateMissing,
    /// The peer's certificate is not accepted.
    CertificateRefused,
    /// The peer ended the handshake with an alert: ours was not accepted, mostly.
    Alert,
    /// Anything else: broken records, forged messages.
    Broken,
}

/// The kind of a failure, and a sentence about it.
pub fn explain(error: &Error) -> (Refusal, String) {
    (refusal(error), sentence(error))
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        )
        | Error::InappropriateMessage { .. } => Refusal::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Refusal::NothingInCommon,
        Error::General(text) if text.contains("no server certificate chain resolved") => {
            Refusal::UnknownName
        }
        Error::NoCertificatesPresented => Refusal::CertificateMissing,
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
            Refusal::CertificateRefused
        }
        Error::AlertReceived(_) => Refusal::Alert,
        _ => Refusal::Broken,
    }
}

/// One plain sentence, without the names of a library's types.
pub(crate) fn sentence(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => of_certificate(problem),
        Error::InvalidCertRevocationList(problem) => of_list(problem),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(problem) => of_incompatible(problem),
        Error::NoApplicationProtocol => "both sides share no application protocol".to_owned(),
        Error::NoCertificatesPresented => "the peer presented no certificate".to_owned(),
        Error::General(text) if text.contains("no server certificate chain resolved") => {
            "no certificate is for the name that was asked for".to_owned()
        }
        _ if refusal(error) == Refusal::NotTls => "what came is not TLS".to_owned(),
        Error::DecryptError => "a record can't be decrypted".to_owned(),
        other => other.to_string(),
    }
}

fn of_certificate(problem: &CertificateError) -> String {
    let text = match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate is expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is not among the trusted authorities, or an intermediate \
             certificate is missing from the chain"
        }
        CertificateError::NotValidForName => "the certificate is for another name",
        CertificateError::NotValidForNameContext { expected, presented } => {
            return format!(
                "the certificate is for {}, not for {}",
                presented.join(", "),
                expected.to_str()
            );
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for this use (extended key usage)"
        }
        CertificateError::BadSignature => "the certificate's signature is wrong",
        CertificateError::BadEncoding => "the certificate is malformed",
        CertificateError::Revoked => "the certificate is revoked",
        CertificateError::UnknownRevocationStatus => {
            "there is no revocation list of an authority that signed a certificate of the chain"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list of the certificate's authority is over"
        }
        CertificateError::ApplicationVerificationFailure => {
            "the certificate's key is none of those pinned"
        }
        CertificateError::UnhandledCriticalExtension => {
            "the certificate has a critical extension that is not understood"
        }
        // What webpki alone says reaches us as text.
        other => return of_webpki(&format!("{other:?}")),
    };
    text.to_owned()
}

fn of_list(problem: &CertRevocationListError) -> String {
    let text = match problem {
        CertRevocationListError::BadSignature => {
            "the revocation list with the name of the certificate's authority is not signed by it"
        }
        CertRevocationListError::IssuerInvalidForCrl => {
            "the certificate's authority may not sign revocation lists (key usage cRLSign)"
        }
        other => return format!("the revocation list can't be used: {other:?}"),
    };
    text.to_owned()
}

fn of_webpki(text: &str) -> String {
    for (name, sentence) in WEBPKI {
        if text.contains(name) {
            return (*sentence).to_owned();
        }
    }
    format!("the certificate is not accepted: {text}")
}

const WEBPKI: &[(&str, &str)] = &[
    (
        "CaUsedAsEndEntity",
        "the certificate is an authority's own (CA:TRUE), which can't stand for a host: issue one \
         with CA:FALSE from it, or pin its key",
    ),
    (
        "EndEntityUsedAsCa",
        "a certificate in the chain signed another although it is no authority (CA:FALSE)",
    ),
    (
        "UnsupportedCertVersion",
        "the certificate is not of X.509 version 3: issue it again with extensions, at least the \
         names that it is for",
    ),
    (
        "UnsupportedCriticalExtension",
        "the certificate has a critical extension that is not understood",
    ),
    ("PathLenConstraintViolated", "the chain is longer than one of its authorities allows"),
    ("NameConstraintViolation", "the name is outside of what its authority may sign"),
    (
        "UnsupportedSignatureAlgorithm",
        "the certificate is signed with an algorithm that is not \
         accepted, such as SHA-1",
    ),
];

fn of_alert(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::UnknownCA => "it does not know the authority of our certificate",
        AlertDescription::BadCertificate => "it does not accept our certificate",
        AlertDescription::CertificateExpired => "our certificate is expired for it",
        AlertDescription::CertificateUnknown => "it does not accept our certificate",
        AlertDescription::CertificateRequired => "it requires a certificate of ours",
        AlertDescription::AccessDenied => "it denies access",
        AlertDescription::HandshakeFailure => "it shares no parameters with us",
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we speak",
        AlertDescription::UnrecognisedName => "it does not know the name that it was asked for",
        AlertDescription::NoApplicationProtocol => "it shares no application protocol with us",
        AlertDescription::UserCanceled => "it gave up",
        other => return format!("the peer ended the handshake: {other:?}"),
    };
    format!("the peer ended the handshake: {text}")
}

fn of_incompatible(problem: &PeerIncompatible) -> String {
    let text = match problem {
        PeerIncompatible::NoCipherSuitesInCommon => "both sides share no cipher suite",
        PeerIncompatible::NoKxGroupsInCommon => "both sides share no key exchange group",
        PeerIncompatible::NoSignatureSchemesInCommon => "both sides share no signature scheme",
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "both sides share no version of TLS",
        other => return format!("the peer is not compatible: {other:?}"),
    };
    text.to_owned()
}
