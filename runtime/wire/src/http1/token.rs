//! Which bytes may stand where: tokens, field values, request targets, hosts.
//!
//! One table of 256 bytes, one bit per class, so that a check is a load and a mask per byte.

/// Whether `bytes` is a token: a field name, a method, a connection option (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether `bytes` may be a field value: no control but the tab (RFC 9110 §5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

/// Whether `bytes` may be (part of) a request target: visible ASCII without `#`.
///
/// Wider than RFC 3986 (browsers send `|`, `{`, `"` raw in queries), but nothing in it can end
/// a target or a line, and a fragment, which one recipient would cut off and the next would not,
/// is refused.
pub fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TARGET)
}

/// Whether `bytes` may be a registered name or an IPv4 address in an authority.
///
/// RFC 3986 §3.2.2 without percent-encoding and without the comma, which would let two merged
/// `Host` fields pass for one.
pub fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, HOST)
}

/// `bytes` without the blanks and tabs around them (the OWS of RFC 9110 §5.6.3).
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, empty ones skipped (RFC 9110 §5.6.1.2).
///
/// Knows no quoted strings: for lists of tokens and numbers.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| CLASSES[byte as usize] & class != 0)
}

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST;
        }
        if matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+') {
            class |= TOKEN;
        }
        if matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~') {
            class |= TOKEN;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'') {
            class |= HOST;
        }
        if matches!(byte, b'(' | b')' | b'*' | b'+' | b';' | b'=') {
            class |= HOST;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            class |= VALUE;
        }
        if byte.is_ascii_graphic() && byte != b'#' {
            class |= TARGET;
        }
        table[index] = class;
        index += 1;
    }
    table
}
