//! The short way: packets of a proven flow that have nothing new to say.
//!
//! Nearly every packet is one: IPv4 without options, TCP or UDP, no first or last one of its flow;
//! and where it is encapsulated, GRE over IPv4. What is decided of it is what
//! [`handle`](crate::handle()) would decide, by the same functions; but here all headers stand at
//! known places, and nothing of the rest is asked. Whatever is not that plain is left untouched,
//! and goes the long way.

use crate::Verdict;
use crate::checksum::Sum;
use crate::conntrack::{Found, PAIR_TICKS, Tick, field, look, seen};
use crate::dsr::Outer;
use crate::handle::Account;
use crate::packet::{Fields, Packet};
use crate::parse::{Kind, View, flag, is_v4, protocol, v4_address};
use crate::tables::{Tables, Tenure};
use crate::value::{FlowKey, encap, role};
use crate::{nat, sources, transport};

/// Sends the packet on if it is one of those; `bytes` is its length.
#[inline(always)]
pub(crate) fn pass<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    now: Tick,
    bytes: u64,
    account: &mut Account,
) -> Option<Verdict> {
    let view = plain(packet, bytes as usize)?;
    if sources::is_limited(sources::rule(tables, &view.key.source)) {
        return None;
    }
    let found = look(tables, Tenure::Proven, &view.key, now)?;
    let flow = found.flow;
    let role = field!(flow, role);
    if has_news(&found, role, now) || transport::is_partial(packet, &view) {
        return None;
    }
    if role == role::TUNNEL && !fits(&found, &view) {
        return None;
    }
    field!(flow, seen = now.0);
    field!(flow, bytes = field!(flow, bytes).wrapping_add(bytes));
    *account = Account { vip: field!(flow, vip), backend: field!(flow, backend), role };
    Some(match role {
        role::TUNNEL => GRE_V4.put(packet, tables, &view, found.backend),
        _ => nat::translate(packet, &view, flow, found.backend),
    })
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

/// What packets are put into here.
const GRE_V4: Outer = Outer { encap: encap::GRE, is_v4: true };

/// Whether that is what the flow's packets are put into, and this one has room in it.
#[inline(always)]
fn fits(found: &Found<'_>, view: &View) -> bool {
    found.vip.encap == GRE_V4.encap
        && found.backend.address.is_v4()
        && view.length <= GRE_V4.room(found.vip)
}

/// The packet, if it is whole and plain.
#[inline(always)]
fn plain<P: Packet>(packet: &P, bytes: usize) -> Option<View> {
    if !matches!(is_v4(packet), Ok(true)) {
        return None;
    }
    // Up to the end of TCP's header. Of UDP, the shortest packets go the long way.
    let header = packet.bytes::<40>(P::LINK_BYTES)?;
    let length = usize::from(u16::from_be(header.u16::<2>()));
    let is_fragment = u16::from_be(header.u16::<6>()) & 0x3fff != 0;
    if header.u8::<0>() != 0x45 || is_fragment || P::LINK_BYTES + length > bytes {
        return None;
    }
    let sum = Sum::ZERO
        .u32(header.u32::<0>())
        .u32(header.u32::<4>())
        .u32(header.u32::<8>())
        .u32(header.u32::<12>())
        .u32(header.u32::<16>());
    if sum.checksum() != 0 {
        return None;
    }
    let (kind, flags, end) = match header.u8::<9>() {
        protocol::TCP if header.u8::<32>() >> 4 >= 5 => {
            (Kind::Tcp, header.u8::<33>(), 20 + usize::from(header.u8::<32>() >> 4) * 4)
        }
        protocol::UDP if u16::from_be(header.u16::<24>()) >= 8 => {
            (Kind::Udp, 0, 20 + usize::from(u16::from_be(header.u16::<24>())))
        }
        _ => return None,
    };
    if end > length || flags & (flag::SYN | flag::FIN | flag::RST) != 0 {
        return None;
    }
    Some(View {
        key: FlowKey {
            source: v4_address(header.u32::<12>()),
            destination: v4_address(header.u32::<16>()),
            source_port: header.u16::<20>(),
            destination_port: header.u16::<22>(),
            protocol: header.u8::<9>(),
            zero: [0; 3],
        },
        kind,
        is_v4: true,
        flags,
        class: header.u8::<1>(),
        transport: P::LINK_BYTES + 20,
        length,
        quote: 0,
    })
}
