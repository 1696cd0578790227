//! What a packet costs the processor from our door to the next one's, beside nftables.
//!
//! `cargo bench -p penstock-xdp --bench packets`, as root, with clang, ethtool and nftables. Frames
//! of flows that are known are sent to an appliance in a namespace, turn by turn to one that drops
//! them at once, one with NAT by XDP, one with GRE by XDP, and one with DNAT and masquerading by
//! nftables over conntrack. What comes back ends at the router's door. All of it happens on one
//! thread and its processor's softirq thread, whose CPU time is read; *net* is less that of frames
//! that are dropped at once.

#![allow(clippy::disallowed_methods, reason = "a bench lives in real time")]
#![allow(dead_code, reason = "the harness is that of the tests")]

#[path = "../tests/it/harness/mod.rs"]
mod harness;
mod support;

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::Array;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use penstock_l4::value::mode;
use penstock_xdp::{Decap, Interface, Kernel};

use harness::peers::{PATIENCE, answer, echo};
use harness::site::{BACKENDS, TUNNELS, network, start, world};
use harness::{BpfFolder, Net, can_wire, fill};
use support::compiled;
use support::sender::Sender;

fn main() {
    // Cargo runs benches as tests, too: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") || !can_wire() {
        return;
    }
    let nft = Command::new("nft").arg("--version").output();
    let (Some(object), Ok(_)) = (compiled("source.c"), nft) else {
        println!("skipped: needs clang and nftables");
        return;
    };
    let folders = [BpfFolder::new(), BpfFolder::new()];
    let ways = WAYS.map(|way| {
        let net = network();
        for name in BACKENDS {
            match way {
                Way::Gre => receive_gre(&net, name),
                _ => answer(&net, name, 8_080, &["[::]:8080"]),
            }
        }
        let kernel = match way {
            Way::Drop => None,
            Way::Nat => Some(forward(&net, &folders[0], mode::NAT)),
            Way::Gre => Some(forward(&net, &folders[1], mode::DSR)),
            Way::Nftables => {
                nftables(&net);
                None
            }
        };
        if way != Way::Drop {
            make_known(&net);
        }
        let sink = match way {
            Way::Drop => Sink::program(&net, "lb", "eth0", object.clone()),
            Way::Nat | Way::Gre => Sink::program(&net, "router", "l0", object.clone()),
            Way::Nftables => Sink::rule(&net),
        };
        let sender = sender(&net, object.clone());
        (net, sender, sink, kernel)
    });
    let mut costs = WAYS.map(|_| Vec::new());
    for _ in 0..TURNS {
        for ((net, sender, sink, _), costs) in ways.iter().zip(&mut costs) {
            costs.push(turn(net, sender, sink));
        }
    }
    report(costs.map(median));
}

/// What sends from the router to the appliance.
fn sender(net: &Net, object: Vec<u8>) -> Arc<Sender> {
    let stations = stations(net);
    net.inside("router", move || {
        let device = Interface::named("l0").unwrap_or_else(|error| panic!("{error}")).index();
        Arc::new(Sender::new(&object, device, stations, FIRST_PORT, FLOWS.into()))
    })
}

/// Sends some frames; CPU nanoseconds for each.
fn turn(net: &Net, sender: &Arc<Sender>, sink: &Sink) -> f64 {
    let before = sink.counted(net);
    let own = sender.clone();
    let cpu = net.inside("router", move || own.send(PACKETS, CORE));
    let came = sink.counted(net) - before;
    // What is lost on the way has not been paid for.
    assert!(came * 100 >= u64::from(PACKETS) * 99, "{came} of {PACKETS} frames came");
    cpu.as_nanos() as f64 / f64::from(PACKETS)
}

/// What becomes of the frames.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Drop,
    Nat,
    Gre,
    Nftables,
}

const WAYS: [Way; 4] = [Way::Drop, Way::Nat, Way::Gre, Way::Nftables];

/// Sends datagrams on each of the flows and awaits their answers: then they are known.
fn make_known(net: &Net) {
    net.inside("client", || {
        let open = |flow| {
            let socket = UdpSocket::bind(("10.1.0.2", FIRST_PORT + flow))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect("10.9.0.10:53").map(|()| socket)
        };
        let sockets: Result<Vec<_>, std::io::Error> = (0..FLOWS).map(open).collect();
        for round in 0..3 {
            for socket in sockets.as_ref().expect("these ports are free") {
                assert!(echo(socket, b"known"), "round {round}: no answer");
            }
        }
    });
}

/// Starts the datapath, with ports for many more flows than there are.
fn forward(net: &Net, folder: &BpfFolder, mode: u8) -> Kernel {
    let mut kernel = start(net, &folder.options());
    let mut world = world(mode);
    world.settings.pool_v4.lane_ports = (40_000 / penstock_xdp::lanes()) as u16;
    fill(&world, kernel.tables()).unwrap_or_else(|error| panic!("{error}"));
    kernel
}

