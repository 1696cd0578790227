//! The OCSP response that is stapled to a certificate: about which one, what it says, how long it
//! holds (RFC 6960).
//!
//! Not for who signed it: see `responder`.

use std::sync::Arc;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::certificate::{Fingerprint, Validity, date};
use crate::der::{Der, ENUMERATED, INTEGER, OCTET_STRING, OID, SEQUENCE};
use crate::error::TlsError;
use crate::responder::Signed;
use crate::x509::X509;

/// What is stapled to a certificate.
#[derive(Clone, Debug)]
pub struct Staple {
    /// From when it holds, and until when.
    pub validity: Validity,
    /// Tells it from every other.
    pub fingerprint: Fingerprint,
    /// What is presented while it holds.
    pub(crate) key: Arc<CertifiedKey>,
}

impl Staple {
    /// Whether it is not over at `now`, in seconds since 1970. One that begins later is in order:
    /// it is presented from then on.
    ///
    /// # Errors
    /// It is over.
    pub fn check_dates(&self, now: i64) -> Result<(), TlsError> {
        match now > self.validity.not_after {
            true => Err(TlsError::OcspOver { date: date(self.validity.not_after) }),
            false => Ok(()),
        }
    }

    /// RFC 6960 §3.2: clients refuse one outside of its time.
    pub(crate) fn holds_at(&self, now: i64) -> bool {
        (self.validity.not_before..=self.validity.not_after).contains(&now)
    }
}

/// What a responder says of one certificate (RFC 6960 §4.2.1, SingleResponse).
struct Single<'a> {
    hash: &'a [u8],
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
    status: u8,
    this_update: i64,
    next_update: Option<i64>,
}

/// When a response holds that says that the first certificate of `chain` is good.
pub(crate) fn read(response: &[u8], chain: &[CertificateDer<'_>]) -> Result<Validity, TlsError> {
    let Basic { signed, singles } = successful(response)?;
    let mut singles = Der(singles);
    let malformed = |index| TlsError::MalformedCertificate { index };
    let own = X509::read(&chain[0]).ok_or(malformed(1))?;
    let subject = own.subject.clone();
    let mut others = chain.iter().skip(1).filter_map(|der| Some((der, X509::read(der)?)));
    let issuer = others.find(|(_, other)| other.subject_name == own.issuer_name);
    let single = loop {
        if singles.0.is_empty() {
            let serial = own.serial.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(TlsError::OcspOfAnother { subject, serial });
        }
        let single = Single::read(&mut singles).ok_or(NOT_ONE)?;
        if single.is_about(&own, issuer.as_ref().map(|(_, issuer)| issuer)) {
            break single;
        }
    };
    match single.status {
        GOOD => {}
        REVOKED => return Err(TlsError::OcspNotGood { subject, status: "revoked" }),
        _ => return Err(TlsError::OcspNotGood { subject, status: "unknown to its responder" }),
    }
    // RFC 5019 §2.2.4: without it clients would have to ask the responder each time.
    let not_after = single.next_update.ok_or(TlsError::OcspWithoutEnd)?;
    let holds = Validity { not_before: single.this_update, not_after };
    let (der, issuer) = issuer.ok_or(TlsError::OcspWithoutIssuer { issuer: own.issuer })?;
    Ok(match signed.check(der, &issuer)? {
        // Nobody believes it after who signed it is over.
        Some(responder) => Validity {
            not_before: holds.not_before.max(responder.not_before),
            not_after: holds.not_after.min(responder.not_after),
        },
        None => holds,
    })
}

/// A response in its usual form (RFC 6960 §4.2.1, BasicOCSPResponse).
struct Basic<'a> {
    signed: Signed<'a>,
    /// What it says of certificates, one behind the other.
    singles: &'a [u8],
}

