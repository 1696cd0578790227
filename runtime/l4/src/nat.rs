//! `nat`: a packet goes to a backend under an address of the appliance, and the answer comes back.
//!
//! A client's packet (client → VIP) becomes (pool → backend), the answer (backend → pool) becomes
//! (VIP → client). Each direction has its entry in the table, keyed by the packet as it arrives and
//! saying all that has to be written, the change of the checksums included: one look-up for
//! each packet of a flow that is known. Both entries are inverses of each other, so that each can
//! be made of the other one when it was pushed out.
//!
//! **Ports without a lock.** A port is taken by putting in the entry of the way back. The ports of
//! a pool are split into lanes, one for each processor (or queue), and only a packet handled in a
//! lane takes a port of it: so no two takers ever look at the same port. The first port tried is
//! given by the flow's hash, so that a flow that lost its entries finds the same port again. Ports
//! are taken per backend: (port, backend) is what must be unique. A pool of 28,000 ports thus
//! carries as many flows to *each* backend.
//!
//! Ports of idle flows are taken over once they are past their timeout; nothing sweeps.

use core::cell::Cell;

use crate::checksum::{Sum, undone, updated};
use crate::conntrack::{Found, Tick, field, first_state, look, promote, seen};
use crate::packet::{Fields, Packet};
use crate::parse::{ETHERTYPE_V4, ETHERTYPE_V6, Kind, View, protocol};
use crate::placement::Placement;
use crate::tables::{Tables, Tenure};
use crate::value::{Address, Backend, Flow, FlowKey, Pool, role};
use crate::{Cause, Verdict, link, transport};

/// How many ports are tried for a new flow. With half of a lane's ports in use towards a backend,
/// all are taken for one new flow in 256.
const PORT_TRIES: u32 = 8;
/// How far apart the ports are that are tried, modulo the ports of a lane.
const PORT_STEP: u32 = 0x9e37;

/// Makes the entries of a new flow in both directions.
#[inline(always)]
pub(crate) fn enter<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    view: &View,
    to: &Placement<'_>,
) -> Result<(), Cause> {
    let settings = tables.settings();
    let pool = if view.is_v4 { &settings.pool_v4 } else { &settings.pool_v6 };
    if to.backend.address.is_v4() != view.is_v4 {
        return Err(Cause::NoBackend);
    }
    let mut back = FlowKey {
        source: to.backend.address,
        destination: pool.address,
        source_port: match (view.kind, to.backend.port) {
            (Kind::Echo, _) | (_, 0) => view.key.destination_port,
            (_, port) => port,
        },
        destination_port: 0,
        protocol: view.key.protocol,
        zero: [0; 3],
    };
    if !choose_port(tables, &view.key, to, pool, &mut back) {
        return Err(Cause::PortsExhausted);
    }
    put_pair(packet, tables, view, to, &back)
}

/// Finds a free port of this lane for the way back.
#[inline(never)]
fn choose_port<T: Tables>(
    tables: &T,
    client: &FlowKey,
    to: &Placement<'_>,
    pool: &Pool,
    back: &mut FlowKey,
) -> bool {
    let lane_ports = u32::from(pool.lane_ports);
    if lane_ports == 0 || pool.address.is_unspecified() {
        return false;
    }
    let lane_first = tables.lane().wrapping_mul(lane_ports);
    let port_first = u32::from(pool.port_first).wrapping_add(lane_first);
    for attempt in 0..PORT_TRIES {
        // Not the next one: neighbours of a taken port are as likely taken.
        let place = (to.hash as u32).wrapping_add(attempt.wrapping_mul(PORT_STEP)) % lane_ports;
        back.destination_port = (port_first.wrapping_add(place) as u16).to_be();
        if is_free(tables, back, client, to.now) {
            return true;
        }
    }
    false
}

/// Whether nobody has the way back, or only the same client, or nobody who has used it lately.
#[inline(always)]
fn is_free<T: Tables>(tables: &T, back: &FlowKey, client: &FlowKey, now: Tick) -> bool {
    for tenure in [Tenure::Proven, Tenure::New] {
        if let Some(found) = look(tables, tenure, back, now)
            && !leads_to(found.flow, client)
        {
            return false;
        }
    }
    true
}

/// Whether the entry is the inverse of a packet with this key.
#[inline(always)]
fn leads_to(back: &Cell<Flow>, key: &FlowKey) -> bool {
    field!(back, destination) == key.source
        && field!(back, destination_port) == key.source_port
        && field!(back, source) == key.destination
        && field!(back, source_port) == key.destination_port
}

