//! Headers to send.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::Addresses;
use super::v2::SIGNATURE;

/// Appends a line of version 1 (§2.1); without addresses it says that they are not known.
pub fn write_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    // Writing to memory can't fail, here and below.
    let _ = match addresses.map(of_one_family) {
        None => write!(out, "PROXY UNKNOWN\r\n"),
        Some(Addresses { source, destination }) => {
            let family = if source.is_ipv4() { 4 } else { 6 };
            let (from, to) = (source.port(), destination.port());
            let (source, destination) = (source.ip(), destination.ip());
            write!(out, "PROXY TCP{family} {source} {destination} {from} {to}\r\n")
        }
    };
}

/// Appends a header of version 2 (§2.2) for a TCP connection; without addresses it says that they
/// are not known.
pub fn write_v2(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    match addresses {
        Some(addresses) => write_block(addresses, STREAM, out),
        None => {
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(&[PROXY, 0x00, 0, 0]);
        }
    }
}

/// Appends a header of version 2 (§2.2) for a datagram of UDP.
pub fn write_v2_for_datagrams(addresses: Addresses, out: &mut Vec<u8>) {
    write_block(addresses, DATAGRAM, out);
}

fn write_block(addresses: Addresses, transport: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Addresses { source, destination } = of_one_family(addresses);
    match source.is_ipv4() {
        true => out.extend_from_slice(&[PROXY, 0x10 | transport, 0, 12]),
        false => out.extend_from_slice(&[PROXY, 0x20 | transport, 0, 36]),
    }
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for end in [source, destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
}

/// Both IPv4, or both IPv6: where they are not, IPv4 is written as IPv6.
fn of_one_family(Addresses { source, destination }: Addresses) -> Addresses {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return Addresses { source, destination };
    }
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    Addresses { source: wide(source), destination: wide(destination) }
}

/// Version 2, and the connection is somebody else's.
const PROXY: u8 = 0x21;
/// The lower half of the byte of family and transport.
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;
