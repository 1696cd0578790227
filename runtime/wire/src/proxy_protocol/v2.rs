//! Version 2: the same in binary, with room for more (§2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, HEADER_BYTES_MAX, Header, HeaderError, Parsed, Tlvs, crc32c};

/// What no protocol begins with.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const FIXED_BYTES: usize = 16;
const UNIX_BYTES: usize = 216;

pub(super) fn parse(input: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] != SIGNATURE[..known] {
        return Err(HeaderError::NotAHeader);
    }
    if let Some(&byte) = input.get(12) {
        // §2.2: the upper half is the version, which has to be 2.
        match (byte >> 4, byte & 0xf) {
            (2, 0 | 1) => {}
            (2, command) => return Err(HeaderError::UnknownCommand { command }),
            _ => return Err(HeaderError::NotAHeader),
        }
    }
    if let Some(&family) = input.get(13)
        && addresses_bytes(family).is_none()
    {
        return Err(HeaderError::UnknownFamily { family });
    }
    let Some((fixed, rest)) = input.split_at_checked(FIXED_BYTES) else {
        return Ok(Parsed::Partial { more: FIXED_BYTES - input.len() });
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        let (length, max) = (FIXED_BYTES + length, HEADER_BYTES_MAX);
        return Err(HeaderError::TooLarge { length, max });
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Parsed::Partial { more: length - rest.len() });
    };
    let (local, family) = (fixed[12] & 0xf == 0, fixed[13]);
    // §2.2: of a connection of the proxy's own the whole block is ignored.
    if local {
        let header = Header { bytes: FIXED_BYTES + length, addresses: None, tlvs: Tlvs::default() };
        return Ok(Parsed::Complete(header));
    }
    let bytes = addresses_bytes(family).unwrap_or(0);
    let (ends, fields) = block.split_at_checked(bytes).ok_or(HeaderError::BadLength)?;
    let tlvs = Tlvs::read(fields)?;
    if let Some(at) = tlvs.checksum_at() {
        let at = FIXED_BYTES + bytes + at;
        crc32c::verify(&input[..FIXED_BYTES + length], at)?;
    }
    let header = Header { bytes: FIXED_BYTES + length, addresses: addresses(ends), tlvs };
    Ok(Parsed::Complete(header))
}

/// Bytes of both addresses of a family and transport; None where there are no such.
fn addresses_bytes(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(UNIX_BYTES),
        // §2.2: receivers must drop connections with unexpected values.
        _ => None,
    }
}

fn addresses(ends: &[u8]) -> Option<Addresses> {
    let port = |at: usize| Some(u16::from_be_bytes(ends.get(at..at + 2)?.try_into().ok()?));
    let (source, destination, ports): (IpAddr, IpAddr, usize) = match ends.len() {
        12 => {
            let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(&ends[at..at + 4]).ok()?));
            (ip(0)?.into(), ip(4)?.into(), 8)
        }
        36 => {
            let ip =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(&ends[at..at + 16]).ok()?));
            (ip(0)?.into(), ip(16)?.into(), 32)
        }
        _ => return None,
    };
    Some(Addresses {
        source: SocketAddr::new(source, port(ports)?),
        destination: SocketAddr::new(destination, port(ports + 2)?),
    })
}
