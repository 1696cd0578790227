//! The message itself: RFC 8446 §4.1.2.

use super::{EXTENSIONS_MAX, HelloError};

/// A ClientHello, as far as connections are routed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The host that is asked for, as it was written.
    pub server_name: Option<&'a str>,
    /// The application protocols that are offered.
    pub protocols: Protocols<'a>,
    /// Whether TLS 1.3 is among the versions that are offered.
    pub offers_tls13: bool,
}

/// Names of application protocols, the preferred one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocols<'a>(&'a [u8]);

impl<'a> Iterator for Protocols<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // Lengths were checked when the list was read.
        let (length, rest) = self.0.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(name)
    }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;

pub(super) fn parse(body: &[u8]) -> Result<ClientHello<'_>, HelloError> {
    let mut cursor = Cursor(body);
    // legacy_version and random.
    cursor.take(2 + RANDOM_BYTES)?;
    if cursor.vector8()?.len() > SESSION_ID_BYTES_MAX {
        return Err(HelloError::BadLength);
    }
    let suites = cursor.vector16()?;
    if suites.is_empty() || suites.len() % 2 != 0 || cursor.vector8()?.is_empty() {
        return Err(HelloError::BadLength);
    }
    let mut hello =
        ClientHello { server_name: None, protocols: Protocols::default(), offers_tls13: false };
    // RFC 5246 §7.4.1.2: a hello may end here.
    if cursor.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Cursor(cursor.vector16()?);
    if !cursor.0.is_empty() {
        return Err(HelloError::BadLength);
    }
    let (mut seen, mut count) = ([0_u16; EXTENSIONS_MAX], 0);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.vector16()?;
        // RFC 8446 §4.2: no two extensions of one type.
        if seen[..count].contains(&kind) {
            return Err(HelloError::RepeatedExtension { kind });
        }
        *seen.get_mut(count).ok_or(HelloError::TooManyExtensions { max: EXTENSIONS_MAX })? = kind;
        count += 1;
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(content)?),
            ALPN => hello.protocols = protocols(content)?,
            SUPPORTED_VERSIONS => hello.offers_tls13 = offers_tls13(content)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066 §3: a list with one name of the type host_name, in ASCII, without a final dot, and
/// never an address.
fn server_name(content: &[u8]) -> Result<&str, HelloError> {
    let bad = |_| HelloError::BadServerName;
    let mut outer = Cursor(content);
    let mut list = Cursor(outer.vector16().map_err(bad)?);
    let kind = list.take(1).map_err(bad)?;
    let name = list.vector16().map_err(bad)?;
    if kind != [0] || !list.0.is_empty() || !outer.0.is_empty() {
        return Err(HelloError::BadServerName);
    }
    std::str::from_utf8(name).ok().filter(|name| is_host(name)).ok_or(HelloError::BadServerName)
}

/// RFC 1123 §2.1, and the underscore that is seen in the field. A last label of digits alone would
/// be an address.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 7301 §3.1.
fn protocols(content: &[u8]) -> Result<Protocols<'_>, HelloError> {
    let bad = |_| HelloError::BadProtocols;
    let mut outer = Cursor(content);
    let list = outer.vector16().map_err(bad)?;
    let mut names = Cursor(list);
    while !names.0.is_empty() {
        if names.vector8().map_err(bad)?.is_empty() {
            return Err(HelloError::BadProtocols);
        }
    }
    if list.is_empty() || !outer.0.is_empty() {
        return Err(HelloError::BadProtocols);
    }
    Ok(Protocols(list))
}

/// RFC 8446 §4.2.1.
fn offers_tls13(content: &[u8]) -> Result<bool, HelloError> {
    let mut outer = Cursor(content);
    let versions = outer.vector8()?;
    if !outer.0.is_empty() || versions.is_empty() || versions.len() % 2 != 0 {
        return Err(HelloError::BadLength);
    }
    Ok(versions.chunks_exact(2).any(|version| version == [3, 4]))
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HelloError::BadLength)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with one byte of length.
    fn vector8(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    /// A vector with two bytes of length.
    fn vector16(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.number()?;
        self.take(usize::from(length))
    }
}
