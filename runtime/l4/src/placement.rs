//! Which backend a new flow goes to: Maglev's slot of its hash, on every appliance the same.
//!
//! A flow whose first packet another appliance has seen is placed in the same way, and so goes on
//! to the same backend. The tables themselves are built in `balance`.

use crate::Cause;
use crate::conntrack::Tick;
use crate::hash::flow_hash;
use crate::parse::{Kind, View, flag};
use crate::tables::{Tables, slot_of};
use crate::value::{Address, Backend, FlowKey, Vip, state};

/// Where a new flow goes.
pub(crate) struct Placement<'t> {
    pub(crate) number: u16,
    pub(crate) vip: &'t Vip,
    pub(crate) index: u32,
    pub(crate) backend: &'t Backend,
    /// The flow's hash.
    pub(crate) hash: u64,
    /// When it began.
    pub(crate) now: Tick,
}

/// The backend that the table names for a flow from a client.
#[inline(always)]
pub(crate) fn choose<'t, T: Tables>(
    tables: &'t T,
    key: &FlowKey,
    number: u16,
    now: Tick,
) -> Result<Placement<'t>, Cause> {
    let Some(vip) = tables.vip(number) else { return Err(Cause::NoBackend) };
    let hash = flow_hash(&tables.settings().hash_key, key);
    let Some(index) = tables.slot(vip.maglev, slot_of(hash)) else { return Err(Cause::NoBackend) };
    let Some(backend) = tables.backend(index) else { return Err(Cause::NoBackend) };
    if backend.state != state::UP && backend.state != state::DRAINING {
        return Err(Cause::NoBackend);
    }
    Ok(Placement { number, vip, index, backend, hash, now })
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
