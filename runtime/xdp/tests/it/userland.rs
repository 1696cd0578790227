//! The datapath in userland: what it sets, what it leaves, what it refuses.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Instant;

use penstock_l4::testing::World;
use penstock_l4::value::{Address, VipKey, mode};
use penstock_l4::{Cause, Subject, Tenure};
use penstock_xdp::{Choice, Datapath, Fill, Interface, Sizes, Userland, XdpError};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::harness::peers::{PATIENCE, answer, datagrams, echo, put, put_to};
use crate::harness::site::{
    BACKENDS, DEVICE, VIPS, Way, lane_options, network, serve, start_lanes, world,
};
use crate::harness::{BpfFolder, Net, can_tunnel, can_wire, counted, fill, run, sizes};

/// A namespace with a veth pair.
fn wired() -> Net {
    let net = Net::new(&["lb", "far"]);
    net.pair(("lb", "eth0", "10.2.0.2/24,fd00:2::2/64"), ("far", "lb0", "10.2.0.1/24"));
    net.set("lb", "net/ipv4/conf/all/rp_filter", "0");
    net
}

/// What a command prints in `lb`.
fn printed(net: &Net, words: &'static str) -> String {
    net.inside("lb", move || {
        let mut words = words.split_whitespace();
        let program = words.next().expect("there is one");
        let output = Command::new(program).args(words).output().expect("it is there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Link-local addresses come when the kernel has made sure of them: some time.
        text.lines()
            .filter(|line| !line.contains("fe80"))
            .map(|line| line.to_owned() + "\n")
            .collect()
    })
}

/// The parameters that a start may set.
fn parameters(net: &Net) -> Vec<(String, String)> {
    net.inside("lb", || {
        let names = ["ipv4/conf/eth0/forwarding", "ipv4/conf/all/forwarding"].map(str::to_owned);
        let v6 = ["all/forwarding", "eth0/forwarding", "eth0/force_forwarding"];
        let names = names.into_iter().chain(v6.map(|name| format!("ipv6/conf/{name}")));
        let read = |name: String| {
            let value = fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
            Some((name, value.trim().to_owned()))
        };
        names.filter_map(read).collect()
    })
}

#[test]
fn its_end_leaves_no_device_no_route_and_every_parameter_as_it_was() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let before = parameters(&net);
    let (routes, routes_v6) = ("ip route show table all", "ip -6 route show table all");
    let routed = (printed(&net, routes), printed(&net, routes_v6));
    let mut userland = start_lanes(&net, &sizes());
    assert_eq!(userland.lanes(), 3);
    fill(&world(mode::NAT), &mut userland).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(parameters(&net), before);
    let now = printed(&net, routes);
    for address in ["10.9.0.10", "10.9.0.1"] {
        assert!(now.contains(&format!("{address} dev {DEVICE}")), "{now}");
    }
    let now = printed(&net, routes_v6);
    for address in ["fd00:9::a", "fd00:9::1"] {
        assert!(now.contains(&format!("{address} dev {DEVICE}")), "{now}");
    }
    // A service that goes takes its route with it, and may go twice.
    let key = VipKey::address(Address::v4([10, 9, 0, 10]));
    for _ in 0..2 {
        userland.set_service(&key, None).unwrap_or_else(|error| panic!("{error}"));
    }
    let now = printed(&net, routes);
    assert!(!now.contains("10.9.0.10") && now.contains("10.9.0.1 "), "{now}");
    assert!(userland.is_running());
    drop(userland);
    assert_eq!(parameters(&net), before);
    assert_eq!((printed(&net, routes), printed(&net, routes_v6)), routed);
    assert!(!printed(&net, "ip link show").contains(DEVICE));
    // And it can begin anew.
    drop(start_lanes(&net, &sizes()));
}

#[test]
fn a_start_that_can_not_be_says_why_and_leaves_nothing() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let first = start_lanes(&net, &sizes());
    let again = net.inside("lb", || Userland::start(&lane_options(sizes()), None).err());
    let error = again.expect("the device is there").to_string();
    assert!(error.starts_with("TUN device pst-test: "), "{error}");
    drop(first);
    net.set("lb", "net/ipv4/conf/all/rp_filter", "1");
    let strict = net.inside("lb", || Userland::start(&lane_options(sizes()), None).err());
    assert!(matches!(strict, Some(XdpError::ReversePathFilter)));
    net.set("lb", "net/ipv4/conf/all/rp_filter", "0");
    // An interface that goes while we start has no parameters any more.
    let gone = net.inside("lb", || {
        let interface = Interface::named("eth0")?;
        run("ip link delete eth0");
        Userland::start(&lane_options(sizes()), None)?.attach(&[interface])
    });
    let error = gone.expect_err("it is gone").to_string();
    assert!(error.starts_with("net.ipv4.conf.eth0.forwarding has to be 1"), "{error}");
    assert!(!printed(&net, "ip link show").contains(DEVICE));
}

