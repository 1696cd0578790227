//! From bytes to a flow's key: Ethernet, IPv4, IPv6, TCP, UDP, ICMP.
//!
//! What a header claims is checked against what has arrived, and each contradiction has its
//! [`Cause`]. Whether the packet concerns us is not decided here.

use crate::checksum::Sum;
use crate::conntrack::Tick;
use crate::packet::{Fields, Packet};
use crate::value::{Address, FlowKey};
use crate::word::forget;
use crate::{Cause, Verdict};

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    /// An ICMP echo, either way.
    Echo,
    /// An ICMP error: it quotes the packet that it is about.
    IcmpError,
    /// A fragment: the key has no ports.
    Fragment,
    /// Anything else that runs over IP: the key has no ports.
    Other,
}

/// A packet that was looked through. Offsets are from the head of the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) key: FlowKey,
    pub(crate) kind: Kind,
    pub(crate) is_v4: bool,
    /// TCP flags.
    pub(crate) flags: u8,
    /// Type of service, traffic class.
    pub(crate) class: u8,
    /// Where the transport's header begins.
    pub(crate) transport: usize,
    /// Bytes of the IP packet, without what follows it in the frame.
    pub(crate) length: usize,
    /// Where the header of the transport begins that an ICMP error quotes, once it was looked at.
    pub(crate) quote: usize,
}

impl View {
    /// Lets the verifier forget by which way the packet was looked through.
    #[inline(always)]
    pub(crate) fn forget(&mut self, now: Tick) {
        let salt = u64::from(now.0);
        self.transport = forget(self.transport as u64, salt) as usize;
        self.length = forget(self.length as u64, salt) as usize;
        self.flags = forget(u64::from(self.flags), salt) as u8;
        self.is_v4 = forget(u64::from(self.is_v4), salt) != 0;
        self.kind = Kind::of(forget(self.kind as u64, salt));
    }
}

impl Kind {
    /// The kind of this number.
    #[inline(always)]
    fn of(number: u64) -> Self {
        match number {
            0 => Kind::Tcp,
            1 => Kind::Udp,
            2 => Kind::Echo,
            3 => Kind::IcmpError,
            4 => Kind::Fragment,
            _ => Kind::Other,
        }
    }
}

/// Protocols by number (IANA).
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IPIP: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DESTINATION: u8 = 60;
}

/// TCP flags (RFC 9293 §3.1).
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;
}

pub(crate) const ETHERTYPE_V4: u16 = 0x0800;
pub(crate) const ETHERTYPE_V6: u16 = 0x86dd;

/// Extension headers that are looked through. Real packets have none or one.
const EXTENSIONS_MAX: usize = 4;
/// An IPv4 header has up to 40 bytes of options: ten words.
const OPTION_WORDS_MAX: usize = 10;

/// Looks a packet through, or says what becomes of it.
#[inline(always)]
pub(crate) fn parse<P: Packet>(packet: &P, now: Tick) -> Result<View, Verdict> {
    let mut view = if is_v4::<P>(packet)? { parse_v4(packet)? } else { parse_v6(packet)? };
    let salt = u64::from(now.0);
    view.transport = forget(view.transport as u64, salt) as usize;
    if view.kind != Kind::Fragment {
        parse_transport(packet, &mut view)?;
    }
    view.forget(now);
    Ok(view)
}

/// Which kind of packet the link header announces.
#[inline(always)]
pub(crate) fn is_v4<P: Packet>(packet: &P) -> Result<bool, Verdict> {
    if P::LINK_BYTES == 0 {
        return match packet.bytes::<1>(0).map(|first| first[0] >> 4) {
            Some(4) => Ok(true),
            Some(6) => Ok(false),
            _ => Err(Verdict::Pass(Cause::NotIp)),
        };
    }
    let Some(ethernet) = packet.bytes::<14>(0) else { return Err(Verdict::Pass(Cause::NotIp)) };
    if ethernet.u8::<0>() & 1 != 0 {
        return Err(Verdict::Pass(Cause::GroupFrame));
    }
    match u16::from_be(ethernet.u16::<12>()) {
        ETHERTYPE_V4 => Ok(true),
        ETHERTYPE_V6 => Ok(false),
        // IEEE 802.1Q, 802.1ad, and what was used before it.
        0x8100 | 0x88a8 | 0x9100 => Err(Verdict::Pass(Cause::Vlan)),
        _ => Err(Verdict::Pass(Cause::NotIp)),
    }
}

