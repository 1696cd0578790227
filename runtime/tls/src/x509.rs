//! As much of X.509 as is shown to people, compared with pins and chosen by.
//!
//! Not for verifying: that is rustls', over webpki. Reading a few fields here keeps an ASN.1
//! library with its derive macros out of the build. RFC 5280 §4.1, in DER (X.690).

use std::net::IpAddr;

use crate::der::{BOOLEAN, Der, INTEGER, OCTET_STRING, OID, SEQUENCE, SET};
use crate::names::Names;

/// The fields of a certificate that are of interest.
pub(crate) struct X509<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: String,
    /// The same as it stands there, with its header.
    pub(crate) issuer_name: &'a [u8],
    pub(crate) subject: String,
    /// The same as it stands there, with its header.
    pub(crate) subject_name: &'a [u8],
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// The SubjectPublicKeyInfo, with its header.
    pub(crate) public_key: &'a [u8],
    /// The names in the SANs; the common name where there are no SANs (RFC 6125 §6.4.4).
    pub(crate) names: Names,
    /// The DNS names among the SANs, as they are written.
    pub(crate) dns: Vec<&'a str>,
    /// The URIs among the SANs.
    pub(crate) uris: Vec<&'a str>,
}

const BMP_STRING: u8 = 0x1e;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const SAN_DNS: u8 = 0x82;
const SAN_URI: u8 = 0x86;
const SAN_IP: u8 = 0x87;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> X509<'a> {
    /// Reads a certificate; `None` where it is none.
    pub(crate) fn read(der: &'a [u8]) -> Option<X509<'a>> {
        let mut outer = Der(der);
        let mut certificate = Der(outer.take(SEQUENCE)?);
        let mut body = Der(certificate.take(SEQUENCE)?);
        if !outer.0.is_empty() {
            return None;
        }
        body.take_if(VERSION);
        let serial = body.take(INTEGER)?;
        body.take(SEQUENCE)?;
        let issuer_name = body.whole(SEQUENCE)?;
        let mut validity = Der(body.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject_name = body.whole(SEQUENCE)?;
        let subject = Der(subject_name).take(SEQUENCE)?;
        let public_key = body.whole(SEQUENCE)?;
        let mut found = X509 {
            serial,
            issuer: name(Der(issuer_name).take(SEQUENCE)?)?,
            issuer_name,
            subject: name(subject)?,
            subject_name,
            not_before,
            not_after,
            public_key,
            names: Names::default(),
            dns: Vec::new(),
            uris: Vec::new(),
        };
        // Two unique identifiers, which nobody has used since 1988, may stand in between.
        while let Some((tag, content, _)) = body.next() {
            if tag == EXTENSIONS {
                found.extensions(content)?;
            }
        }
        if found.names.is_empty() && found.dns.is_empty() {
            found.names = common_names(subject)?;
        }
        if found.subject.is_empty() {
            // As with many public authorities: what it is for must do.
            found.subject = found.names.shown().into_iter().next().unwrap_or_default();
        }
        Some(found)
    }

    /// The kind of the key, and the key alone, as others name it by its digest (RFC 6960 §4.1.1).
    pub(crate) fn key(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut key = Der(Der(self.public_key).take(SEQUENCE)?);
        Some((key.take(SEQUENCE)?, key.bits()?))
    }

    fn extensions(&mut self, content: &'a [u8]) -> Option<()> {
        let mut list = Der(Der(content).take(SEQUENCE)?);
        while !list.0.is_empty() {
            let mut extension = Der(list.take(SEQUENCE)?);
            let kind = extension.take(OID)?;
            extension.take_if(BOOLEAN);
            let value = extension.take(OCTET_STRING)?;
            if kind == SUBJECT_ALT_NAME {
                self.alternatives(Der(value).take(SEQUENCE)?)?;
            }
        }
        Some(())
    }

    fn alternatives(&mut self, content: &'a [u8]) -> Option<()> {
        let mut list = Der(content);
        while !list.0.is_empty() {
            let (tag, value, _) = list.next()?;
            let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
            match (tag, text) {
                (SAN_DNS, Some(text)) => {
                    self.names.add(text);
                    self.dns.push(text);
                }
                (SAN_URI, Some(text)) => self.uris.push(text),
                (SAN_IP, _) => self.names.addresses.extend(address(value)),
                _ => {}
            }
        }
        Some(())
    }
}

/// The fields of a list of revoked certificates that are of interest (RFC 5280 §5.1).
pub(crate) struct Crl {
    /// Whether it says its version, which is 2 then.
    pub(crate) versioned: bool,
    pub(crate) issuer: String,
    /// Seconds since 1970.
    pub(crate) this_update: i64,
    pub(crate) next_update: i64,
    pub(crate) revoked_count: usize,
}

impl Crl {
    /// Reads a list; `None` where it is none, or says no end: RFC 5280 §5.1.2.5 wants one.
    pub(crate) fn read(der: &[u8]) -> Option<Crl> {
        let mut outer = Der(der);
        let mut list = Der(outer.take(SEQUENCE)?);
        let mut body = Der(list.take(SEQUENCE)?);
        if !outer.0.is_empty() {
            return None;
        }
        let versioned = body.0.first() == Some(&INTEGER);
        body.take_if(INTEGER);
        body.take(SEQUENCE)?;
        let issuer = name(body.take(SEQUENCE)?)?;
        let (this_update, next_update) = (body.time()?, body.time()?);
        let mut revoked_count = 0;
        if body.0.first() == Some(&SEQUENCE) {
            let mut revoked = Der(body.take(SEQUENCE)?);
            while !revoked.0.is_empty() {
                revoked.take(SEQUENCE)?;
                revoked_count += 1;
            }
        }
        Some(Crl { versioned, issuer, this_update, next_update, revoked_count })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Type, tag of the value, value.
type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// The attributes of a name, in its order.
fn attributes(content: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let (mut list, mut found) = (Der(content), Vec::new());
    while !list.0.is_empty() {
        let mut set = Der(list.take(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Der(set.take(SEQUENCE)?);
            let kind = attribute.take(OID)?;
            let (tag, value, _) = attribute.next()?;
            found.push((kind, tag, value));
        }
    }
    Some(found)
}

fn common_names(subject: &[u8]) -> Option<Names> {
    let mut names = Names::default();
    for (kind, tag, value) in attributes(subject)? {
        if kind == COMMON_NAME {
            names.add(&text(tag, value));
        }
    }
    Some(names)
}

/// A name as RFC 4514 §2.1 writes it: the last part first.
fn name(content: &[u8]) -> Option<String> {
    let mut out = String::new();
    for (kind, tag, value) in attributes(content)?.into_iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        match SHORT.iter().find(|(oid, _)| *oid == kind) {
            Some((_, short)) => out.push_str(short),
            None => out.push_str(&dotted(kind)),
        }
        out.push('=');
        escape(&text(tag, value), &mut out);
    }
    Some(out)
}

const SHORT: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "street"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// An object identifier in numbers (X.690 §8.19).
fn dotted(oid: &[u8]) -> String {
    let (mut parts, mut number) = (Vec::new(), 0_u64);
    for byte in oid {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if parts.is_empty() {
                let first = (number / 40).min(2);
                parts.push(first.to_string());
                number -= first * 40;
            }
            parts.push(number.to_string());
            number = 0;
        }
    }
    parts.join(".")
}

fn text(tag: u8, value: &[u8]) -> String {
    if tag == BMP_STRING {
        let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        return char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')).collect();
    }
    String::from_utf8_lossy(value).into_owned()
}

/// RFC 4514 §2.4; control characters never reach a log or a header field.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, letter) in text.char_indices() {
        let edge = letter == ' ' && (at == 0 || at == last) || letter == '#' && at == 0;
        match letter {
            letter if letter.is_control() => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\{byte:02x}"));
                }
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', letter]),
            letter if edge => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
}
