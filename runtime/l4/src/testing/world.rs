//! A small world of VIPs in all modes, as data: for the tables in memory and for BPF maps alike.

use std::sync::{Arc, LazyLock};

use crate::memory::{Limits, MemoryTables};
use crate::value::{
    Address, Backend, Link, Pool, Settings, SourceRule, Timeouts, Vip, VipKey, action, encap, mode,
    state,
};
use crate::{MAGLEV_SLOTS, Tick};

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;

/// All that is known besides the packets.
#[derive(Clone, Debug)]
pub struct World {
    /// What holds for all packets.
    pub settings: Settings,
    /// VIPs by key.
    pub services: Vec<(VipKey, u16)>,
    /// VIPs by number.
    pub vips: Vec<(u16, Vip)>,
    /// Maglev tables: backends by slot.
    pub maglevs: Vec<Arc<[u32]>>,
    /// Backends by index.
    pub backends: Vec<(u32, Backend)>,
    /// Rules by prefix (length as of IPv6).
    pub sources: Vec<(Address, u8, SourceRule)>,
    /// When it begins.
    pub start: Tick,
    /// How many entries either table of flows has.
    pub flows_max: usize,
}

impl World {
    /// The world in memory, for one lane.
    pub fn tables(&self, lane: u32) -> MemoryTables {
        let limits = Limits {
            new_flows_max: self.flows_max,
            proven_flows_max: self.flows_max,
            buckets_max: 64,
            vips_max: 64,
            backends_max: 64,
        };
        let mut tables = MemoryTables::new(self.settings, &limits, lane);
        for (key, number) in &self.services {
            tables.set_service(*key, Some(*number));
        }
        for (number, vip) in &self.vips {
            assert!(tables.set_vip(*number, Some(*vip)), "VIP {number} is beyond the limit");
        }
        for (maglev, slots) in self.maglevs.iter().enumerate() {
            assert!(
                tables.set_maglev(maglev as u32, slots.clone()),
                "table {maglev} has wrong size"
            );
        }
        for (index, backend) in &self.backends {
            assert!(tables.set_backend(*index, Some(*backend)), "backend {index} is too many");
        }
        for (address, bits, rule) in &self.sources {
            tables.set_source(*address, *bits, Some(*rule));
        }
        tables
    }

    /// The addresses of the VIPs.
    pub fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<_> = self.services.iter().map(|(key, _)| key.address).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

/// A client with IPv4.
pub fn client_v4(number: u8) -> Address {
    Address::v4([192, 0, 2, number])
}

/// A client with IPv6.
pub fn client_v6(number: u8) -> Address {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    octets[15] = number;
    Address::v6(octets)
}

/// 2001:db8:`net`::`host`.
fn v6(net: u16, host: u8) -> Address {
    let mut octets = client_v6(host).octets();
    octets[4..6].copy_from_slice(&net.to_be_bytes());
    Address::v6(octets)
}

/// The VIPs: their address, mode, encapsulation, Maglev table (0: backends with IPv4, 1: IPv6).
pub fn encaps() -> [(Address, u8, u8, u32); 8] {
    let v4 = |host| Address::v4([203, 0, 113, host]);
    [
        (v4(1), mode::NAT, 0, 0),
        (v6(1, 1), mode::NAT, 0, 1),
        (v4(2), mode::DSR, encap::GRE, 0),
        (v6(1, 2), mode::DSR, encap::GRE, 1),
        (v4(3), mode::DSR, encap::IPIP, 1),
        (v6(1, 3), mode::DSR, encap::IPIP, 0),
        (v4(4), mode::DSR, encap::GUE, 0),
        (v6(1, 4), mode::DSR, encap::GUE, 1),
    ]
}

/// The world: each VIP answers TCP port 80, UDP port 53 and echoes.
///
/// VIPs are numbered from 1 in the order of [`encaps`]. 192.0.2.66 and 2001:db8:bad::/48 are
/// denied, 192.0.2.128/25 has a rate.
pub fn world() -> World {
    let mut services = Vec::new();
    let mut vips = Vec::new();
    for (at, (address, mode, encap, maglev)) in encaps().into_iter().enumerate() {
        let number = at as u16 + 1;
        let icmp = if address.is_v4() { 1 } else { 58 };
        services.push((VipKey::address(address), number));
        services.push((VipKey::new(address, 80_u16.to_be(), 6), number));
        services.push((VipKey::new(address, 53_u16.to_be(), 17), number));
        services.push((VipKey::new(address, 0, icmp), number));
        let timeouts = Timeouts {
            opening: 60_000,
            established: 600_000,
            closing: 120_000,
            closed: 10_000,
            datagram: 30_000,
        };
        let vip =
            Vip { generation: 1, mode, encap, maglev, mtu: 1_500, moves: 0, zero: 0, timeouts };
        vips.push((number, vip));
    }
    let pool = |address| Pool { address, port_first: 20_000, lane_ports: 200, zero: [0; 4] };
    let (pool_v4, pool_v6) = (pool(Address::v4([198, 51, 100, 1])), pool(v6(9, 1)));
    services.push((VipKey::address(pool_v4.address), 0));
    services.push((VipKey::address(pool_v6.address), 0));
    let backends: Vec<_> = (0..6).map(|index| (index, backend(index))).collect();
    let rule = |action, rate, burst| SourceRule { action, zero: [0; 3], rate, burst };
    World {
        settings: Settings {
            hash_key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
            pool_v4,
            pool_v6,
            tunnel_v4: Address::v4([198, 51, 100, 2]),
            tunnel_v6: v6(9, 2),
            sources: 1,
            nat: 1,
        },
        services,
        vips,
        maglevs: MAGLEVS.to_vec(),
        backends,
        sources: vec![
            (client_v4(66), 128, rule(action::DENY, 0, 0)),
            (v6(0xbad, 0), 48, rule(action::DENY, 0, 0)),
            // 1/16 packet each tick: about 60 a second.
            (client_v4(128), 96 + 25, rule(action::RATE, 64, 10)),
        ],
        start: Tick(1_000_000),
        flows_max: 1_024,
    }
}

/// Not Maglev's, but as even: who tests the look-up needs to know what is where.
static MAGLEVS: LazyLock<[Arc<[u32]>; 2]> =
    LazyLock::new(|| [0, 3].map(|first| (0..MAGLEV_SLOTS).map(|slot| first + slot % 3).collect()));

/// Backends 0 to 2 have IPv4, 3 to 5 IPv6; 1 and 4 have a port and a next hop of their own.
fn backend(index: u32) -> Backend {
    let host = index as u8 % 3 + 1;
    let own = index % 3 == 1;
    let link =
        Link { destination: [2, 0, 0, 0, 1, host], source: [2, 0, 0, 0, 0, 9], interface: 7 };
    let back = Link { destination: [0; 6], source: [0; 6], interface: 0 };
    Backend {
        address: if index < 3 { Address::v4([10, 0, 0, host]) } else { v6(2, host) },
        link: if own { link } else { back },
        port: if own { 8_080_u16.to_be() } else { 0 },
        generation: 1,
        state: state::UP,
        zero: [0; 3],
    }
}
