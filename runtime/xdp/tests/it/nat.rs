//! `nat` with real servers: client, router, appliance, two backends, over veth.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use penstock_l4::testing::World;
use penstock_l4::value::{
    Address, Backend, Link, Pool, Settings, Timeouts, Vip, VipKey, mode, state,
};
use penstock_l4::{MAGLEV_SLOTS, Subject, Tick};
use penstock_xdp::{Interface, Kernel, Options, XdpError};

use crate::harness::{BpfFolder, Net, can_wire, counted, fill};

/// Client, router, appliance and two backends; the router knows the way to VIPs and pools.
fn network() -> Net {
    let net = Net::new(&["client", "router", "lb", "b0", "b1"]);
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

/// Starts the datapath in `lb`.
fn serve(net: &Net, options: &Options) -> Kernel {
    let options = options.clone();
    let started = net.inside("lb", move || {
        let mut kernel = Kernel::start(&options, &[Interface::named("eth0")?])?;
        fill(&world(), kernel.tables())?;
        Ok::<_, XdpError>(kernel)
    });
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// Two VIPs, TCP 80 (on the backends: 8080) and UDP 53, for each family.
fn world() -> World {
    let vip = |ring| Vip {
        generation: 1,
        mode: mode::NAT,
        encap: 0,
        ring,
        mtu: 1_500,
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
        port: 8_080_u16.to_be(),
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
    let ring = |first: u32| (0..MAGLEV_SLOTS).map(|slot| first + slot % 2).collect();
    World {
        settings: Settings {
            hash_key: [1, 2],
            pool_v4: pool(pool_v4),
            pool_v6: pool(pool_v6),
            tunnel_v4: Address::v4([10, 2, 0, 2]),
            tunnel_v6: v6(2, 2),
            sources: 0,
            nat: 1,
        },
        services,
        vips: vec![(1, vip(0)), (2, vip(1))],
        rings: vec![ring(0), ring(2)],
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

/// Reads all that a connection sends, and answers with its count, its digest and the peer.
fn count_uploads(listener: TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_end(&mut bytes)?;
            let peer = stream.peer_addr()?.ip();
            stream.write_all(format!("{} {} {peer}", bytes.len(), digest(&bytes)).as_bytes())
        });
    }
}

/// Not a checksum of TCP's kind: it sees what those miss.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5_381, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Starts the backends' servers. Their threads end with the process.
fn answer(net: &Net) {
    for name in ["b0", "b1"] {
        net.inside(name, || {
            let any = SocketAddr::from(([0_u16; 8], 8_080));
            let listener = TcpListener::bind(any).expect("nobody else is there");
            std::thread::spawn(move || count_uploads(listener));
            let socket = UdpSocket::bind(any).expect("nobody else is there");
            std::thread::spawn(move || {
                let mut bytes = [0; 2_048];
                while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                    let _ = socket.send_to(&bytes[..length], peer);
                }
            });
        });
    }
}

#[test]
fn tcp_and_udp_pass_both_ways_in_both_families() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (network(), BpfFolder::new());
    answer(&net);
    let kernel = serve(&net, &folder.options());
    for (vip, pool) in [("10.9.0.10", "10.9.0.1"), ("[fd00:9::a]", "fd00:9::1")] {
        let answers = net.inside("client", move || {
            (0..20).map(|round| upload(vip, 150_000 + round)).collect::<Vec<_>>()
        });
        for (round, answer) in answers.into_iter().enumerate() {
            let (length, sum) = (150_000 + round, digest(&payload(150_000 + round)));
            let answer = answer.unwrap_or_else(|e| panic!("{vip}: {e}; {}", counted(&kernel)));
            // The backend sees the pool's address, or what it saw was not translated.
            assert!(answer.starts_with(&format!("{length} {sum} ")), "{vip}: {answer}");
            assert!(answer.ends_with(pool), "{vip}: {answer}");
        }
        let echoes = net.inside("client", move || (0..20).filter(|_| echo(vip)).count());
        assert_eq!(echoes, 20, "{vip}: {}", counted(&kernel));
    }
    for index in 0..4 {
        let counters = kernel.read().counters(Subject::Backend(index));
        let counters = counters.unwrap_or_else(|error| panic!("{error}")).expect("it is one");
        let (to, from) = (counters.packets, counters.return_packets);
        assert!(to > 20 && from > 20, "backend {index}: {to} packets there, {from} back");
    }
}

/// Sends that many bytes to the VIP and reads what the backend says of them.
fn upload(vip: &str, length: usize) -> std::io::Result<String> {
    let address: SocketAddr = format!("{vip}:80").parse().expect("it is an address");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&payload(length))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether a datagram comes back as it was.
fn echo(vip: &str) -> bool {
    let any = if vip.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).expect("there is a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let mut bytes = [0; 2_048];
    socket.send_to(b"a question", format!("{vip}:53")).expect("it is sent");
    socket.recv(&mut bytes).is_ok_and(|length| &bytes[..length] == b"a question")
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

const PATIENCE: Duration = Duration::from_secs(60);
