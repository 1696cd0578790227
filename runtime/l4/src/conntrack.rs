//! What is remembered of flows: which entry still holds, and what a packet teaches it.
//!
//! An entry says where a flow's packets go, for one direction. In `nat` both directions are seen
//! and each has its entry; bits of the state are told to the other one when they appear, which is a
//! few times in a flow's life. In `dsr` only the client's half is seen, and the state is what can
//! be inferred from that.
//!
//! Sequence numbers are not followed. So a forged RST or FIN could end a flow's entry early; the
//! next packet without one takes that back (see [`learn`]), and only the timeout was shortened.

use core::cell::Cell;

use crate::handle::Onward;
use crate::nat;
use crate::packet::Packet;
use crate::parse::{Kind, View, flag};
use crate::tables::{Tables, Tenure};
use crate::value::{Backend, Flow, FlowKey, Vip, role, state};

/// Time in ticks of 2^20 ns, about 1.05 ms: a shift makes it of the kernel's clock. It wraps after
/// 52 days, and so an entry that nobody asked for so long may look young again: it is then
/// used as any other that was never forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick(pub u32);

impl Tick {
    /// From nanoseconds of a monotonic clock.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64) -> Self {
        Tick((nanos >> 20) as u32)
    }

    /// How many ticks after `earlier` this is. An earlier one that another processor's clock set a
    /// moment ahead counts as now.
    #[inline(always)]
    pub const fn since(self, earlier: u32) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier);
        if elapsed > u32::MAX - AHEAD_TICKS_MAX { 0 } else { elapsed }
    }
}

/// How far clocks of two processors may be apart: about a second.
const AHEAD_TICKS_MAX: u32 = 1_024;

/// What is known of a flow, in bits: [`Flow::state`].
pub mod seen {
    /// TCP: a SYN of the client.
    pub const SYN: u8 = 0x01;
    /// `nat`: something from the backend.
    pub const REPLY: u8 = 0x02;
    /// The client has sent again after that (in `dsr`: after its first packet).
    pub const PROVEN: u8 = 0x04;
    /// TCP: the client is done.
    pub const FIN_CLIENT: u8 = 0x08;
    /// TCP: the backend is done.
    pub const FIN_BACKEND: u8 = 0x10;
    /// TCP: one of them has reset.
    pub const RESET: u8 = 0x20;
}

/// An entry that holds, with what it refers to.
#[derive(Clone, Copy)]
pub(crate) struct Found<'t> {
    pub(crate) flow: &'t Cell<Flow>,
    pub(crate) vip: &'t Vip,
    pub(crate) backend: &'t Backend,
    pub(crate) tenure: Tenure,
}

/// One field of an entry, without reading all of it.
macro_rules! field {
    ($cell:expr, $field:ident) => {
        // SAFETY: the cell is alive while it is borrowed, and the field is read by value, without
        // a reference to it. In the kernel other processors may write at the same time: words that
        // change are read as they were before or after, and addresses stay what they are as long
        // as the entry is that of its key.
        unsafe { (*$cell.as_ptr()).$field }
    };
    ($cell:expr, $field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: as above; the value was made before, so nothing else happens in between.
        unsafe { (*$cell.as_ptr()).$field = value }
    }};
}
pub(crate) use field;

impl<'t> Found<'t> {
    /// Where its packets go on to.
    #[inline(always)]
    pub(crate) fn onward(&self) -> Onward<'t> {
        let translated = field!(self.flow, role) != role::TUNNEL;
        Onward {
            vip: self.vip,
            index: field!(self.flow, backend),
            backend: self.backend,
            flow: translated.then_some(self.flow),
        }
    }
}

/// The entry of `key`, if it is young enough and what it refers to is still the same.
#[inline(always)]
pub(crate) fn look<'t, T: Tables>(
    tables: &'t T,
    tenure: Tenure,
    key: &FlowKey,
    now: Tick,
) -> Option<Found<'t>> {
    let flow = tables.flow(tenure, key)?;
    let vip = tables.vip(field!(flow, vip))?;
    let backend = tables.backend(field!(flow, backend))?;
    let holds = vip.generation == field!(flow, vip_generation)
        && backend.generation == field!(flow, backend_generation)
        && keeps(vip, backend.state)
        && now.since(field!(flow, seen)) <= timeout(vip, key.protocol, field!(flow, state));
    holds.then_some(Found { flow, vip, backend, tenure })
}

/// Whether flows of a VIP stay with a backend in this state. By bits, as each branch here is one
/// more for every packet, and room on the kernel's small stack.
#[inline(always)]
fn keeps(vip: &Vip, backend: u8) -> bool {
    let lost = 1 | 1 << state::DOWN | u32::from(vip.moves & 1) << state::FAILED;
    lost >> (backend & 31) & 1 == 0
}