#[test]
fn addresses_of_the_machine_serve_and_the_rest_of_their_traffic_stays_its_own() {
    if !can_tunnel() {
        return;
    }
    let net = network();
    for name in BACKENDS {
        answer(&net, name, 8_080, &["[::]:8080"]);
    }
    // The VIPs are on its loopback, and the pools are what its interface has.
    net.ip("lb", "address add 10.9.0.10/32 dev lo");
    net.ip("lb", "address add fd00:9::a/128 dev lo nodad");
    answer(&net, "lb", 8_081, &[]);
    let rules = ["ip rule", "ip -6 rule"];
    let before = rules.map(|words| printed(&net, words));
    let mut world = world(mode::NAT);
    let own = [Address::v4([10, 2, 0, 2]), address_v6(2, 2)];
    for (pool, own) in
        [&mut world.settings.pool_v4, &mut world.settings.pool_v6].into_iter().zip(own)
    {
        for (key, _) in world.services.iter_mut().filter(|(key, _)| key.address == pool.address) {
            key.address = own;
        }
        pool.address = own;
    }
    let mut userland = start_lanes(&net, &sizes());
    fill(&world, &mut userland).unwrap_or_else(|error| panic!("{error}"));
    let datapath = Datapath::Tun(Box::new(userland));
    for (vip, pool) in VIPS.into_iter().zip(["10.2.0.2", "fd00:2::2"]) {
        let peer = net.inside("client", move || put(vip, 300_000));
        let peer = peer.unwrap_or_else(|error| panic!("{vip}: {error}; {}", counted(&datapath)));
        assert_eq!(peer.as_deref(), Some(pool), "{vip}");
        let echoes = net.inside("client", move || {
            (0..20).filter(|_| echo(&datagrams(vip), b"a question")).count()
        });
        assert_eq!(echoes, 20, "{vip}: {}", counted(&datapath));
        // Another port of the VIP, and of the pool's address.
        for address in [vip.trim_matches(['[', ']']), pool] {
            let address = format!("{}:8081", bracketed(address));
            let own = net.inside("client", move || put_to(&address, 1_000));
            assert!(own.is_ok_and(|peer| peer.is_some()), "{vip}");
        }
    }
    // Its echoes it answers itself, though they come by a lane.
    assert!(net.inside("client", || ping([10, 9, 0, 10])));
    let not_ours = datapath.counters(Subject::Vip(0)).ok().flatten().expect("there is one");
    assert!(not_ours.causes[Cause::NotOurs as usize] > 0, "{}", counted(&datapath));
    assert_ne!(rules.map(|words| printed(&net, words)), before);
    drop(datapath);
    assert_eq!(rules.map(|words| printed(&net, words)), before);
}

fn address_v6(net: u8, host: u8) -> Address {
    let mut octets = [0; 16];
    (octets[0], octets[3], octets[15]) = (0xfd, net, host);
    Address::v6(octets)
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Whether an echo is answered (RFC 792).
fn ping(to: [u8; 4]) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP));
    // Not UDP's, but sending and receiving are the same.
    let socket = UdpSocket::from(socket.expect("root may have a raw socket"));
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket.connect(SocketAddr::from((to, 0))).expect("there is a way");
    // Type 8, identifier 0x1234, sequence 1: the sum of all words is 0xffff.
    socket.send(&[8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1]).expect("it is sent");
    let mut answer = [0; 64];
    loop {
        let Ok(length) = socket.recv(&mut answer) else { return false };
        if length >= 28 && answer[20] == 0 && answer[24..28] == [0x12, 0x34, 0, 1] {
            return true;
        }
    }
}

