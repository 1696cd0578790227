//! ICMP errors: those for our flows go where the flow goes, and one kind is ours to send.
//!
//! An error quotes the packet that it is about. That one went the other way, so its key reversed is
//! the key of the flow in the direction that the error travels.

use core::cell::Cell;

use crate::checksum::{Sum, pseudo, updated};
use crate::conntrack::field;
use crate::link::Way;
use crate::packet::{Fields, Packet};
use crate::parse::{ETHERTYPE_V4, ETHERTYPE_V6, Kind, View, echo_ports, protocol, v4_address};
use crate::value::{Address, Backend, Flow, FlowKey};
use crate::{Cause, Verdict, nat};

/// Gives an ICMP error the key of the flow that it is about, in the direction that it travels in.
/// False when it is about nothing that could be ours.
#[inline(never)]
pub(crate) fn look_inside<P: Packet>(packet: &P, view: &mut View) -> bool {
    let quote = if view.is_v4 { quote_v4(packet, view) } else { quote_v6(packet, view) };
    match quote {
        // An error goes to who sent the packet that it is about; all others are not about ours.
        Some((sent, at)) if sent.source == view.key.destination => {
            (view.key, view.quote) = (sent.reversed(), at);
            true
        }
        _ => false,
    }
}

#[inline(always)]
fn quote_v4<P: Packet>(packet: &P, view: &View) -> Option<(FlowKey, usize)> {
    let at = view.transport + 8;
    let header = packet.bytes::<20>(at)?;
    let header_length = usize::from(header.u8::<0>() & 0xf) * 4;
    let fragment = u16::from_be(header.u16::<6>()) & 0x1fff;
    if header.u8::<0>() >> 4 != 4 || header_length < 20 || fragment != 0 {
        return None;
    }
    let sent = FlowKey {
        source: v4_address(header.u32::<12>()),
        destination: v4_address(header.u32::<16>()),
        source_port: 0,
        destination_port: 0,
        protocol: header.u8::<9>(),
        zero: [0; 3],
    };
    quote_transport(packet, view, sent, at + header_length)
}

#[inline(always)]
fn quote_v6<P: Packet>(packet: &P, view: &View) -> Option<(FlowKey, usize)> {
    let at = view.transport + 8;
    let header = packet.bytes::<40>(at)?;
    if header.u8::<0>() >> 4 != 6 {
        return None;
    }
    // What we and backends send has no extension headers; with one it is not about a flow.
    let sent = FlowKey {
        source: Address::from_words([header.u64::<8>(), header.u64::<16>()]),
        destination: Address::from_words([header.u64::<24>(), header.u64::<32>()]),
        source_port: 0,
        destination_port: 0,
        protocol: header.u8::<6>(),
        zero: [0; 3],
    };
    quote_transport(packet, view, sent, at + 40)
}

/// RFC 792: at least 8 bytes of what the quoted packet carried.
#[inline(always)]
fn quote_transport<P: Packet>(
    packet: &P,
    view: &View,
    mut sent: FlowKey,
    transport: usize,
) -> Option<(FlowKey, usize)> {
    let header = packet.bytes::<8>(transport)?;
    if transport + 8 > P::LINK_BYTES + view.length {
        return None;
    }
    let icmp = if view.is_v4 { protocol::ICMP } else { protocol::ICMPV6 };
    if sent.protocol == protocol::TCP || sent.protocol == protocol::UDP {
        (sent.source_port, sent.destination_port) = (header.u16::<0>(), header.u16::<2>());
    } else if sent.protocol == icmp {
        let echoes = if view.is_v4 { [0, 8] } else { [128, 129] };
        if !echoes.contains(&header.u8::<0>()) {
            return None;
        }
        (sent.source_port, sent.destination_port) =
            echo_ports(view.is_v4, header.u8::<0>(), header.u16::<4>());
    } else {
        return None;
    }
    Some((sent, transport))
}