/// A response that is no excuse.
fn successful(response: &[u8]) -> Result<Basic<'_>, TlsError> {
    let mut outer = Der(response);
    let mut body = Der(outer.take(SEQUENCE).ok_or(NOT_ONE)?);
    let answer = match body.take(ENUMERATED) {
        Some([0]) => return basic(body).filter(|_| outer.0.is_empty()).ok_or(NOT_ONE),
        Some([1]) => "malformedRequest",
        Some([2]) => "internalError",
        Some([3]) => "tryLater",
        Some([5]) => "sigRequired",
        Some([6]) => "unauthorized",
        _ => return Err(NOT_ONE),
    };
    Err(TlsError::NoOcspStatus { answer })
}

/// RFC 6960 §4.2.1: ResponseBytes, BasicOCSPResponse, ResponseData.
fn basic<'a>(mut body: Der<'a>) -> Option<Basic<'a>> {
    let mut bytes = Der(Der(body.take(CONTEXT_0)?).take(SEQUENCE)?);
    if bytes.take(OID)? != BASIC {
        return None;
    }
    let mut outer = Der(Der(bytes.take(OCTET_STRING)?).take(SEQUENCE)?);
    let whole = outer.whole(SEQUENCE)?;
    let (algorithm, signature) = (outer.take(SEQUENCE)?, outer.bits()?);
    let certificates = match outer.0.first() {
        Some(&CONTEXT_0) => Der(outer.take(CONTEXT_0)?).take(SEQUENCE)?,
        _ => &[],
    };
    let mut data = Der(Der(whole).take(SEQUENCE)?);
    data.take_if(CONTEXT_0);
    let (named_by, signer, _) = data.next()?;
    // When it was made.
    data.time()?;
    let singles = data.take(SEQUENCE)?;
    let signed = Signed { whole, named_by, signer, algorithm, signature, certificates };
    Some(Basic { signed, singles })
}

impl<'a> Single<'a> {
    fn read(list: &mut Der<'a>) -> Option<Single<'a>> {
        let mut single = Der(list.take(SEQUENCE)?);
        let mut id = Der(single.take(SEQUENCE)?);
        let hash = Der(id.take(SEQUENCE)?).take(OID)?;
        let (name_hash, key_hash) = (id.take(OCTET_STRING)?, id.take(OCTET_STRING)?);
        let serial = id.take(INTEGER)?;
        let (status, ..) = single.next()?;
        let this_update = single.time()?;
        let next_update = match single.0.first() {
            Some(&CONTEXT_0) => Some(Der(single.take(CONTEXT_0)?).time()?),
            _ => None,
        };
        Some(Single { hash, name_hash, key_hash, serial, status, this_update, next_update })
    }

    /// RFC 6960 §4.1.1: the same number, by the same authority; whose key is compared where it is
    /// known.
    fn is_about(&self, own: &X509<'_>, issuer: Option<&X509<'_>>) -> bool {
        let hash = HASHES.iter().find(|(oid, _)| *oid == self.hash);
        let Some(&(_, hash)) = hash else { return false };
        let is_digest = |expected: &[u8], of: &[u8]| digest(hash, of).as_ref() == expected;
        self.serial == own.serial
            && is_digest(self.name_hash, own.issuer_name)
            && issuer
                .and_then(|issuer| issuer.key())
                .is_none_or(|(_, key)| is_digest(self.key_hash, key))
    }
}

const NOT_ONE: TlsError = TlsError::NotAnOcspResponse;
const CONTEXT_0: u8 = 0xa0;
/// CertStatus: `[0] IMPLICIT NULL`, and `[1] IMPLICIT RevokedInfo`.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
/// 1.3.6.1.5.5.7.48.1.1, id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// What certificates are named by: SHA-1 by nearly all (RFC 5019 §2.1.1), and 2.16.840.1.101.3.4.2.
static HASHES: [(&[u8], &Algorithm); 4] = [
    (&[0x2b, 0x0e, 0x03, 0x02, 0x1a], &SHA1_FOR_LEGACY_USE_ONLY),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01], &SHA256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02], &SHA384),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03], &SHA512),
];
