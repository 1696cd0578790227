//! Whether a frame is what a receiver would take: lengths and every checksum, from scratch.

use super::ETHERNET_BYTES;
use crate::value::Address;

/// The checksum of RFC 1071 over parts of even length but the last.
pub(super) fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

fn pseudo_header(source: &Address, destination: &Address, protocol: u8, length: usize) -> Vec<u8> {
    let skip = if source.is_v4() { 12 } else { 0 };
    let mut bytes = source.octets()[skip..].to_vec();
    bytes.extend(&destination.octets()[skip..]);
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, protocol]);
    bytes
}

/// The complement of the sum of a pseudo-header alone.
pub(super) fn pseudo_checksum(outer: &Outer) -> u16 {
    let Outer { source, destination, protocol, carried } = outer;
    internet_checksum(&[&pseudo_header(source, destination, *protocol, carried.len())])
}

fn checksum_place(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    }
}

/// Writes the transport's checksum.
pub(super) fn fill_transport_checksum(
    transport: &mut [u8],
    source: &Address,
    destination: &Address,
    protocol: u8,
) {
    let at = checksum_place(protocol).expect("a protocol with a checksum");
    let pseudo = pseudo_header(source, destination, protocol, transport.len());
    let pseudo: &[u8] = if protocol == 1 { &[] } else { &pseudo };
    let mut checksum = internet_checksum(&[pseudo, transport]);
    if protocol == 17 && checksum == 0 {
        checksum = 0xffff;
    }
    transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Makes the checksum of a frame's IPv4 header right, if it has one.
pub fn repair_v4_header(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ETHERNET_BYTES..) else { return };
    let length = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    if let Some(header) = packet.get_mut(..length)
        && is_v4
        && length >= 20
    {
        header[10..12].fill(0);
        let checksum = internet_checksum(&[header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether a transport's checksum is right; what has none is right.
pub fn transport_checksum_holds(
    transport: &[u8],
    source: &Address,
    destination: &Address,
    protocol: u8,
) -> bool {
    let Some(at) = checksum_place(protocol) else { return true };
    let Some(field) = transport.get(at..at + 2) else { return false };
    if protocol == 17 && field == [0, 0] {
        return true;
    }
    let pseudo = pseudo_header(source, destination, protocol, transport.len());
    let pseudo: &[u8] = if protocol == 1 { &[] } else { &pseudo };
    internet_checksum(&[pseudo, transport]) == 0
}

/// What stands around a packet that was taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outer {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// What it carries, by number.
    pub protocol: u8,
    /// The packet inside, for GRE, IP in IP and GUE; else the transport with all that follows.
    pub carried: Vec<u8>,
}

/// Takes the outermost header of an IP packet away, and what belongs to an encapsulation.
///
/// # Errors
/// Says what is wrong with it: length, header checksum, encapsulation.
pub fn inside(packet: &[u8]) -> Result<Outer, String> {
    let first = *packet.first().ok_or("empty")?;
    let (source, destination, protocol, carried) = if first >> 4 == 4 {
        let length = usize::from(first & 15) * 4;
        let header = packet.get(..length).filter(|_| length >= 20).ok_or("cut header")?;
        if internet_checksum(&[header]) != 0 {
            return Err("header checksum".into());
        }
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let body = packet.get(header.len()..length).ok_or("total length")?;
        let address = |at: usize| Address::v4(packet[at..at + 4].try_into().expect("four"));
        (address(12), address(16), packet[9], body)
    } else {
        let header = packet.get(..40).ok_or("cut header")?;
        let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (mut next, mut body) = (header[6], packet.get(40..length).ok_or("payload length")?);
        while matches!(next, 0 | 44 | 60) {
            let [following, units, ..] = body else { return Err("cut extension".into()) };
            let bytes = if next == 44 { 8 } else { (usize::from(*units) + 1) * 8 };
            next = *following;
            body = body.get(bytes..).ok_or("cut extension")?;
        }
        let address = |at: usize| Address::v6(packet[at..at + 16].try_into().expect("sixteen"));
        (address(8), address(24), next, body)
    };
    let carried = match (protocol, carried) {
        (47, [0, 0, 0x08, 0x00, rest @ ..] | [0, 0, 0x86, 0xdd, rest @ ..]) => rest,
        (47, _) => return Err("GRE header".into()),
        // GUE has its port to itself.
        (17, [_, _, 0x17, 0xc0, high, low, 0, 0, 0, 4 | 41, 0, 0, rest @ ..]) => {
            if usize::from(u16::from_be_bytes([*high, *low])) != carried.len() {
                return Err("UDP length of GUE".into());
            }
            rest
        }
        (_, rest) => rest,
    };
    Ok(Outer { source, destination, protocol, carried: carried.to_vec() })
}

/// Verifies a frame that is to be sent: lengths, header checksums of all layers, the checksum of
/// the innermost transport.
///
/// # Errors
/// Says what is wrong with it.
pub fn verify(frame: &[u8]) -> Result<(), String> {
    let packet = frame.get(ETHERNET_BYTES..).ok_or("no frame")?;
    let ethertype = [frame[12], frame[13]];
    let expected = if packet.first().is_some_and(|first| first >> 4 == 4) {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    };
    if ethertype != expected {
        return Err("Ethertype".into());
    }
    verify_ip(packet)
}

fn verify_ip(packet: &[u8]) -> Result<(), String> {
    let outer = inside(packet)?;
    let gue = outer.protocol == 17 && packet_is_gue(packet);
    if matches!(outer.protocol, 4 | 41 | 47) || gue {
        return verify_ip(&outer.carried);
    }
    if !transport_checksum_holds(&outer.carried, &outer.source, &outer.destination, outer.protocol)
    {
        return Err(format!("checksum of protocol {}", outer.protocol));
    }
    Ok(())
}

/// Whether an IP packet without options is a UDP datagram for the port of GUE.
fn packet_is_gue(packet: &[u8]) -> bool {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet.get(at + 2..at + 4) == Some(&[0x17, 0xc0])
}