#[test]
fn what_a_killed_process_has_left_is_cleared_by_the_next() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let rules = ["ip rule", "ip -6 rule"];
    let before = rules.map(|words| printed(&net, words));
    let keys = [Address::v4([10, 2, 0, 2]), address_v6(2, 2)].map(|one| VipKey::new(one, 80, 6));
    let start = || {
        let mut userland = start_lanes(&net, &sizes());
        for key in &keys {
            userland.set_service(key, Some(1)).unwrap_or_else(|error| panic!("{error}"));
        }
        userland
    };
    // Nobody ends it, as if it were killed; but the device goes, as it does with its process.
    let first = std::mem::ManuallyDrop::new(start());
    net.ip("lb", &format!("link delete {DEVICE}"));
    let began = Instant::now();
    while first.is_running() {
        assert!(began.elapsed() < PATIENCE, "its lanes still run");
        std::thread::yield_now();
    }
    let left = rules.map(|words| printed(&net, words));
    assert!(left.iter().all(|rules| rules.contains("iif eth0")), "{left:?}");
    let second = start();
    assert_eq!(rules.map(|words| printed(&net, words)), left, "not twice");
    drop(second);
    assert_eq!(rules.map(|words| printed(&net, words)), before);
}

#[test]
fn somebody_elses_route_to_an_address_is_not_taken_over() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let mut userland = start_lanes(&net, &sizes());
    net.ip("lb", "route add 10.9.0.10/32 via 10.2.0.1");
    let taken = userland.set_service(&VipKey::address(Address::v4([10, 9, 0, 10])), Some(1));
    let error = taken.expect_err("there is a route").to_string();
    assert!(error.starts_with("the way of 10.9.0.10 into the TUN device: "), "{error}");
}

#[test]
fn what_the_tables_have_no_room_for_is_refused_by_number() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let small = Sizes { services_max: 1, source_rules_max: 1, ..sizes() };
    let mut userland = start_lanes(&net, &small);
    let world: World = world(mode::NAT);
    let (vip, backend) = (world.vips[0].1, world.backends[0].1);
    let too_many = userland.set_vip(65, &vip).expect_err("64 is the last");
    assert_eq!(too_many.to_string(), "VIP 65: the maps hold 64");
    assert!(userland.set_backend(64, Some(&backend)).is_err());
    assert!(userland.set_maglev(4, &world.maglevs[0]).is_err());
    assert!(userland.set_maglev(0, &world.maglevs[0][1..]).is_err());
    let keys = [1, 2].map(|port| VipKey::new(Address::v4([10, 9, 0, 10]), port, 6));
    assert!(userland.set_service(&keys[0], Some(1)).is_ok());
    assert!(userland.set_service(&keys[0], Some(2)).is_ok(), "it is there already");
    let too_many = userland.set_service(&keys[1], Some(1)).expect_err("one is all");
    assert_eq!(too_many.to_string(), "service 2: the maps hold 1");
    assert!(userland.set_service(&keys[0], None).is_ok());
    assert!(userland.set_service(&keys[1], Some(1)).is_ok());
    assert!(userland.counters(Subject::Vip(65)).is_none());
}

#[test]
fn a_full_table_gives_up_what_was_idle_for_longest_and_serves_on() {
    if !can_tunnel() {
        return;
    }
    let net = network();
    for name in BACKENDS {
        answer(&net, name, 8_080, &["[::]:8080"]);
    }
    let small = Sizes { new_flows_max: 48, proven_flows_max: 48, ..sizes() };
    let datapath = serve(&net, Way::Tun(&small), mode::NAT, 0);
    for vip in VIPS {
        // Each is a flow of its own, and many times more than the tables hold.
        let echoes = net.inside("client", move || {
            (0..300).filter(|_| echo(&datagrams(vip), b"a question")).count()
        });
        assert_eq!(echoes, 300, "{vip}: {}", counted(&datapath));
    }
    let count = datapath.flows(Tenure::New).count() + datapath.flows(Tenure::Proven).count();
    assert!((8..=96).contains(&count), "{count} entries");
}

#[test]
fn a_device_that_somebody_removes_is_noticed() {
    if !can_tunnel() {
        return;
    }
    let net = wired();
    let userland = start_lanes(&net, &sizes());
    let device = format!("link delete {DEVICE}");
    net.ip("lb", &device);
    let began = Instant::now();
    while userland.is_running() {
        assert!(began.elapsed() < PATIENCE, "its lanes still run");
        std::thread::yield_now();
    }
    let datapath = Datapath::Tun(Box::new(userland));
    assert_eq!(datapath.flows(Tenure::New).count(), 0);
}

