//! Hosts and authorities: what may stand in `Host`, and how it comes apart.

use std::net::Ipv6Addr;

use super::token;

/// An authority without user information: host and, perhaps, port (RFC 3986 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in its brackets.
    pub host: &'a [u8],
    /// The port, if there is one; an empty one (`a:`) counts as none.
    pub port: Option<u16>,
}

/// Takes `authority` apart.
///
/// The answer is `None` for user information, an empty host, a host with a byte that no host
/// has, brackets without an IPv6 address, and a port that is no number below 65,536.
pub fn split(authority: &[u8]) -> Option<Authority<'_>> {
    let host_bytes = match authority {
        [b'[', ..] => {
            let end = memchr::memchr(b']', authority)?;
            let address = std::str::from_utf8(&authority[1..end]).ok()?;
            // Refuses zone identifiers too: they mean nothing outside of one machine.
            address.parse::<Ipv6Addr>().ok()?;
            end + 1
        }
        _ => {
            let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
            if !token::is_host_name(&authority[..end]) {
                return None;
            }
            end
        }
    };
    let (host, rest) = authority.split_at(host_bytes);
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return None,
    };
    Some(Authority { host, port })
}

/// Whether `a` and `b` name the same place, when an absent port means `default`.
pub fn same(a: &[u8], b: &[u8], default: u16) -> bool {
    match (split(a), split(b)) {
        (Some(a), Some(b)) => {
            a.host.eq_ignore_ascii_case(b.host)
                && a.port.unwrap_or(default) == b.port.unwrap_or(default)
        }
        _ => false,
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 {
        return None;
    }
    digits.iter().try_fold(0_u16, |port, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        port.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
    })
}