/// `nat`: rewrites both the error and the packet that it quotes (RFC 5508 §4.2, RFC 3022 §4.3).
#[inline(never)]
pub(crate) fn translate<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    backend: &Backend,
) -> Verdict {
    // Who sends the error is some router on the way, not the other end of the flow.
    let Some(source) = sender(packet, view) else {
        return Verdict::Drop(Cause::HeaderTruncated);
    };
    let addresses = Sum::ZERO
        .replace_address(&source, &field!(flow, source), view.is_v4)
        .replace_address(&view.key.destination, &field!(flow, destination), view.is_v4);
    if let Err(cause) = nat::rewrite_ip(packet, view, flow, addresses.fold()) {
        return Verdict::Drop(cause);
    }
    let Some(mut sum) = translate_quote(packet, view, flow) else {
        return Verdict::Drop(Cause::HeaderTruncated);
    };
    if !view.is_v4 {
        sum = sum.u16(addresses.fold());
    }
    let Some(header) = packet.bytes_mut::<8>(view.transport) else {
        return Verdict::Drop(Cause::HeaderTruncated);
    };
    let checksum = updated(header.u16::<2>(), sum.fold());
    header.put::<2, 2>(checksum.to_ne_bytes());
    nat::send_on(packet, view, flow, backend)
}

/// Who sent the packet, by its header.
#[inline(always)]
fn sender<P: Packet>(packet: &P, view: &View) -> Option<Address> {
    if view.is_v4 {
        return Some(v4_address(packet.bytes::<20>(P::LINK_BYTES)?.u32::<12>()));
    }
    let header = packet.bytes::<40>(P::LINK_BYTES)?;
    Some(Address::from_words([header.u64::<8>(), header.u64::<16>()]))
}

/// Rewrites the quoted packet to what it was on the other side; gives what that adds to the
/// checksum of the error.
#[inline(always)]
fn translate_quote<P: Packet>(packet: &mut P, view: &View, flow: &Cell<Flow>) -> Option<Sum> {
    let at = view.transport + 8;
    let mut sum = Sum::ZERO;
    if view.is_v4 {
        let header = packet.bytes_mut::<20>(at)?;
        // The quoted packet goes the other way, and loses and gains the same addresses. With its
        // checksum put right, the sum over its header stays what it was.
        let checksum = updated(header.u16::<10>(), field!(flow, addresses_delta));
        header.put::<10, 2>(checksum.to_ne_bytes());
        header.put::<12, 4>(field!(flow, destination).v4_word().to_ne_bytes());
        header.put::<16, 4>(field!(flow, source).v4_word().to_ne_bytes());
    } else {
        let header = packet.bytes_mut::<40>(at)?;
        nat::put_v6::<8>(header, &field!(flow, destination));
        nat::put_v6::<24>(header, &field!(flow, source));
        sum = sum.u16(field!(flow, addresses_delta));
    }
    let key = &view.key;
    sum = sum
        .replace(key.source_port, field!(flow, source_port))
        .replace(key.destination_port, field!(flow, destination_port));
    let header = packet.bytes_mut::<8>(view.quote)?;
    let kind = match key.protocol {
        protocol::TCP => Kind::Tcp,
        protocol::UDP => Kind::Udp,
        _ => Kind::Echo,
    };
    if kind == Kind::Echo {
        header.put::<4, 2>(
            (field!(flow, source_port) | field!(flow, destination_port)).to_ne_bytes(),
        );
    } else {
        header.put::<0, 2>(field!(flow, destination_port).to_ne_bytes());
        header.put::<2, 2>(field!(flow, source_port).to_ne_bytes());
    }
    Some(sum_checksum(packet, view, flow, kind, sum))
}

/// Updates the quoted transport's checksum, where that was quoted at all.
#[inline(always)]
fn sum_checksum<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    kind: Kind,
    sum: Sum,
) -> Sum {
    let at = view.quote + crate::transport::checksum_at(kind);
    if at + 2 > P::LINK_BYTES + view.length {
        return sum;
    }
    let Some(field) = packet.bytes_mut::<2>(at) else { return sum };
    let before = field.u16::<0>();
    let after = crate::transport::changed(before, field!(flow, transport_delta), kind);
    *field = after.to_ne_bytes();
    sum.replace(before, after)
}

