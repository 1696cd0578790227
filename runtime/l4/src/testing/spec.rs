//! A packet as one would describe it, and its bytes.

use super::ETHERNET_BYTES;
use super::verify::{fill_transport_checksum, internet_checksum};
use crate::value::Address;

/// What an IP packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    /// A segment: flags, and options (padded to words by who writes them).
    Tcp {
        /// Flags, as in the header.
        flags: u8,
        /// Options.
        options: Vec<u8>,
    },
    /// A datagram.
    Udp,
    /// An echo; the identifier is the source port of the question, the destination port of the
    /// answer.
    Echo {
        /// Whether it is the answer.
        answer: bool,
    },
    /// An ICMP message of this type and code; the payload follows the first 8 bytes.
    Icmp {
        /// Type.
        icmp_type: u8,
        /// Code.
        code: u8,
    },
    /// Any other protocol: the payload follows the IP header.
    Other(u8),
}

/// A packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Who sends. Source and destination must be of one family.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Ports in the machine's order.
    pub source_port: u16,
    /// Ports in the machine's order.
    pub destination_port: u16,
    /// What it carries.
    pub carried: Carried,
    /// What that carries.
    pub payload: Vec<u8>,
    /// Time to live, hop limit.
    pub hops: u8,
    /// IPv4: options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6: extension headers, each with its number and its bytes from the third on.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// IPv4: flags and offset of fragments.
    pub fragment: u16,
}

impl Spec {
    /// A packet with nothing special in it.
    pub fn new(source: (Address, u16), destination: (Address, u16), carried: Carried) -> Self {
        Spec {
            source: source.0,
            destination: destination.0,
            source_port: source.1,
            destination_port: destination.1,
            carried,
            payload: b"payload".to_vec(),
            hops: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: 0x4000,
        }
    }

    /// A TCP segment.
    pub fn tcp(source: (Address, u16), destination: (Address, u16), flags: u8) -> Self {
        Spec::new(source, destination, Carried::Tcp { flags, options: Vec::new() })
    }

    /// The frame, with all checksums right.
    pub fn frame(&self) -> Vec<u8> {
        let is_v4 = self.source.is_v4();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(self.ip_packet());
        frame
    }

    /// The IP packet alone.
    pub fn ip_packet(&self) -> Vec<u8> {
        let carried = self.transport();
        let mut packet =
            if self.source.is_v4() { self.v4(carried.len()) } else { self.v6(carried.len()) };
        let transport = packet.len();
        packet.extend(carried);
        if !matches!(self.carried, Carried::Other(_)) {
            let protocol = self.protocol();
            fill_transport_checksum(
                &mut packet[transport..],
                &self.source,
                &self.destination,
                protocol,
            );
        }
        packet
    }

    /// Number of the protocol.
    pub fn protocol(&self) -> u8 {
        match self.carried {
            Carried::Tcp { .. } => 6,
            Carried::Udp => 17,
            Carried::Echo { .. } | Carried::Icmp { .. } => {
                if self.source.is_v4() {
                    1
                } else {
                    58
                }
            }
            Carried::Other(protocol) => protocol,
        }
    }

    fn v4(&self, carried_bytes: usize) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let length = (header_bytes + carried_bytes) as u16;
        let mut header = vec![0x40 | (header_bytes / 4) as u8, 0];
        header.extend(length.to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.hops, self.protocol(), 0, 0]);
        header.extend(&self.source.octets()[12..]);
        header.extend(&self.destination.octets()[12..]);
        header.extend(&self.options);
        let checksum = internet_checksum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn v6(&self, carried_bytes: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (at, (_, body)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(at + 1).map_or(self.protocol(), |(number, _)| *number);
            extensions.push(next);
            // In units of 8 octets, the first not counted; in a fragment header it is reserved.
            extensions.push((body.len().saturating_sub(6) / 8) as u8);
            extensions.extend(body);
        }
        let first = self.extensions.first().map_or(self.protocol(), |(number, _)| *number);
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(((extensions.len() + carried_bytes) as u16).to_be_bytes());
        header.extend([first, self.hops]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(extensions);
        header
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let is_v4 = self.source.is_v4();
        match &self.carried {
            Carried::Tcp { flags, options } => {
                bytes.extend(self.source_port.to_be_bytes());
                bytes.extend(self.destination_port.to_be_bytes());
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
                bytes.extend([(5 + options.len().div_ceil(4) as u8) << 4, *flags]);
                bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.resize(20 + options.len().next_multiple_of(4), 0);
            }
            Carried::Udp => {
                bytes.extend(self.source_port.to_be_bytes());
                bytes.extend(self.destination_port.to_be_bytes());
                bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
            Carried::Echo { answer } => {
                let icmp_type = match (is_v4, answer) {
                    (true, false) => 8,
                    (true, true) => 0,
                    (false, false) => 128,
                    (false, true) => 129,
                };
                let identifier = if *answer { self.destination_port } else { self.source_port };
                bytes.extend([icmp_type, 0, 0, 0]);
                bytes.extend(identifier.to_be_bytes());
                bytes.extend([0, 7]);
            }
            Carried::Icmp { icmp_type, code } => {
                bytes.extend([*icmp_type, *code, 0, 0, 0, 0, 5, 120]);
            }
            Carried::Other(_) => {}
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// A frame that answers another: addresses and ports the other way, an echo's answer to its
/// question, TCP with `flags`. `None` for what has no answer.
pub fn reply_to(frame: &[u8], flags: u8) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let is_v4 = packet.first()? >> 4 == 4;
    let (source, destination, protocol, at) = if is_v4 {
        let address = |at: usize| Some(Address::v4(packet.get(at..at + 4)?.try_into().ok()?));
        (address(12)?, address(16)?, *packet.get(9)?, usize::from(packet[0] & 15) * 4)
    } else {
        let address = |at: usize| Some(Address::v6(packet.get(at..at + 16)?.try_into().ok()?));
        (address(8)?, address(24)?, *packet.get(6)?, 40)
    };
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let (from, to, carried) = match protocol {
        6 => (port(at)?, port(at + 2)?, Carried::Tcp { flags, options: Vec::new() }),
        17 => (port(at)?, port(at + 2)?, Carried::Udp),
        1 | 58 if matches!(packet.get(at)?, 8 | 128) => {
            (port(at + 4)?, 0, Carried::Echo { answer: true })
        }
        _ => return None,
    };
    Some(Spec::new((destination, to), (source, from), carried).frame())
}
