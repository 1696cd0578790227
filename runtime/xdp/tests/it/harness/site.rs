//! A small site: client, router, appliance, two backends; and what its tables say.

use std::path::PathBuf;

use penstock_l4::testing::World;
use penstock_l4::value::{
    Address, Backend, Link, Pool, Settings, Timeouts, Vip, VipKey, encap, mode, state,
};
use penstock_l4::{MAGLEV_SLOTS, Tick};
use penstock_xdp::{Datapath, Interface, Kernel, Options, Sizes, Userland, XdpError};

use super::{Net, fill};

/// The backends' namespaces.
pub const BACKENDS: [&str; 2] = ["b0", "b1"];
/// The VIPs, as they stand in socket addresses: number 1 and number 2.
pub const VIPS: [&str; 2] = ["10.9.0.10", "[fd00:9::a]"];
/// What backends see clients of `nat` as.
pub const POOLS: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
/// What backends see as the source of encapsulated packets.
pub const TUNNELS: [&str; 2] = ["10.2.0.2", "fd00:2::2"];

/// The TUN device of lanes.
pub const DEVICE: &str = "pst-test";

/// Client, router, appliance (`lb`) and backends; the router knows the way to VIPs and pools.
pub fn network() -> Net {
    let net = Net::new(&["client", "router", "lb", "b0", "b1"]);
    for parameter in ["all", "default"] {
        // The machine's own defaults are inherited, and sources of a flood have no way back.
        net.set("router", &format!("net/ipv4/conf/{parameter}/rp_filter"), "0");
        for name in BACKENDS {
            net.set(name, &format!("net/ipv4/conf/{parameter}/rp_filter"), "0");
        }
    }
    let legs = [("client", 1, "c0"), ("lb", 2, "l0"), ("b0", 3, "b00"), ("b1", 4, "b10")];
    for (name, leg, far) in legs {
        let near = format!("10.{leg}.0.2/24,fd00:{leg}::2/64");
        let router = format!("10.{leg}.0.1/24,fd00:{leg}::1/64");
        net.pair((name, "eth0", &near), ("router", far, &router));
        net.ip(name, &format!("route add default via 10.{leg}.0.1"));
        net.ip(name, &format!("-6 route add default via fd00:{leg}::1"));
    }
    net.set("router", "net/ipv4/ip_forward", "1");
    net.set("router", "net/ipv6/conf/all/forwarding", "1");
    net.ip("router", "route add 10.9.0.0/24 via 10.2.0.2");
    net.ip("router", "-6 route add fd00:9::/64 via fd00:2::2");
    net
}

/// Starts the datapath in `lb`, with the maps as an earlier start has left them.
pub fn start(net: &Net, options: &Options) -> Kernel {
    let options = options.clone();
    let started = net.inside("lb", move || Kernel::start(&options, &[Interface::named("eth0")?]));
    started.unwrap_or_else(|error: XdpError| panic!("{error}"))
}

/// Which datapath a test runs over.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// The XDP program, started like this.
    Xdp(&'a Options),
    /// Lanes over a TUN device, with tables of these sizes.
    Tun(&'a Sizes),
}

/// Starts a datapath in `lb`, with the VIPs in this mode and, for `dsr`, packets put into this.
pub fn serve(net: &Net, way: Way<'_>, mode: u8, encap: u8) -> Datapath {
    let mut datapath = match way {
        Way::Xdp(options) => Datapath::Kernel(Box::new(start(net, options))),
        Way::Tun(sizes) => Datapath::Tun(Box::new(start_lanes(net, sizes))),
    };
    let mut world = world(mode);
    world.vips.iter_mut().for_each(|(_, vip)| vip.encap = encap);
    fill(&world, datapath.fill()).unwrap_or_else(|error| panic!("{error}"));
    datapath
}

/// Starts lanes over a TUN device in `lb`.
pub fn start_lanes(net: &Net, sizes: &Sizes) -> Userland {
    // As an operator has to: it is everybody's.
    net.set("lb", "net/ipv4/conf/all/rp_filter", "0");
    let options = lane_options(*sizes);
    let started = net.inside("lb", move || {
        let mut userland = Userland::start(&options, None)?;
        userland.attach(&[Interface::named("eth0")?])?;
        Ok(userland)
    });
    started.unwrap_or_else(|error: XdpError| panic!("{error}"))
}

/// Three lanes, and nothing pinned.
pub fn lane_options(sizes: Sizes) -> Options {
    let processors = vec![None, Some(0), Some(1)];
    Options { root: PathBuf::from("/nowhere"), instance: "test".into(), sizes, processors }
}

/// Two VIPs, TCP 80 (in `nat` on the backends: 8080) and UDP 53, one for each family.
pub fn world(mode: u8) -> World {
    let vip = |maglev| Vip {
        generation: 1,
        mode,
        encap: encap::GRE,
        maglev,
        mtu: 1_500,
        moves: 0,
        zero: 0,
        timeouts: Timeouts {
            opening: 60_000,
            established: 600_000,
            closing: 60_000,
            closed: 10_000,
            datagram: 30_000,
        },
    };
    let backend = |address| Backend {
        address,
        link: Link::default(),
        port: if mode == mode::NAT { 8_080_u16.to_be() } else { 0 },
        generation: 1,
        state: state::UP,
        zero: [0; 3],
    };
    let pool = |address| Pool { address, port_first: 20_000, lane_ports: 500, zero: [0; 4] };
    let (vip_v4, vip_v6) = (Address::v4([10, 9, 0, 10]), v6(9, 10));
    let (pool_v4, pool_v6) = (Address::v4([10, 9, 0, 1]), v6(9, 1));
    let mut services = vec![(VipKey::address(pool_v4), 0), (VipKey::address(pool_v6), 0)];
    for (number, address) in [(1, vip_v4), (2, vip_v6)] {
        services.push((VipKey::address(address), number));
        services.push((VipKey::new(address, 80_u16.to_be(), 6), number));
        services.push((VipKey::new(address, 53_u16.to_be(), 17), number));
    }
    let maglev = |first: u32| (0..MAGLEV_SLOTS).map(|slot| first + slot % 2).collect();
    World {
        settings: Settings {
            hash_key: [1, 2],
            pool_v4: pool(pool_v4),
            pool_v6: pool(pool_v6),
            tunnel_v4: Address::v4([10, 2, 0, 2]),
            tunnel_v6: v6(2, 2),
            sources: 0,
            nat: u32::from(mode == mode::NAT),
        },
        services,
        vips: vec![(1, vip(0)), (2, vip(1))],
        maglevs: vec![maglev(0), maglev(2)],
        backends: vec![
            (0, backend(Address::v4([10, 3, 0, 2]))),
            (1, backend(Address::v4([10, 4, 0, 2]))),
            (2, backend(v6(3, 2))),
            (3, backend(v6(4, 2))),
        ],
        sources: Vec::new(),
        start: Tick(0),
        flows_max: 65_536,
    }
}

/// fd00:`net`::`host`.
fn v6(net: u8, host: u8) -> Address {
    let mut octets = [0; 16];
    (octets[0], octets[3], octets[15]) = (0xfd, net, host);
    Address::v6(octets)
}