/// A backend of `dsr`: takes packets out of GRE, and answers by the VIP.
fn receive_gre(net: &Net, name: &str) {
    net.ip(name, "address add 10.9.0.10/32 dev lo");
    let from = [TUNNELS[0].parse().expect("it is an address")];
    let decap = net.inside(name, move || Decap::open("penstock0", &from));
    let mut decap = decap.unwrap_or_else(|error| panic!("{error}"));
    // Ends with the process, as the servers do.
    std::thread::spawn(move || decap.run(Duration::MAX, &mut |_| {}));
    answer(net, name, 80, &["10.9.0.10:53"]);
}

/// The same as `nat` by the kernel's own means.
fn nftables(net: &Net) {
    net.set("lb", "net/ipv4/ip_forward", "1");
    let choose =
        "jhash ip saddr . udp sport mod 2 map { 0 : 10.3.0.2 . 8080, 1 : 10.4.0.2 . 8080 }";
    for rule in [
        "add table ip nat".to_owned(),
        "add chain ip nat before { type nat hook prerouting priority -100 ; }".to_owned(),
        "add chain ip nat after { type nat hook postrouting priority 100 ; }".to_owned(),
        format!("add rule ip nat before ip daddr 10.9.0.10 udp dport 53 dnat to {choose}"),
        "add rule ip nat after masquerade".to_owned(),
    ] {
        net.run("lb", &format!("nft {rule}"));
    }
}

/// Where frames end and are counted.
enum Sink {
    /// By a program at an interface's door, as a network card would take what is redirected to it.
    Program(Ebpf),
    /// By a rule there, before anything else looks: what was forwarded comes as the kernel's own
    /// kind of packet, which a program would have to be copied for.
    Rule,
}

impl Sink {
    fn program(net: &Net, name: &str, device: &'static str, object: Vec<u8>) -> Self {
        Sink::Program(net.inside(name, move || {
            let plain = EbpfLoader::new().btf(None).load(&object);
            let mut plain = plain.unwrap_or_else(|error| panic!("{error}"));
            let program = plain.program_mut("sink").expect("it is in the object");
            let program: &mut Xdp = program.try_into().expect("it is one of XDP");
            program.load().unwrap_or_else(|error| panic!("{error}"));
            program.attach(device, XdpMode::Driver).unwrap_or_else(|error| panic!("{error}"));
            plain
        }))
    }

    fn rule(net: &Net) -> Self {
        net.run("router", "ethtool -K l0 gro off");
        for rule in [
            "add table netdev door",
            "add chain netdev door in { type filter hook ingress device l0 priority 0 ; }",
            "add rule netdev door in meta protocol ip counter drop",
        ] {
            net.run("router", &format!("nft {rule}"));
        }
        Sink::Rule
    }

    /// How many frames have ended here.
    fn counted(&self, net: &Net) -> u64 {
        match self {
            Sink::Program(plain) => {
                let map = plain.map("COUNT").expect("it is in the object");
                let map: Array<_, u64> = map.try_into().expect("it is an array");
                map.get(&0, 0).expect("it has one entry")
            }
            Sink::Rule => {
                let output = net.inside("router", || {
                    Command::new("nft").args(["list", "table", "netdev", "door"]).output()
                });
                let text = String::from_utf8(output.expect("nft is there").stdout);
                let text = text.expect("it is ASCII");
                let count = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
                count.and_then(|count| count.parse().ok()).expect("nft says how many")
            }
        }
    }
}

/// The stations at both ends of the appliance's leg: the router's, and its own.
fn stations(net: &Net) -> [[u8; 6]; 2] {
    [("router", "l0"), ("lb", "eth0")].map(|(name, device)| {
        let output = net.inside(name, move || {
            Command::new("ip").args(["-brief", "link", "show", "dev", device]).output()
        });
        let text = String::from_utf8(output.expect("ip is there").stdout).expect("it is ASCII");
        let station = text.split_whitespace().nth(2).expect("the third word is its address");
        let mut octets = station.split(':').map(|octet| u8::from_str_radix(octet, 16));
        std::array::from_fn(|_| octets.next().and_then(Result::ok).expect("there are six"))
    })
}

fn report([drop, nat, gre, nftables]: [f64; 4]) {
    println!("a frame that is dropped at once: {drop:.0} ns of CPU, the sender's included");
    let most = nftables - drop;
    for (name, cost) in [("nat", nat), ("gre", gre)] {
        let net = cost - drop;
        let ratio = most / net;
        println!("{name}: {cost:.0} ns, net {net:.0} ns; nftables takes {ratio:.2} x that");
    }
    println!("nftables: {nftables:.0} ns, net {most:.0} ns");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const TURNS: usize = 9;
const PACKETS: u32 = 500_000;
const FLOWS: u16 = 1_024;
const FIRST_PORT: u16 = 30_000;
/// The processor that all of it happens on.
const CORE: usize = 1;
