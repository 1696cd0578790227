//! Version 1: a line for people (§2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, HeaderError, Parsed, Tlvs};

/// `PROXY UNKNOWN` and the line's end.
pub(super) const BYTES_MIN: usize = 15;
/// §2.1: the longest line, its end included.
const BYTES_MAX: usize = 107;
const START: &[u8] = b"PROXY ";

pub(super) fn parse(input: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    let known = input.len().min(START.len());
    if input[..known] != START[..known] {
        return Err(HeaderError::NotAHeader);
    }
    let window = &input[..input.len().min(BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return match input.len() {
            BYTES_MAX.. => Err(HeaderError::LineTooLong),
            length => Ok(Parsed::Partial { more: BYTES_MIN.saturating_sub(length).max(1) }),
        };
    };
    // §2.1: the line ends in CRLF, and nothing else ends it.
    match window.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if window[end] == b'\r' && input.len() < BYTES_MAX => {
            return Ok(Parsed::Partial { more: 1 });
        }
        Some(_) | None => return Err(HeaderError::BadLine),
    }
    let line = std::str::from_utf8(&window[..end]).map_err(|_| HeaderError::BadLine)?;
    let addresses = addresses(line)?;
    Ok(Parsed::Complete(Header { bytes: end + 2, addresses, tlvs: Tlvs::default() }))
}

/// One space between two fields, and as many fields as there have to be.
fn addresses(line: &str) -> Result<Option<Addresses>, HeaderError> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next();
    // §2.1: behind UNKNOWN anything may stand up to the line's end, and is ignored.
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(HeaderError::BadLine);
    };
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let address = |text, number| Some(SocketAddr::new(ip(text)?, port(number)?));
    let pair = address(source, from).zip(address(destination, to));
    let (source, destination) = pair.ok_or(HeaderError::BadLine)?;
    Ok(Some(Addresses { source, destination }))
}

/// §2.1: a decimal number without leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}