#[test]
fn auto_is_the_program_where_it_can_be_and_else_lanes_that_say_why() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let choose = |choice: Choice, names: &'static [&'static str]| {
        let options = folder.options();
        net.inside("lb", move || {
            let interfaces: Result<Vec<_>, _> =
                names.iter().map(|name| Interface::named(name)).collect();
            let mut filled = Vec::new();
            let datapath = Datapath::start(choice, &options, &interfaces?, &mut |datapath| {
                filled.push(datapath.name());
                fill(&world(mode::NAT), datapath.fill())
            });
            Ok::<_, XdpError>((datapath?, filled))
        })
        .unwrap_or_else(|error| panic!("{error}"))
    };
    let has_program = || printed(&net, "ip -details link show eth0").contains("prog/xdp");
    let (best, filled) = choose(Choice::Auto, &["eth0"]);
    assert_eq!((best.name(), best.fallback_reason(), filled), ("xdp", None, vec!["xdp"]));
    assert!(has_program());
    // The loopback has no native XDP: then nothing of it is left on the others either.
    drop(best);
    let (second, filled) = choose(Choice::Auto, &["eth0", "lo"]);
    assert_eq!((second.name(), filled), ("tun", vec!["xdp", "tun"]));
    let reason = second.fallback_reason().expect("the program was tried");
    assert!(reason.starts_with("the driver of lo has no native XDP"), "{reason}");
    assert!(!has_program());
    second.end().unwrap_or_else(|error| panic!("{error}"));
    // Who asks for lanes has no program beside them.
    drop(choose(Choice::Xdp, &["eth0"]));
    assert!(has_program());
    let (lanes, filled) = choose(Choice::Tun, &["eth0"]);
    assert_eq!((lanes.name(), lanes.fallback_reason(), filled), ("tun", None, vec!["tun"]));
    assert!(!has_program());
    assert_eq!(fs::read_dir(folder.options().root).map_or(0, Iterator::count), 0);
}

#[test]
fn without_bpf_auto_serves_by_lanes_and_xdp_names_the_capability() {
    if let Some(expected) = std::env::var_os(CHILD) {
        // This is the process with fewer capabilities, in the namespace.
        return start_with_less(&expected.to_string_lossy());
    }
    if !can_tunnel() {
        return;
    }
    let net = wired();
    with_capabilities(&net, "+net_admin", "tun: CAP_BPF is missing: ");
    with_capabilities(&net, "+net_admin,+bpf", "tun: CAP_PERFMON is missing: ");
    let without = "CAP_BPF is missing: the XDP datapath needs CAP_BPF, CAP_PERFMON and \
                   CAP_NET_ADMIN; and in its place: CAP_NET_ADMIN is missing: the TUN datapath \
                   needs CAP_NET_ADMIN";
    with_capabilities(&net, "+net_raw", without);
}

/// Starts by `auto`, and finds that what became of it begins like this.
fn start_with_less(expected: &str) {
    let options = lane_options(sizes());
    let eth0 = [Interface::named("eth0").unwrap_or_else(|error| panic!("{error}"))];
    let start = |choice| {
        Datapath::start(choice, &options, &eth0, &mut |datapath| {
            fill(&world(mode::NAT), datapath.fill())
        })
    };
    let found = match start(Choice::Auto) {
        Ok(one) => format!("{}: {}", one.name(), one.fallback_reason().unwrap_or_default()),
        Err(error) => error.to_string(),
    };
    assert!(found.starts_with(expected), "{found}");
    let refused: XdpError = start(Choice::Xdp).err().expect("a capability is missing");
    assert!(matches!(refused, XdpError::Capability(_)), "{refused}");
}

/// Runs the test above once more in `lb`, with these capabilities and no others.
#[track_caller]
fn with_capabilities(net: &Net, capabilities: &str, expected: &'static str) {
    let set = format!("-all,{capabilities}");
    let output = net.inside("lb", move || {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", &set, "--inh-caps", &set]);
        command.arg(std::env::current_exe().expect("this is a program"));
        let name = "userland::without_bpf_auto_serves_by_lanes_and_xdp_names_the_capability";
        command.args(["--exact", name]).env(CHILD, expected);
        command.output().expect("setpriv is there")
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{capabilities}: {text}");
    assert!(text.contains("1 passed"), "{capabilities}: {text}");
}

/// Says to the process what it is to meet.
const CHILD: &str = "PENSTOCK_TEST_TUN_ERROR";
