//! What requests are counted by.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use penstock::Request;

/// The parts of a key; requests that agree in all of them share a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Ip,
    Path,
    Method,
    Host,
    Header(String),
    Cookie(String),
}

impl Key {
    /// Reads the parts as the operator writes them; an error is the index of the one that is none.
    pub(crate) fn parse(parts: &[String]) -> Result<Self, usize> {
        let read = |part: &String| match part.split_once(':') {
            None => match part.as_str() {
                "ip" => Some(Part::Ip),
                "path" => Some(Part::Path),
                "method" => Some(Part::Method),
                "host" => Some(Part::Host),
                _ => None,
            },
            Some(("header", name)) if !name.is_empty() => {
                Some(Part::Header(name.to_ascii_lowercase()))
            }
            Some(("cookie", name)) if !name.is_empty() => Some(Part::Cookie(name.to_owned())),
            Some(_) => None,
        };
        let parts = parts.iter().enumerate().map(|(index, part)| read(part).ok_or(index));
        Ok(Self { parts: parts.collect::<Result<_, _>>()? })
    }

    /// The hash of a request's key. What a request lacks counts as empty: those who leave it out
    /// share one bucket instead of having none.
    pub(crate) fn of<S>(&self, request: &Request<'_, S>, seed: u64) -> u64 {
        // SipHash with the seed in front: nobody who does not know it can aim at a bucket.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        for part in &self.parts {
            let mut write = |bytes: Option<&[u8]>| {
                let bytes = bytes.unwrap_or_default();
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            };
            match part {
                Part::Ip => {
                    write(request.source_ip().map(prefix).as_ref().map(<[u8; 16]>::as_slice))
                }
                Part::Path => write(request.path_only().map(str::as_bytes)),
                Part::Method => write(request.method().map(str::as_bytes)),
                Part::Host => write(request.authority().map(str::as_bytes)),
                Part::Header(name) => write(request.header_bytes(name)),
                Part::Cookie(name) => write(request.cookie(name).map(str::as_bytes)),
            }
        }
        hasher.finish()
    }
}

/// The address as far as it names a caller: an IPv4 address, or an IPv6 network of 64 bits, in
/// which one caller has as many addresses as it likes (RFC 6177).
fn prefix(ip: IpAddr) -> [u8; 16] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[8..].fill(0);
            octets
        }
    }
}
