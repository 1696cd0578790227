//! Numbers and addresses as bytes, without `core::fmt`, which costs 10 to 20 ns for each.
//!
//! Each function appends a block of fixed size and takes back what was too much: a copy whose
//! length the compiler knows is two instructions, any other is a call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::record::Peer;

/// Appends `number` without leading zeros.
#[inline]
pub(super) fn decimal(out: &mut Vec<u8>, number: u64) {
    if number < BLOCK {
        let digits = eight_digits(number);
        // The last digit is written even where it is zero.
        let zeros = (digits.trailing_zeros() / 8).min(7);
        let ascii = (digits | ASCII_ZEROS) >> (8 * zeros);
        block(out, ascii.to_le_bytes(), 8 - zeros as usize);
    } else {
        decimal(out, number / BLOCK);
        out.extend_from_slice(&padded(number % BLOCK));
    }
}

/// The eight digits of `number`, which has no more.
#[inline]
pub(super) fn padded(number: u64) -> [u8; 8] {
    (eight_digits(number) | ASCII_ZEROS).to_le_bytes()
}

/// Appends `year` with at least four digits.
#[inline]
pub(super) fn year(out: &mut Vec<u8>, year: u64) {
    if year < 10_000 {
        let [.., a, b, c, d] = padded(year);
        out.extend_from_slice(&[a, b, c, d]);
    } else {
        decimal(out, year);
    }
}

/// The two digits of `number`, which has no more.
#[inline]
pub(super) fn two_digits(number: u64) -> [u8; 2] {
    debug_assert!(number < 100, "{number} has more than two digits");
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// A digit in each byte, the first in the lowest: Khuong, "How to print integers really fast",
/// which halves the number of digits in a lane three times.
#[inline]
fn eight_digits(number: u64) -> u64 {
    debug_assert!(number < BLOCK, "{number} has more than eight digits");
    let fours = (number / 10_000) | (number % 10_000) << 32;
    // 10,486 / 2^20 is 1 / 100 for all of four digits, 103 / 2^10 is 1 / 10 for all of two.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = ((fours - 100 * hundreds) << 16) + hundreds;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    ((twos - 10 * tens) << 8) + tens
}

/// Appends the address and, for IP, the port.
#[inline]
pub(super) fn peer(out: &mut Vec<u8>, peer: Peer) {
    match peer {
        Peer::None => out.push(b'-'),
        Peer::Ip(IpAddr::V4(ip), port) => {
            v4(out, ip);
            out.push(b':');
            decimal(out, port.into());
        }
        Peer::Ip(IpAddr::V6(ip), port) => {
            out.push(b'[');
            v6(out, ip);
            out.extend_from_slice(b"]:");
            decimal(out, port.into());
        }
        Peer::Unix => out.extend_from_slice(b"unix:"),
    }
}

/// Appends the address.
pub(super) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => v4(out, ip),
        IpAddr::V6(ip) => v6(out, ip),
    }
}

#[inline]
fn v4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    for octet in ip.octets() {
        let (text, len) = OCTETS[usize::from(octet)];
        block(out, text, len.into());
    }
    out.pop();
}

/// RFC 5952 §4: groups without leading zeros, and the first of the longest runs of two or more
/// zero groups left out; §5: an IPv4 address that is mapped, with dots.
fn v6(out: &mut Vec<u8>, ip: Ipv6Addr) {
    if let Some(mapped) = ip.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return v4(out, mapped);
    }
    let groups = ip.segments();
    let (mut gap, mut run) = (0..0, 0..0);
    for (place, &group) in groups.iter().enumerate() {
        run = if group == 0 { run.start..place + 1 } else { place + 1..place + 1 };
        if run.len() > gap.len() {
            gap = run.clone();
        }
    }
    if gap.len() < 2 {
        gap = 8..8;
    }
    for (place, &group) in groups.iter().enumerate() {
        if gap.contains(&place) {
            if place == gap.start {
                out.extend_from_slice(if place == 0 { b"::" } else { b":" });
            }
            continue;
        }
        let zeros = (group.leading_zeros() / 4).min(3);
        let nibbles = |shift: u16| HEX[usize::from(group >> shift & 15)];
        let digits = u32::from_le_bytes([nibbles(12), nibbles(8), nibbles(4), nibbles(0)]);
        block(out, (digits >> (8 * zeros)).to_le_bytes(), 4 - zeros as usize);
        if place < 7 {
            out.push(b':');
        }
    }
}

/// Appends two digits for each byte.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Appends the first `len` of `bytes`.
#[inline]
fn block<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N], len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// What has at most eight digits is below.
const BLOCK: u64 = 100_000_000;
const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Each octet with the dot behind it, and its length: 1280 bytes.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut place = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        let mut len = 0;
        while place < 3 {
            all[octet].0[len] = b'0' + digits[place] as u8;
            len += 1;
            place += 1;
        }
        all[octet].1 = len as u8 + 1;
        octet += 1;
    }
    all
};
