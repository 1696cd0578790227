//! Which lane's tables a packet belongs to, where each lane has its own.
//!
//! In the kernel all lanes share their tables; in userland they share nothing, and a device gives
//! each lane the packets of some flows, by their addresses and ports. In `nat` the answers have
//! others than the packets that they answer, and an ICMP error has those of who complains.

use crate::conntrack::{Tick, look};
use crate::icmp;
use crate::packet::{Fields, Packet};
use crate::parse::{Kind, View, parse, protocol, v4_address};
use crate::tables::{Tables, Tenure};
use crate::value::{Address, Pool, Settings};

/// The lane that has what is known of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// The one that asks, or it makes no difference.
    Here,
    /// The one that has taken the port which the packet comes back to.
    Lane(u32),
    /// Perhaps another: it is an error about a flow that this one does not know.
    Elsewhere,
}

/// Where a packet belongs, asked by a lane with tables of its own.
pub fn home<P: Packet, T: Tables>(packet: &P, tables: &T, now: Tick) -> Home {
    let settings = tables.settings();
    if !may_be_elsewhere(packet, settings) {
        return Home::Here;
    }
    let Ok(mut view) = parse(packet, now) else { return Home::Here };
    let is_error = view.kind == Kind::IcmpError;
    if is_error && !icmp::look_inside(packet, &mut view) {
        return Home::Here;
    }
    if let Some(lane) = taker(settings, &view) {
        return Home::Lane(lane);
    }
    let is_known = |tenure| look(tables, tenure, &view.key, now).is_some();
    if is_error && !is_known(Tenure::Proven) && !is_known(Tenure::New) {
        return Home::Elsewhere;
    }
    Home::Here
}

/// A quick look: nearly all packets are from clients, and belong where they are.
fn may_be_elsewhere<P: Packet>(packet: &P, settings: &Settings) -> bool {
    let v4 = packet.bytes::<20>(P::LINK_BYTES).filter(|header| header.u8::<0>() >> 4 == 4);
    if let Some(header) = v4 {
        let destination = v4_address(header.u32::<16>());
        return header.u8::<9>() == protocol::ICMP || destination == settings.pool_v4.address;
    }
    let Some(header) = packet.bytes::<40>(P::LINK_BYTES) else { return false };
    let destination = Address::from_words([header.u64::<24>(), header.u64::<32>()]);
    header.u8::<6>() == protocol::ICMPV6 || destination == settings.pool_v6.address
}

/// The lane whose port a packet to a pool comes to.
fn taker(settings: &Settings, view: &View) -> Option<u32> {
    let pool: &Pool = if view.is_v4 { &settings.pool_v4 } else { &settings.pool_v6 };
    if settings.nat == 0 || view.key.destination != pool.address {
        return None;
    }
    let place = u16::from_be(view.key.destination_port).checked_sub(pool.port_first)?;
    u32::from(place).checked_div(u32::from(pool.lane_ports))
}