#[inline(always)]
fn parse_v4<P: Packet>(packet: &P) -> Result<View, Verdict> {
    let Some(header) = packet.bytes::<20>(P::LINK_BYTES) else {
        return Err(Verdict::Drop(Cause::HeaderTruncated));
    };
    let header_length = usize::from(header.u8::<0>() & 0xf) * 4;
    // RFC 791 §3.1: the minimum value of the header length is 5 words.
    if header.u8::<0>() >> 4 != 4 || header_length < 20 {
        return Err(Verdict::Drop(Cause::HeaderMalformed));
    }
    let length = usize::from(u16::from_be(header.u16::<2>()));
    if length < header_length || P::LINK_BYTES + length > packet.length() {
        return Err(Verdict::Drop(Cause::LengthLies));
    }
    let mut sum = Sum::ZERO
        .u32(header.u32::<0>())
        .u32(header.u32::<4>())
        .u32(header.u32::<8>())
        .u32(header.u32::<12>())
        .u32(header.u32::<16>());
    let mut view = View {
        key: FlowKey {
            source: v4_address(header.u32::<12>()),
            destination: v4_address(header.u32::<16>()),
            source_port: 0,
            destination_port: 0,
            protocol: header.u8::<9>(),
            zero: [0; 3],
        },
        kind: Kind::Other,
        is_v4: true,
        flags: 0,
        class: header.u8::<1>(),
        transport: P::LINK_BYTES + header_length,
        length,
        quote: 0,
    };
    let fragment = u16::from_be(header.u16::<6>());
    if header_length > 20 {
        for word in 0..OPTION_WORDS_MAX {
            let at = 20 + 4 * word;
            if at >= header_length {
                break;
            }
            let Some(option) = packet.bytes::<4>(P::LINK_BYTES + at) else {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            };
            sum = sum.u32(option.u32::<0>());
        }
    }
    // RFC 1122 §3.2.1.2: a host MUST verify the checksum and discard silently what fails.
    if sum.checksum() != 0 {
        return Err(Verdict::Drop(Cause::HeaderChecksum));
    }
    // More fragments follow, or this is not the first.
    if fragment & 0x3fff != 0 {
        view.kind = Kind::Fragment;
    }
    Ok(view)
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P) -> Result<View, Verdict> {
    let Some(header) = packet.bytes::<40>(P::LINK_BYTES) else {
        return Err(Verdict::Drop(Cause::HeaderTruncated));
    };
    if header.u8::<0>() >> 4 != 6 {
        return Err(Verdict::Drop(Cause::HeaderMalformed));
    }
    let length = 40 + usize::from(u16::from_be(header.u16::<4>()));
    if P::LINK_BYTES + length > packet.length() {
        return Err(Verdict::Drop(Cause::LengthLies));
    }
    let mut view = View {
        key: FlowKey {
            source: Address::from_words([header.u64::<8>(), header.u64::<16>()]),
            destination: Address::from_words([header.u64::<24>(), header.u64::<32>()]),
            source_port: 0,
            destination_port: 0,
            protocol: header.u8::<6>(),
            zero: [0; 3],
        },
        kind: Kind::Other,
        is_v4: false,
        flags: 0,
        class: (u16::from_be(header.u16::<0>()) >> 4) as u8,
        transport: P::LINK_BYTES + 40,
        length,
        quote: 0,
    };
    // RFC 6890: never on the wire. Here it would be taken for the IPv4 address that it stands for.
    if view.key.source.is_v4() || view.key.destination.is_v4() {
        return Err(Verdict::Drop(Cause::Martian));
    }
    for _ in 0..EXTENSIONS_MAX {
        match view.key.protocol {
            protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::FRAGMENT => {}
            // Its destination may be a stop on the way only (RFC 8200 §4.4).
            protocol::ROUTING => return Err(Verdict::Pass(Cause::ExtensionHeaders)),
            _ => return Ok(view),
        }
        let Some(extension) = packet.bytes::<8>(view.transport) else {
            return Err(Verdict::Drop(Cause::HeaderTruncated));
        };
        if view.key.protocol == protocol::FRAGMENT {
            // RFC 6946: with neither an offset nor more to come it is a whole packet.
            if u16::from_be(extension.u16::<2>()) & 0xfff9 != 0 {
                view.kind = Kind::Fragment;
                return Ok(view);
            }
            view.transport += 8;
        } else {
            // RFC 8200 §4.3: in units of 8 octets, the first not counted.
            view.transport += (usize::from(extension.u8::<1>()) + 1) * 8;
        }
        view.key.protocol = extension.u8::<0>();
    }
    match view.key.protocol {
        protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::FRAGMENT | protocol::ROUTING => {
            Err(Verdict::Pass(Cause::ExtensionHeaders))
        }
        _ => Ok(view),
    }
}

