//! The short way: packets of a proven flow that have nothing new to say.
//!
//! Nearly every packet is one: no IPv4 options or IPv6 extension headers, TCP or UDP, no first or
//! last one of its flow. What is decided of it is what [`handle`](crate::handle()) would decide,
//! by the same functions; but here all headers stand at known places, and nothing of the rest is
//! asked. Whatever is not that plain is left untouched, and goes the long way.

use core::cell::Cell;

use crate::Verdict;
use crate::checksum::Sum;
use crate::conntrack::{Found, PAIR_TICKS, Tick, field, look, seen};
use crate::dsr::Outer;
use crate::packet::{Fields, Packet};
use crate::parse::{Kind, View, flag, is_v4, protocol, v4_address};
use crate::tables::{Count, Subject, Tables, Tenure};
use crate::value::{Address, Flow, FlowKey, encap, role};
use crate::{Cause, nat, sources, transport};

/// Sends the packet on if it is one of those, and counts it; `bytes` is its length.
#[inline(always)]
pub(crate) fn pass<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    now: Tick,
    bytes: u64,
) -> Option<Verdict> {
    match is_v4(packet) {
        Ok(true) => pass_family::<V4, P, T>(packet, tables, now, bytes),
        Ok(false) => pass_family::<V6, P, T>(packet, tables, now, bytes),
        Err(_) => None,
    }
}

#[inline(always)]
fn pass_family<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    now: Tick,
    bytes: u64,
) -> Option<Verdict> {
    let (ip, ports) = F::headers(packet)?;
    let view = plain::<F, P>(ip, ports, bytes as usize)?;
    if sources::is_limited(sources::rule(tables, &view.key.source)) {
        return None;
    }
    // A copy for the tables: what is handed over by address has to be on the stack.
    let key = view.key;
    let found = look(tables, Tenure::Proven, &key, now)?;
    let flow = found.flow;
    let role = field!(flow, role);
    let checksum = if view.kind == Kind::Tcp { ports.u16::<16>() } else { ports.u16::<6>() };
    if has_news(&found, role, now) || transport::is_pseudo::<P>(checksum, &view) {
        return None;
    }
    let verdict = if role == role::TUNNEL {
        encapsulate(packet, tables, &view, &found)?
    } else {
        F::rewrite(ip, flow).ok()?;
        match view.kind {
            Kind::Tcp => nat::rewrite_tcp(ports, flow),
            _ => nat::rewrite_udp(ports, flow),
        }
        nat::send_on(packet, &view, flow, found.backend)
    };
    field!(flow, seen = now.0);
    field!(flow, bytes = field!(flow, bytes).wrapping_add(bytes));
    count(tables, flow, verdict, bytes);
    Some(verdict)
}

/// Whether a packet without flags changes what is known of the flow, or the other direction's
/// entry has to be looked at.
#[inline(always)]
fn has_news(found: &Found<'_>, role: u8, now: Tick) -> bool {
    let state = field!(found.flow, state);
    let known = match role {
        role::RETURN => seen::PROVEN | seen::REPLY,
        _ => seen::PROVEN,
    };
    state & (known | seen::RESET) != known
        || role != role::TUNNEL && now.since(field!(found.flow, paired)) >= PAIR_TICKS
}

/// Puts the packet into another one, if there is room in it.
#[inline(always)]
fn encapsulate<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    view: &View,
    found: &Found<'_>,
) -> Option<Verdict> {
    let outer = Outer { encap: found.vip.encap, is_v4: found.backend.address.is_v4() };
    if view.length > outer.room(found.vip) {
        return None;
    }
    // What is most common is compiled for itself.
    Some(if outer.encap == encap::GRE && outer.is_v4 {
        Outer { encap: encap::GRE, is_v4: true }.put(packet, tables, view, found.backend)
    } else {
        outer.put(packet, tables, view, found.backend)
    })
}

/// Counts a packet for its VIP and its backend.
#[inline(always)]
fn count<T: Tables>(tables: &T, flow: &Cell<Flow>, verdict: Verdict, bytes: u64) {
    let count = match verdict {
        Verdict::Pass(cause) | Verdict::Drop(cause) | Verdict::Answer(cause) => Count::Cause(cause),
        Verdict::Send { .. } if field!(flow, role) == role::RETURN => Count::Return(bytes),
        Verdict::Send { .. } => Count::Forward(bytes),
    };
    tables.count(Subject::Vip(field!(flow, vip)), count);
    tables.count(Subject::Backend(field!(flow, backend)), count);
}