/// How long a flow may be silent.
#[inline(always)]
fn timeout(vip: &Vip, protocol: u8, state: u8) -> u32 {
    let timeouts = &vip.timeouts;
    let fins = state & (seen::FIN_CLIENT | seen::FIN_BACKEND);
    if protocol != crate::parse::protocol::TCP {
        timeouts.datagram
    } else if state & seen::PROVEN != 0 && state & seen::RESET == 0 && fins == 0 {
        // Nearly all that come here; asked first, for what it costs.
        timeouts.established
    } else if is_closed(state) {
        timeouts.closed
    } else if fins != 0 {
        timeouts.closing
    } else {
        timeouts.opening
    }
}

/// Whether a new SYN may begin a new flow with the same ports (RFC 9293 §3.6.1).
#[inline(always)]
fn is_closed(state: u8) -> bool {
    let fins = seen::FIN_CLIENT | seen::FIN_BACKEND;
    state & seen::RESET != 0 || state & fins == fins
}

/// Whether the packet belongs to a later flow than the entry.
#[inline(always)]
pub(crate) fn is_reborn(found: &Found<'_>, view: &View) -> bool {
    let opens = view.kind == Kind::Tcp && view.flags & (flag::SYN | flag::ACK) == flag::SYN;
    let state = field!(found.flow, state);
    // In `dsr` the backend's FIN is never seen: the client's has to do.
    let closed = is_closed(state)
        || field!(found.flow, role) == role::TUNNEL && state & seen::FIN_CLIENT != 0;
    opens && closed
}

/// The state that a flow's first packet makes.
#[inline(always)]
pub(crate) fn first_state(view: &View) -> u8 {
    if view.kind == Kind::Tcp { learned(0, role::FORWARD, view) } else { 0 }
}

/// The state after one more TCP packet.
#[inline(always)]
fn learned(mut state: u8, role: u8, view: &View) -> u8 {
    let fin = if role == role::RETURN { seen::FIN_BACKEND } else { seen::FIN_CLIENT };
    if view.flags & flag::RST != 0 {
        return state | seen::RESET;
    }
    // Who goes on has not been reset: the RST was forged, or crossed this packet.
    state &= !seen::RESET;
    if view.flags & flag::FIN != 0 {
        state |= fin;
    }
    if view.flags & (flag::SYN | flag::ACK) == flag::SYN {
        state |= seen::SYN;
    }
    state
}

/// Writes down that a packet of the flow has come. False when the entry has lost its other half
/// to another flow: then it is gone, and the packet's flow has to be placed anew. An error about
/// the flow teaches nothing.
#[inline(always)]
pub(crate) fn learn<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    found: &Found<'_>,
    view: &View,
    now: Tick,
) -> bool {
    if view.kind == Kind::IcmpError {
        return true;
    }
    let flow = found.flow;
    let (role, before) = (field!(flow, role), field!(flow, state));
    let mut after = if view.kind == Kind::Tcp { learned(before, role, view) } else { before };
    if role == role::RETURN {
        after |= seen::REPLY;
    } else if before & seen::PROVEN == 0 && proves(role, before, view) {
        after |= seen::PROVEN;
    }
    field!(flow, seen = now.0);
    field!(flow, bytes = field!(flow, bytes).wrapping_add(packet.length() as u64));
    if after != before {
        field!(flow, state = after);
    }
    if role == role::TUNNEL {
        if after & seen::PROVEN != 0 && found.tenure == Tenure::New {
            promote(tables, &view.key, flow);
        }
        return true;
    }
    if after == before && now.since(field!(flow, paired)) < PAIR_TICKS {
        return true;
    }
    field!(flow, paired = now.0);
    let kept = nat::keep_pair(packet, tables, found, view, now);
    if kept && after & !before & seen::PROVEN != 0 && found.tenure == Tenure::New {
        nat::promote_pair(tables, found, view);
    }
    kept
}

/// Whether this packet of the client shows that the flow has two ends.
#[inline(always)]
fn proves(role: u8, before: u8, view: &View) -> bool {
    let goes_on = view.kind != Kind::Tcp || view.flags & (flag::SYN | flag::ACK) == flag::ACK;
    goes_on && (role == role::TUNNEL || before & seen::REPLY != 0)
}

/// From the table of the new to that of the proven. When that one does not take it, it stays.
#[inline(never)]
pub(crate) fn promote<T: Tables>(tables: &T, key: &FlowKey, flow: &Cell<Flow>) {
    // SAFETY: the entry is only read, and only by the other table, which copies it; in the kernel
    // that takes the entry's own memory, so that it needs no room on the small stack there.
    let entry = unsafe { &*flow.as_ptr() };
    if tables.put_flow(Tenure::Proven, key, entry) {
        tables.remove_flow(Tenure::New, key);
    }
}

/// How often the other half of a pair is looked at: about once in a second of traffic. It has to
/// be well below the shortest timeout (5 s for DNS), as one half's packets keep both alive.
pub(crate) const PAIR_TICKS: u32 = 954;