/// Puts both entries in, the way back first: it is what takes the port.
#[inline(never)]
fn put_pair<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    view: &View,
    to: &Placement<'_>,
    back: &FlowKey,
) -> Result<(), Cause> {
    let key = &view.key;
    let [addresses_delta, transport_delta] = deltas(view.is_v4, back, key).parts();
    let mut flow = Flow {
        source: key.destination,
        destination: key.source,
        link: link::arrival(packet),
        bytes: 0,
        source_port: key.destination_port,
        destination_port: key.source_port,
        addresses_delta,
        transport_delta,
        backend: to.index,
        seen: to.now.0,
        paired: to.now.0,
        vip: to.number,
        vip_generation: to.vip.generation,
        backend_generation: to.backend.generation,
        state: first_state(view),
        role: role::RETURN,
        zero: [0; 4],
    };
    // An entry that is too old would hide the new one.
    tables.remove_flow(Tenure::Proven, back);
    tables.remove_flow(Tenure::Proven, key);
    if !tables.put_flow(Tenure::New, back, &flow) {
        return Err(Cause::TableFull);
    }
    invert(&mut flow, back);
    flow.bytes = packet.length() as u64;
    if !tables.put_flow(Tenure::New, key, &flow) {
        tables.remove_flow(Tenure::New, back);
        return Err(Cause::TableFull);
    }
    Ok(())
}

/// Makes the entry of one direction that of the other, whose packets arrive as `key` is.
#[inline(always)]
fn invert(flow: &mut Flow, key: &FlowKey) {
    flow.source = key.destination;
    flow.destination = key.source;
    flow.source_port = key.destination_port;
    flow.destination_port = key.source_port;
    flow.addresses_delta = undone(flow.addresses_delta);
    flow.transport_delta = undone(flow.transport_delta);
    flow.role = if flow.role == role::RETURN { role::FORWARD } else { role::RETURN };
}

/// What a change of addresses and ports adds to checksums, of IPv4 and of the transport: in one
/// word, as a function of the kernel's program gives back no more.
struct Deltas(u32);

impl Deltas {
    #[inline(always)]
    fn parts(&self) -> [u16; 2] {
        [self.0 as u16, (self.0 >> 16) as u16]
    }
}

/// What changing a packet with key `old` to the inverse of `new` adds to the checksums.
#[inline(never)]
fn deltas(is_v4: bool, old: &FlowKey, new: &FlowKey) -> Deltas {
    let addresses = Sum::ZERO
        .replace_address(&old.source, &new.destination, is_v4)
        .replace_address(&old.destination, &new.source, is_v4);
    // ICMPv4 alone has no pseudo-header in its checksum.
    let covered = if old.protocol == protocol::ICMP { Sum::ZERO } else { addresses };
    let transport = covered
        .replace(old.source_port, new.destination_port)
        .replace(old.destination_port, new.source_port);
    Deltas(u32::from(addresses.fold()) | u32::from(transport.fold()) << 16)
}

/// Keeps the other direction's entry alive and of the same state, making it anew when it was
/// pushed out. False, and the entry at hand is gone, when another flow has taken its place.
#[inline(never)]
pub(crate) fn keep_pair<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    found: &Found<'_>,
    view: &View,
    now: Tick,
) -> bool {
    let key = pair_key(found.flow, view.key.protocol);
    let elsewhere = match found.tenure {
        Tenure::New => Tenure::Proven,
        Tenure::Proven => Tenure::New,
    };
    let pair = tables.flow(found.tenure, &key).or_else(|| tables.flow(elsewhere, &key));
    let Some(pair) = pair else {
        let mut flow = found.flow.get();
        flow.link = link::arrival(packet);
        flow.bytes = 0;
        invert(&mut flow, &view.key);
        return tables.put_flow(found.tenure, &key, &flow);
    };
    if !leads_to(pair, &view.key) {
        tables.remove_flow(found.tenure, &view.key);
        return false;
    }
    let state = field!(found.flow, state) | field!(pair, state) & !seen::RESET;
    field!(found.flow, state = state);
    field!(pair, state = state);
    field!(pair, seen = now.0);
    if field!(pair, role) == role::RETURN {
        field!(pair, link = link::arrival(packet));
    }
    true
}

/// The key that the other direction's packets arrive with.
#[inline(always)]
fn pair_key(flow: &Cell<Flow>, protocol: u8) -> FlowKey {
    FlowKey {
        source: field!(flow, destination),
        destination: field!(flow, source),
        source_port: field!(flow, destination_port),
        destination_port: field!(flow, source_port),
        protocol,
        zero: [0; 3],
    }
}

/// Moves both directions to the table of the proven.
#[inline(always)]
pub(crate) fn promote_pair<T: Tables>(tables: &T, found: &Found<'_>, view: &View) {
    let key = pair_key(found.flow, view.key.protocol);
    if let Some(pair) = tables.flow(Tenure::New, &key) {
        promote(tables, &key, pair);
    }
    promote(tables, &view.key, found.flow);
}

/// Rewrites the packet as its entry says, and sends it.
#[inline(always)]
pub(crate) fn send<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    backend: &Backend,
) -> Verdict {
    let partial = transport::is_partial(packet, view);
    let verdict = translate(packet, view, flow, backend);
    if partial && matches!(verdict, Verdict::Send { .. }) {
        let mut now = *view;
        (now.key.source, now.key.destination) = (field!(flow, source), field!(flow, destination));
        if let Err(cause) = transport::complete(packet, &now) {
            return Verdict::Drop(cause);
        }
    }
    verdict
}

