//! Which backend a new flow goes to: Maglev's slot of its hash, on every appliance the same.
//!
//! A flow whose first packet another appliance has seen is placed in the same way, and so goes on
//! to the same backend. The tables themselves are built in `balance`.

use crate::conntrack::{Tick, first_state};
use crate::hash::flow_hash;
use crate::packet::Packet;
use crate::parse::{Kind, View, flag};
use crate::tables::{Tables, Tenure, slot_of};
use crate::value::{Address, Backend, Flow, FlowKey, Vip, mode, role, state};
use crate::{Cause, link, nat};

/// Where a new flow goes.
pub(crate) struct Placement<'t> {
    pub(crate) number: u16,
    pub(crate) vip: &'t Vip,
    pub(crate) index: u32,
    pub(crate) backend: &'t Backend,
    /// The flow's hash.
    pub(crate) hash: u64,
}

/// The backend that the table names for a flow from a client.
#[inline(always)]
pub(crate) fn choose<'t, T: Tables>(
    tables: &'t T,
    key: &FlowKey,
    number: u16,
) -> Result<Placement<'t>, Cause> {
    let Some(vip) = tables.vip(number) else { return Err(Cause::NoBackend) };
    let hash = flow_hash(&tables.settings().hash_key, key);
    let Some(index) = tables.slot(vip.ring, slot_of(hash)) else { return Err(Cause::NoBackend) };
    let Some(backend) = tables.backend(index) else { return Err(Cause::NoBackend) };
    if backend.state != state::UP && backend.state != state::DRAINING {
        return Err(Cause::NoBackend);
    }
    Ok(Placement { number, vip, index, backend, hash })
}

/// Enters a new flow into the table.
#[inline(always)]
pub(crate) fn enter<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    view: &View,
    to: &Placement<'_>,
    now: Tick,
) -> Result<(), Cause> {
    if to.vip.mode == mode::NAT {
        return nat::place(packet, tables, view, to, now);
    }
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
        seen: now.0,
        paired: now.0,
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

/// What a flow must not begin with.
#[inline(always)]
pub(crate) fn is_sane(view: &View) -> Result<(), Cause> {
    let FlowKey { source, destination, .. } = &view.key;
    if source == destination {
        return Err(Cause::Land);
    }
    if is_martian(source, view.is_v4) {
        return Err(Cause::Martian);
    }
    if view.kind == Kind::Tcp {
        let flags = view.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
        let both = flags & flag::SYN != 0 && flags & (flag::FIN | flag::RST) != 0;
        if both || flags == 0 {
            return Err(Cause::TcpFlags);
        }
    }
    Ok(())
}

/// Addresses that can't be a source (RFC 6890): this network, loopback, group, reserved.
#[inline(always)]
fn is_martian(source: &Address, is_v4: bool) -> bool {
    if is_v4 {
        let first = u32::from_be(source.v4_word()) >> 24;
        return first == 0 || first == 127 || first >= 224;
    }
    let [high, low] = source.words();
    let loopback_or_none = high == 0 && u64::from_be(low) <= 1;
    loopback_or_none || u64::from_be(high) >> 56 == 0xff
}
