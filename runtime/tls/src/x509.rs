//! As much of X.509 as is shown to people, compared with pins and chosen by.
//!
//! Not for verifying: that is rustls', over webpki. Reading a few fields here keeps an ASN.1
//! library with its derive macros out of the build. RFC 5280 §4.1, in DER (X.690).

use std::net::IpAddr;

use crate::names::Names;

/// The fields of a certificate that are of interest.
pub(crate) struct X509<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: String,
    pub(crate) subject: String,
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

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
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
        let issuer = body.take(SEQUENCE)?;
        let mut validity = Der(body.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = body.take(SEQUENCE)?;
        let public_key = body.whole(SEQUENCE)?;
        let mut found = X509 {
            serial,
            issuer: name(issuer)?,
            subject: name(subject)?,
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

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag, its content, and both with the header.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let input = self.0;
        let (&[tag, first], rest) = input.split_first_chunk::<2>()?;
        // X.690 §8.1.2.4: tags above 30 take more bytes; no certificate has them.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            // Indefinite lengths are BER's alone.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content, &input[..input.len() - rest.len()]))
    }

    fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, ..)| *tag == expected).map(|(_, content, _)| content)
    }

    fn whole(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, ..)| *tag == expected).map(|(.., whole)| whole)
    }

    fn take_if(&mut self, expected: u8) {
        if self.0.first() == Some(&expected) {
            self.next();
        }
    }

    /// RFC 5280 §4.1.2.5: UTC, to the second.
    fn time(&mut self) -> Option<i64> {
        let (tag, text, _) = self.next()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = number(text, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => number(text, 4)?,
            _ => return None,
        };
        let (month, rest) = number(rest, 2)?;
        let (day, rest) = number(rest, 2)?;
        let (hour, rest) = number(rest, 2)?;
        let (minute, rest) = number(rest, 2)?;
        let (second, rest) = number(rest, 2)?;
        let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
        let is_time = hour < 24 && minute < 60 && second <= 60;
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        (rest == b"Z" && is_date && is_time).then_some(seconds)
    }
}

fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let digit =
        |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
    Some((number.iter().try_fold(0, digit)?, rest))
}

/// Days since 1970-01-01. Howard Hinnant, "chrono-compatible low-level date algorithms":
/// days_from_civil.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