/// Answers that at most `room` bytes fit the way to the backend, quoting the packet's beginning.
///
/// It is sent whether or not the packet may be fragmented: we can't do that, and a sender that
/// learns of it can. It comes from the VIP, as if from the host that the client talks to. It is
/// much smaller than what it answers, so that nobody gains by forging the source.
#[inline(never)]
pub(crate) fn too_big<P: Packet>(packet: &mut P, view: &View, room: usize) -> Verdict {
    // Never an error about an error (RFC 1122 §3.2.2).
    if view.kind == Kind::IcmpError {
        return Verdict::Drop(Cause::TooBig);
    }
    let way = Way::back(packet);
    let headers = if view.is_v4 { 20 + 8 } else { 40 + 8 };
    let quoted = if view.is_v4 { QUOTED_V4 } else { QUOTED_V6 };
    if !packet.grow_head(headers) {
        return Verdict::Drop(Cause::Headroom);
    }
    if !packet.truncate(P::LINK_BYTES + headers + quoted) {
        return Verdict::Drop(Cause::TooBig);
    }
    let written =
        if view.is_v4 { answer_v4(packet, view, room) } else { answer_v6(packet, view, room) };
    if written.is_none() {
        return Verdict::Drop(Cause::HeaderTruncated);
    }
    let ethertype = if view.is_v4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 };
    way.address(packet, ethertype);
    Verdict::Answer(Cause::TooBig)
}

/// RFC 1191 §4: unreachable, fragmentation needed, with the size of the next hop.
#[inline(always)]
fn answer_v4<P: Packet>(packet: &mut P, view: &View, room: usize) -> Option<()> {
    let at = P::LINK_BYTES + 20;
    let icmp = packet.bytes_mut::<8>(at)?;
    icmp.put::<0, 4>([3, 4, 0, 0]);
    icmp.put::<4, 2>([0, 0]);
    icmp.put::<6, 2>((room as u16).to_be_bytes());
    let sum = Sum::ZERO.u16(packet.sum(at, 8 + QUOTED_V4)?);
    packet.bytes_mut::<8>(at)?.put::<2, 2>(sum.checksum().to_ne_bytes());
    let header = packet.bytes_mut::<20>(P::LINK_BYTES)?;
    let length = (20 + 8 + QUOTED_V4) as u16;
    let (source, destination) = (view.key.destination.v4_word(), view.key.source.v4_word());
    header.put::<0, 2>([0x45, 0]);
    header.put::<2, 2>(length.to_be_bytes());
    header.put::<4, 4>([0, 0, 0x40, 0]);
    header.put::<8, 4>([64, protocol::ICMP, 0, 0]);
    header.put::<12, 4>(source.to_ne_bytes());
    header.put::<16, 4>(destination.to_ne_bytes());
    let sum = Sum::ZERO
        .u32(header.u32::<0>())
        .u32(header.u32::<4>())
        .u32(header.u32::<8>())
        .u32(header.u32::<12>())
        .u32(header.u32::<16>());
    header.put::<10, 2>(sum.checksum().to_ne_bytes());
    Some(())
}

/// RFC 4443 §3.2: packet too big.
#[inline(always)]
fn answer_v6<P: Packet>(packet: &mut P, view: &View, room: usize) -> Option<()> {
    let at = P::LINK_BYTES + 40;
    let length = (8 + QUOTED_V6) as u16;
    let icmp = packet.bytes_mut::<8>(at)?;
    icmp.put::<0, 4>([2, 0, 0, 0]);
    icmp.put::<4, 4>((room as u32).to_be_bytes());
    let (source, destination) = (&view.key.destination, &view.key.source);
    let sum = pseudo(source, destination, false, protocol::ICMPV6, length);
    let sum = sum.u16(packet.sum(at, usize::from(length))?);
    packet.bytes_mut::<8>(at)?.put::<2, 2>(sum.checksum().to_ne_bytes());
    let header = packet.bytes_mut::<40>(P::LINK_BYTES)?;
    header.put::<0, 4>([0x60, 0, 0, 0]);
    header.put::<4, 2>(length.to_be_bytes());
    header.put::<6, 2>([protocol::ICMPV6, 64]);
    nat::put_v6::<8>(header, source);
    nat::put_v6::<24>(header, destination);
    Some(())
}

/// Of IPv4 the longest header and 8 bytes are quoted: all that is asked for (RFC 792). Of IPv6 a
/// header, two short extensions and a TCP header with options.
const QUOTED_V4: usize = 60 + 8;
const QUOTED_V6: usize = 128;