/// The packet, if it is whole and plain.
#[inline(always)]
fn plain<F: Family, P: Packet>(ip: &F::Ip, ports: &[u8; 20], bytes: usize) -> Option<View> {
    let Inner { source, destination, protocol, class, length } = F::inner(ip)?;
    if P::LINK_BYTES + length > bytes {
        return None;
    }
    let (kind, flags, carried, carried_min) = match protocol {
        protocol::TCP => {
            let flags = ports.u8::<13>();
            if flags & (flag::SYN | flag::FIN | flag::RST) != 0 {
                return None;
            }
            (Kind::Tcp, flags, usize::from(ports.u8::<12>() >> 4) * 4, 20)
        }
        protocol::UDP => (Kind::Udp, 0, usize::from(u16::from_be(ports.u16::<4>())), 8),
        _ => return None,
    };
    if carried < carried_min || F::BYTES + carried > length {
        return None;
    }
    Some(View {
        key: FlowKey::of_packet(source, destination, ports.u32::<0>(), protocol),
        kind,
        is_v4: F::IS_V4,
        flags,
        class,
        transport: P::LINK_BYTES + F::BYTES,
        length,
        quote: 0,
    })
}

/// What an IP header says.
struct Inner {
    source: Address,
    destination: Address,
    protocol: u8,
    class: u8,
    /// Bytes of the whole packet.
    length: usize,
}

/// IPv4 or IPv6.
trait Family {
    const IS_V4: bool;
    /// Bytes of its header.
    const BYTES: usize;
    type Ip;

    /// The header, and 20 bytes behind it: all of TCP's. Of UDP, the shortest packets go the
    /// long way.
    fn headers<P: Packet>(packet: &mut P) -> Option<(&mut Self::Ip, &mut [u8; 20])>;

    /// What the header says, if it has nothing unusual.
    fn inner(ip: &Self::Ip) -> Option<Inner>;

    /// Writes a flow's addresses.
    fn rewrite(ip: &mut Self::Ip, flow: &Cell<Flow>) -> Result<(), Cause>;
}

/// IPv4 without options.
enum V4 {}

impl Family for V4 {
    const IS_V4: bool = true;
    const BYTES: usize = 20;
    type Ip = [u8; 20];

    #[inline(always)]
    fn headers<P: Packet>(packet: &mut P) -> Option<(&mut [u8; 20], &mut [u8; 20])> {
        let both = packet.bytes_mut::<40>(P::LINK_BYTES)?;
        let (ip, ports) = both.split_first_chunk_mut::<20>()?;
        Some((ip, ports.first_chunk_mut()?))
    }

    #[inline(always)]
    fn inner(ip: &[u8; 20]) -> Option<Inner> {
        let is_fragment = u16::from_be(ip.u16::<6>()) & 0x3fff != 0;
        if ip.u8::<0>() != 0x45 || is_fragment {
            return None;
        }
        let (source, destination) = (ip.u32::<12>(), ip.u32::<16>());
        let sum = Sum::ZERO
            .u32(ip.u32::<0>())
            .u32(ip.u32::<4>())
            .u32(ip.u32::<8>())
            .u32(source)
            .u32(destination);
        (sum.checksum() == 0).then(|| Inner {
            source: v4_address(source),
            destination: v4_address(destination),
            protocol: ip.u8::<9>(),
            class: ip.u8::<1>(),
            length: usize::from(u16::from_be(ip.u16::<2>())),
        })
    }

    #[inline(always)]
    fn rewrite(ip: &mut [u8; 20], flow: &Cell<Flow>) -> Result<(), Cause> {
        nat::rewrite_v4(ip, flow, field!(flow, addresses_delta))
    }
}

/// IPv6 without extension headers.
enum V6 {}

impl Family for V6 {
    const IS_V4: bool = false;
    const BYTES: usize = 40;
    type Ip = [u8; 40];

    #[inline(always)]
    fn headers<P: Packet>(packet: &mut P) -> Option<(&mut [u8; 40], &mut [u8; 20])> {
        let both = packet.bytes_mut::<60>(P::LINK_BYTES)?;
        let (ip, ports) = both.split_first_chunk_mut::<40>()?;
        Some((ip, ports.first_chunk_mut()?))
    }

    #[inline(always)]
    fn inner(ip: &[u8; 40]) -> Option<Inner> {
        let source = Address::from_words([ip.u64::<8>(), ip.u64::<16>()]);
        let destination = Address::from_words([ip.u64::<24>(), ip.u64::<32>()]);
        // Those of IPv4 are refused on the long way.
        if ip.u8::<0>() >> 4 != 6 || source.is_v4() || destination.is_v4() {
            return None;
        }
        Some(Inner {
            source,
            destination,
            protocol: ip.u8::<6>(),
            class: (u16::from_be(ip.u16::<0>()) >> 4) as u8,
            length: 40 + usize::from(u16::from_be(ip.u16::<4>())),
        })
    }

    #[inline(always)]
    fn rewrite(ip: &mut [u8; 40], flow: &Cell<Flow>) -> Result<(), Cause> {
        nat::rewrite_v6(ip, flow)
    }
}
