//! A certificate with its key, and what it says of itself.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::Error as RustlsError;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;

use crate::error::TlsError;
use crate::explain::sentence;
use crate::names::Names;
use crate::pins::Pin;
use crate::provider::provider;
use crate::staple::{self, Staple};
use crate::x509::X509;

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last.
    pub not_after: i64,
}

/// A chain of certificates with the key of its first, ready to be presented.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The hosts that it is for.
    pub names: Names,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// When it is valid.
    pub validity: Validity,
    /// Tells it from every other.
    pub fingerprint: Fingerprint,
    pin: Pin,
    /// What is presented.
    pub(crate) key: Arc<CertifiedKey>,
    staple: Option<Staple>,
}

impl Certificate {
    /// From PEM text: the chain, its own certificate first, and the key.
    ///
    /// # Errors
    /// What is wrong with them, or that they are no pair. Not that it is over: see
    /// [`Certificate::check_dates`].
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Certificate, TlsError> {
        let chain = read_chain(chain)?;
        for (der, index) in chain.iter().zip(1..) {
            X509::read(der).ok_or(TlsError::MalformedCertificate { index })?;
        }
        let own = chain[0].clone();
        let first = X509::read(&own).ok_or(TlsError::MalformedCertificate { index: 1 })?;
        let key = read_key(key)?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| TlsError::UnusableKey { reason: sentence(&error) })?;
        let fingerprint = Fingerprint::of(&own);
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Where the key can't tell its public half, the handshake will.
            Ok(()) | Err(RustlsError::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(RustlsError::InconsistentKeys(_)) => {
                return Err(TlsError::KeyMismatch { subject: first.subject });
            }
            Err(error) => {
                return Err(TlsError::UnusableCertificate { reason: sentence(&error) });
            }
        }
        Ok(Certificate {
            pin: Pin::of_key(first.public_key),
            validity: Validity { not_before: first.not_before, not_after: first.not_after },
            names: first.names,
            subject: first.subject,
            issuer: first.issuer,
            fingerprint,
            key: certified.into(),
            staple: None,
        })
    }

    /// The same with an OCSP response in DER, which is presented with it while it holds.
    ///
    /// # Errors
    /// It is none, or not one that says that this certificate is good. Not that it is over: see
    /// [`Staple::check_dates`].
    pub fn with_staple(mut self, response: &[u8]) -> Result<Certificate, TlsError> {
        let validity = staple::read(response, &self.key.cert)?;
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(response.to_vec());
        let fingerprint = Fingerprint::of(response);
        self.staple = Some(Staple { validity, fingerprint, key: key.into() });
        Ok(self)
    }

    /// What is stapled to it, if anything is.
    pub fn staple(&self) -> Option<&Staple> {
        self.staple.as_ref()
    }

    /// What is presented now: with its staple, where that holds.
    pub(crate) fn presented(&self, clock: &dyn TimeProvider) -> Arc<CertifiedKey> {
        let holds = |staple: &&Staple| {
            let now = clock.current_time().and_then(|now| i64::try_from(now.as_secs()).ok());
            now.is_some_and(|now| staple.holds_at(now))
        };
        let staple = self.staple.as_ref().filter(holds);
        Arc::clone(staple.map_or(&self.key, |staple| &staple.key))
    }

    /// Whether it is valid at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// It is over, or not yet valid.
    pub fn check_dates(&self, now: i64) -> Result<(), TlsError> {
        let subject = self.subject.clone();
        if now > self.validity.not_after {
            return Err(TlsError::Expired { subject, date: date(self.validity.not_after) });
        }
        if now < self.validity.not_before {
            return Err(TlsError::NotYetValid { subject, date: date(self.validity.not_before) });
        }
        Ok(())
    }

    /// The digest of its public key, as endpoints' keys are pinned.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The name that it is called by where one must do.
    pub fn title(&self) -> String {
        self.names.shown().into_iter().next().unwrap_or_else(|| self.subject.clone())
    }

    /// When it ends, as people write it.
    pub fn ends(&self) -> String {
        date(self.validity.not_after)
    }
}

/// A certificate that shows an authority that a host is ours (RFC 8737).
#[derive(Clone, Debug)]
pub struct TlsProof {
    name: Box<str>,
    pub(crate) key: Arc<CertifiedKey>,
}

impl TlsProof {
    /// From PEM text. Nothing is asked of it: its extension is critical, and nobody but the
    /// authority knows that.
    ///
    /// # Errors
    /// It is no certificate, or no key.
    pub fn read(name: &str, certificate: &[u8], key: &[u8]) -> Result<TlsProof, TlsError> {
        let key = provider()
            .key_provider
            .load_private_key(read_key(key)?)
            .map_err(|error| TlsError::UnusableKey { reason: sentence(&error) })?;
        let certified = CertifiedKey::new(read_chain(certificate)?, key);
        Ok(TlsProof { name: name.into(), key: certified.into() })
    }

    /// Whether it is for this host.
    pub fn is_for(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Tells it from every other.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key.cert[0])
    }
}

/// The certificates in PEM text: at least one.
pub(crate) fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(error) => Err(not_pem(&error)),
    }
}

fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(pem).collect();
    let mut keys = keys.map_err(|error| not_pem(&error))?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(TlsError::SeveralKeys { count: others + 1 }),
        (None, _) => {
            // PKCS #8's form and the older one of OpenSSL.
            let text = String::from_utf8_lossy(pem);
            let locked = text.contains("BEGIN ENCRYPTED PRIVATE KEY")
                || text.contains("Proc-Type: 4,ENCRYPTED");
            Err(if locked { TlsError::EncryptedKey } else { TlsError::NoKey })
        }
    }
}

fn not_pem(error: &PemError) -> TlsError {
    TlsError::NotPem { reason: error.to_string() }
}

/// A date as in `2026-11-22 09:30:00 UTC`.
pub(crate) fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
