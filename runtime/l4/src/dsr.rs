//! `dsr`: the packet is put into another one and sent to the backend, which answers directly.
//!
//! The backend holds the VIP on an interface of its own, takes the outer header off and sees the
//! packet as the client sent it. The outer packet must not be fragmented, so what does not fit is
//! answered with the size that would (`icmp`), and the MSS in a SYN is lowered (`mss`).

use crate::checksum::Sum;
use crate::conntrack::first_state;
use crate::packet::{Fields, Packet};
use crate::parse::{ETHERTYPE_V4, ETHERTYPE_V6, View, protocol};
use crate::placement::Placement;
use crate::tables::{Tables, Tenure};
use crate::value::{Address, Backend, Flow, Vip, encap, role};
use crate::{Cause, Verdict, icmp, link, mss, transport};

/// UDP port of GUE (IANA).
const GUE_PORT: u16 = 6080;
/// Where source ports of GUE begin: the ephemeral range of RFC 6335 §6.
const GUE_SOURCE_FIRST: u16 = 49_152;
/// Hops that the outer packet may take.
const HOPS: u8 = 64;

/// Enters a new flow into the table.
#[inline(never)]
pub(crate) fn enter<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    view: &View,
    to: &Placement<'_>,
) -> Result<(), Cause> {
    let none = Address::from_words([0; 2]);
    let flow = Flow {
        source: none,
        destination: none,
        link: link::arrival(packet),
        bytes: packet.length() as u64,
        source_port: 0,
        destination_port: 0,
        addresses_delta: 0,
        transport_delta: 0,
        backend: to.index,
        seen: to.now.0,
        paired: to.now.0,
        vip: to.number,
        vip_generation: to.vip.generation,
        backend_generation: to.backend.generation,
        state: first_state(view),
        role: role::TUNNEL,
        zero: [0; 4],
    };
    // An entry that is too old would hide the new one.
    tables.remove_flow(Tenure::Proven, &view.key);
    if tables.put_flow(Tenure::New, &view.key, &flow) { Ok(()) } else { Err(Cause::TableFull) }
}

/// Encapsulates a packet and sends it.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    view: &View,
    vip: &Vip,
    backend: &Backend,
) -> Verdict {
    let outer = Outer { encap: vip.encap, is_v4: backend.address.is_v4() };
    let room = outer.room(vip);
    if view.length > room {
        return icmp::too_big(packet, view, room);
    }
    if transport::is_partial(packet, view)
        && let Err(cause) = transport::complete(packet, view)
    {
        return Verdict::Drop(cause);
    }
    mss::clamp(packet, view, room);
    outer.put(packet, tables, view, backend)
}

/// What a packet is put into.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// One of [`encap`].
    pub(crate) encap: u8,
    /// Whether the backend is reached over IPv4.
    pub(crate) is_v4: bool,
}

impl Outer {
    /// Bytes of its headers.
    #[inline(always)]
    fn overhead(self) -> usize {
        let shim = match self.encap {
            encap::GRE => 4,
            encap::GUE => 12,
            _ => 0,
        };
        shim + if self.is_v4 { 20 } else { 40 }
    }

    /// The largest packet that fits the way to the backend.
    #[inline(always)]
    pub(crate) fn room(self, vip: &Vip) -> usize {
        usize::from(vip.mtu).saturating_sub(self.overhead())
    }

    /// Puts its headers in front of a packet that fits, and addresses it.
    #[inline(always)]
    pub(crate) fn put<P: Packet, T: Tables>(
        self,
        packet: &mut P,
        tables: &T,
        view: &View,
        backend: &Backend,
    ) -> Verdict {
        let overhead = self.overhead();
        let way = link::or_back(packet, &backend.link);
        if !packet.grow_head(overhead) {
            return Verdict::Drop(Cause::Headroom);
        }
        let settings = tables.settings();
        let carried = if view.is_v4 { protocol::IPIP } else { protocol::IPV6 };
        let next = match self.encap {
            encap::GRE => protocol::GRE,
            encap::GUE => protocol::UDP,
            _ => carried,
        };
        let written = if self.is_v4 {
            put_v4(packet, view, next, overhead, &settings.tunnel_v4, &backend.address)
                && put_shim(packet, P::LINK_BYTES + 20, view, self.encap, carried)
        } else {
            put_v6(packet, view, next, overhead, &settings.tunnel_v6, &backend.address)
                && put_shim(packet, P::LINK_BYTES + 40, view, self.encap, carried)
        };
        if !written {
            return Verdict::Drop(Cause::HeaderTruncated);
        }
        way.address(packet, if self.is_v4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 })
    }
}