/// Writes what the entry says into a packet, and addresses it.
#[inline(always)]
pub(crate) fn translate<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    backend: &Backend,
) -> Verdict {
    if let Err(cause) = rewrite_ip(packet, view, flow, field!(flow, addresses_delta)) {
        return Verdict::Drop(cause);
    }
    rewrite_transport(packet, view, flow);
    send_on(packet, view, flow, backend)
}

/// Sends a rewritten packet: to the backend, or back to the client's router.
#[inline(always)]
pub(crate) fn send_on<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    backend: &Backend,
) -> Verdict {
    let back = field!(flow, role) == role::RETURN;
    let way = if back { link::of_flow(packet, flow) } else { link::or_back(packet, &backend.link) };
    way.address(packet, if view.is_v4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 })
}

/// Writes the flow's addresses, which adds `addresses_delta` to a checksum, and takes a hop away:
/// what passes twice must end some day.
#[inline(always)]
pub(crate) fn rewrite_ip<P: Packet>(
    packet: &mut P,
    view: &View,
    flow: &Cell<Flow>,
    addresses_delta: u16,
) -> Result<(), Cause> {
    if view.is_v4 {
        let Some(header) = packet.bytes_mut::<20>(P::LINK_BYTES) else {
            return Err(Cause::HeaderTruncated);
        };
        return rewrite_v4(header, flow, addresses_delta);
    }
    let Some(header) = packet.bytes_mut::<40>(P::LINK_BYTES) else {
        return Err(Cause::HeaderTruncated);
    };
    rewrite_v6(header, flow)
}

/// An IPv4 header as [`rewrite_ip`] leaves it.
#[inline(always)]
pub(crate) fn rewrite_v4(
    header: &mut [u8; 20],
    flow: &Cell<Flow>,
    addresses_delta: u16,
) -> Result<(), Cause> {
    // RFC 1812 §5.3.1: a router MUST discard what has no hop left.
    if header.u8::<8>() <= 1 {
        return Err(Cause::HopLimit);
    }
    let before = header.u16::<8>();
    header.put::<8, 1>([header.u8::<8>() - 1]);
    let hop = Sum::ZERO.replace(before, header.u16::<8>()).u16(addresses_delta);
    header.put::<10, 2>(hop.applied_to(header.u16::<10>()).to_ne_bytes());
    header.put::<12, 4>(field!(flow, source).v4_word().to_ne_bytes());
    header.put::<16, 4>(field!(flow, destination).v4_word().to_ne_bytes());
    Ok(())
}

/// An IPv6 header as [`rewrite_ip`] leaves it.
#[inline(always)]
pub(crate) fn rewrite_v6(header: &mut [u8; 40], flow: &Cell<Flow>) -> Result<(), Cause> {
    if header.u8::<7>() <= 1 {
        return Err(Cause::HopLimit);
    }
    header.put::<7, 1>([header.u8::<7>() - 1]);
    put_v6::<8>(header, &field!(flow, source));
    put_v6::<24>(header, &field!(flow, destination));
    Ok(())
}

/// Writes ports, or an echo's identifier, and the checksum that covers them.
#[inline(always)]
fn rewrite_transport<P: Packet>(packet: &mut P, view: &View, flow: &Cell<Flow>) {
    if view.kind == Kind::Tcp {
        if let Some(header) = packet.bytes_mut::<20>(view.transport) {
            rewrite_tcp(header, flow);
        }
    } else if let Some(header) = packet.bytes_mut::<8>(view.transport) {
        if view.kind == Kind::Udp {
            rewrite_udp(header, flow);
        } else {
            // One of both is the identifier, the other is 0.
            header.put::<4, 2>(
                (field!(flow, source_port) | field!(flow, destination_port)).to_ne_bytes(),
            );
            let checksum = updated(header.u16::<2>(), field!(flow, transport_delta));
            header.put::<2, 2>(checksum.to_ne_bytes());
        }
    }
}

/// Ports and checksum of TCP.
#[inline(always)]
pub(crate) fn rewrite_tcp(header: &mut [u8; 20], flow: &Cell<Flow>) {
    header.put::<0, 2>(field!(flow, source_port).to_ne_bytes());
    header.put::<2, 2>(field!(flow, destination_port).to_ne_bytes());
    let checksum = updated(header.u16::<16>(), field!(flow, transport_delta));
    header.put::<16, 2>(checksum.to_ne_bytes());
}

/// Ports and checksum of UDP.
#[inline(always)]
pub(crate) fn rewrite_udp<H: Fields>(header: &mut H, flow: &Cell<Flow>) {
    header.put::<0, 2>(field!(flow, source_port).to_ne_bytes());
    header.put::<2, 2>(field!(flow, destination_port).to_ne_bytes());
    let checksum = transport::changed(header.u16::<6>(), field!(flow, transport_delta), Kind::Udp);
    header.put::<6, 2>(checksum.to_ne_bytes());
}

/// Writes an IPv6 address.
#[inline(always)]
pub(crate) fn put_v6<const AT: usize>(header: &mut [u8; 40], address: &Address) {
    // SAFETY: both are the same sixteen bytes.
    let bytes = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(address.words()) };
    header.put::<AT, 16>(bytes);
}