/// Ports and flags of what the packet carries.
#[inline(always)]
fn parse_transport<P: Packet>(packet: &P, view: &mut View) -> Result<(), Verdict> {
    let end = P::LINK_BYTES + view.length;
    match view.key.protocol {
        protocol::TCP => {
            let Some(header) = packet.bytes::<20>(view.transport) else {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            };
            let header_length = usize::from(header.u8::<12>() >> 4) * 4;
            // RFC 9293 §3.1: the data offset counts the header itself.
            if header_length < 20 {
                return Err(Verdict::Drop(Cause::HeaderMalformed));
            }
            if view.transport + header_length > end {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            }
            view.kind = Kind::Tcp;
            view.flags = header.u8::<13>();
            view.key.source_port = header.u16::<0>();
            view.key.destination_port = header.u16::<2>();
        }
        protocol::UDP => {
            let Some(header) = packet.bytes::<8>(view.transport) else {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            };
            let length = usize::from(u16::from_be(header.u16::<4>()));
            // RFC 768: the length includes the header.
            if length < 8 || view.transport + length > end {
                return Err(Verdict::Drop(Cause::LengthLies));
            }
            view.kind = Kind::Udp;
            view.key.source_port = header.u16::<0>();
            view.key.destination_port = header.u16::<2>();
        }
        protocol::ICMP | protocol::ICMPV6 => {
            // One of the other family runs over nothing.
            if view.is_v4 != (view.key.protocol == protocol::ICMP) {
                return Ok(());
            }
            let Some(header) = packet.bytes::<8>(view.transport) else {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            };
            if view.transport + 8 > end {
                return Err(Verdict::Drop(Cause::HeaderTruncated));
            }
            view.kind = icmp_kind(view.is_v4, header.u8::<0>());
            if view.kind == Kind::Echo {
                (view.key.source_port, view.key.destination_port) =
                    echo_ports(view.is_v4, header.u8::<0>(), header.u16::<4>());
            }
        }
        _ => {}
    }
    Ok(())
}

#[inline(always)]
fn icmp_kind(is_v4: bool, icmp_type: u8) -> Kind {
    match (is_v4, icmp_type) {
        (true, 0 | 8) | (false, 128 | 129) => Kind::Echo,
        // Unreachable, time exceeded, parameter problem (RFC 792).
        (true, 3 | 11 | 12) => Kind::IcmpError,
        // Unreachable, too big, time exceeded, parameter problem (RFC 4443 §3).
        (false, 1..=4) => Kind::IcmpError,
        _ => Kind::Other,
    }
}

/// An echo's identifier is the port of who asks.
#[inline(always)]
pub(crate) fn echo_ports(is_v4: bool, icmp_type: u8, identifier: u16) -> (u16, u16) {
    let asks = icmp_type == if is_v4 { 8 } else { 128 };
    if asks { (identifier, 0) } else { (0, identifier) }
}

#[inline(always)]
pub(crate) fn v4_address(word: u32) -> Address {
    let [a, b, c, d] = word.to_ne_bytes();
    Address::v4([a, b, c, d])
}