/// The outer IPv4 header. Not to be fragmented, so that its identification means nothing and is 0
/// (RFC 6864 §4.1); the type of service is the inner one's (RFC 6040).
#[inline(always)]
fn put_v4<P: Packet>(
    packet: &mut P,
    view: &View,
    next: u8,
    overhead: usize,
    source: &Address,
    destination: &Address,
) -> bool {
    let Some(header) = packet.bytes_mut::<20>(P::LINK_BYTES) else { return false };
    let length = (view.length + overhead) as u16;
    header.put::<0, 2>([0x45, view.class]);
    header.put::<2, 2>(length.to_be_bytes());
    header.put::<4, 4>([0, 0, 0x40, 0]);
    header.put::<8, 4>([HOPS, next, 0, 0]);
    header.put::<12, 4>(source.v4_word().to_ne_bytes());
    header.put::<16, 4>(destination.v4_word().to_ne_bytes());
    let sum = Sum::ZERO
        .u16(u16::from_be_bytes([0x45, view.class]).to_be())
        .u16(length.to_be())
        .u16(0x4000_u16.to_be())
        .u16(u16::from_be_bytes([HOPS, next]).to_be())
        .u32(source.v4_word())
        .u32(destination.v4_word());
    header.put::<10, 2>(sum.checksum().to_ne_bytes());
    true
}

/// The outer IPv6 header.
#[inline(always)]
fn put_v6<P: Packet>(
    packet: &mut P,
    view: &View,
    next: u8,
    overhead: usize,
    source: &Address,
    destination: &Address,
) -> bool {
    let Some(header) = packet.bytes_mut::<40>(P::LINK_BYTES) else { return false };
    let length = (view.length + overhead - 40) as u16;
    header.put::<0, 4>([0x60 | view.class >> 4, view.class << 4, 0, 0]);
    header.put::<4, 2>(length.to_be_bytes());
    header.put::<6, 2>([next, HOPS]);
    crate::nat::put_v6::<8>(header, source);
    crate::nat::put_v6::<24>(header, destination);
    true
}

/// What stands between the outer header and the packet.
#[inline(always)]
fn put_shim<P: Packet>(packet: &mut P, at: usize, view: &View, kind: u8, carried: u8) -> bool {
    match kind {
        encap::GRE => {
            // RFC 2784 §2.1: no checksum, version 0; the protocol is an Ethertype.
            let Some(shim) = packet.bytes_mut::<4>(at) else { return false };
            let ethertype = if view.is_v4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 };
            shim.put::<0, 2>([0, 0]);
            shim.put::<2, 2>(ethertype.to_be_bytes());
        }
        encap::GUE => {
            let Some(shim) = packet.bytes_mut::<12>(at) else { return false };
            // One source port for each flow: it spreads flows over the backend's queues.
            let mixed = view.key.source_port ^ view.key.destination_port.rotate_left(5);
            let source = GUE_SOURCE_FIRST | mixed & !GUE_SOURCE_FIRST;
            shim.put::<0, 2>(source.to_be_bytes());
            shim.put::<2, 2>(GUE_PORT.to_be_bytes());
            shim.put::<4, 2>(((view.length + 12) as u16).to_be_bytes());
            // No checksum: the packet inside has its own (RFC 6935 §5 for IPv6).
            shim.put::<6, 2>([0, 0]);
            shim.put::<8, 4>([0, carried, 0, 0]);
        }
        _ => {}
    }
    true
}
