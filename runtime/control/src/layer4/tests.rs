//! Configs in, tables out: over a datapath that holds every change to what a packet would meet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use penstock_balance::FleetSeed;
use penstock_config::{Config, UncheckedFiles};
use penstock_env::Time;
use penstock_l4::value::{
    Address, Backend, Counters, Flow, FlowKey, Link, Settings, SourceRule, Vip, VipKey, mode, state,
};
use penstock_l4::{CAUSE_COUNT, Kept, MAGLEV_SLOTS, Subject, Tenure, Tick};

use super::assign::Assignment;
use super::facts::Facts;
use super::plan::{Plan, address_of};
use super::running::{Layer4, Running};
use super::{
    BadPlan, Change, Datapath, DatapathError, DatapathOptions, Datapaths, Detour, InterfaceFacts,
    Tables,
};

mod care;
mod detour;
mod ways;

/// Tables that say after each change whether a packet would be forwarded to nothing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pretended {
    settings: Option<Settings>,
    services: BTreeMap<VipKey, u16>,
    vips: BTreeMap<u16, Vip>,
    maglevs: BTreeMap<u32, Arc<[u32]>>,
    backends: BTreeMap<u32, Backend>,
    sources: BTreeMap<(Address, u8), SourceRule>,
    interfaces: Vec<String>,
}

impl Pretended {
    fn put(&mut self, change: &Change) {
        match change {
            Change::Settings(settings) => self.settings = Some(*settings),
            Change::Service(key, Some(number)) => drop(self.services.insert(*key, *number)),
            Change::Service(key, None) => drop(self.services.remove(key)),
            Change::Vip(number, vip) => drop(self.vips.insert(*number, *vip)),
            Change::Maglev(maglev, slots) => {
                assert_eq!(slots.len(), MAGLEV_SLOTS as usize);
                let named = self.served().any(|(_, vip)| vip.maglev == *maglev);
                assert!(!named, "table {maglev} is written while packets are looked up in it");
                self.maglevs.insert(*maglev, Arc::clone(slots));
            }
            Change::Backend(index, backend) => drop(self.backends.insert(*index, *backend)),
            Change::Source(address, bits, Some(rule)) => {
                self.sources.insert((*address, *bits), *rule);
            }
            Change::Source(address, bits, None) => drop(self.sources.remove(&(*address, *bits))),
        }
        self.check();
    }

    fn served(&self) -> impl Iterator<Item = (&VipKey, &Vip)> {
        let keys = self.services.iter().filter(|(key, _)| key.protocol != 0);
        keys.filter_map(|(key, number)| Some((key, self.vips.get(number)?)))
    }

    #[track_caller]
    fn check(&self) {
        for (key, number) in &self.services {
            assert!(*number == 0 || self.vips.contains_key(number), "{key:?} leads nowhere");
        }
        for (key, vip) in self.served() {
            let maglev = &self.maglevs[&vip.maglev];
            for index in maglev.iter().step_by(61).filter(|index| **index != u32::MAX) {
                let backend = self.backends.get(index);
                let there = backend.is_some_and(|one| one.state != state::DOWN);
                assert!(there, "{key:?}: backend {index} is named and not there");
            }
            let nat = vip.mode == mode::NAT;
            assert!(!nat || self.settings.is_some_and(|all| all.nat != 0), "{key:?}: no `nat`");
        }
    }
}

/// A datapath that fails when it has been written to so often.
struct Pretending {
    tables: Pretended,
    writes: Arc<AtomicUsize>,
    neighbours: ways::Neighbours,
    dead: Arc<AtomicBool>,
}

impl Tables for Pretending {
    fn kept(&self) -> Result<Kept, DatapathError> {
        let Pretended { services, vips, backends, sources, .. } = &self.tables;
        Ok(Kept {
            services: services.iter().map(|(key, number)| (*key, *number)).collect(),
            vips: vips.iter().map(|(number, vip)| (*number, *vip)).collect(),
            backends: backends.iter().map(|(index, one)| (*index, *one)).collect(),
            sources: sources.keys().copied().collect(),
        })
    }

    fn write(&mut self, change: &Change) -> Result<(), DatapathError> {
        // Once: what comes after is the way back.
        if self.writes.fetch_sub(1, Relaxed) == 1 {
            return Err(DatapathError("no more".to_owned()));
        }
        self.tables.put(change);
        Ok(())
    }

    fn counters(&self, subject: Subject) -> Option<Counters> {
        // A number was in use before: its counts are not those of who has it now.
        let packets = if matches!(subject, Subject::Vip(0)) { 0 } else { 7 };
        let causes = [0; CAUSE_COUNT];
        Some(Counters { packets, bytes: 0, return_packets: 0, return_bytes: 0, causes })
    }

    fn ways(&self, addresses: &[Address], interfaces: &[String]) -> Vec<Link> {
        self.neighbours.ways(addresses, interfaces)
    }
}

impl Datapath for Pretending {
    fn name(&self) -> &'static str {
        "pretended"
    }

    fn is_running(&self) -> bool {
        !self.dead.load(Relaxed)
    }

    fn flows(&self, _tenure: Tenure) -> Box<dyn Iterator<Item = (FlowKey, Flow)> + '_> {
        Box::new(std::iter::empty())
    }

    fn now(&self) -> Tick {
        Tick(0)
    }

    fn attach(&mut self, interfaces: &[String]) -> Result<(), DatapathError> {
        if interfaces.iter().any(|name| name == "eth9") {
            return Err(DatapathError("eth9 has no native XDP".to_owned()));
        }
        self.tables.interfaces.extend(interfaces.iter().cloned());
        self.tables.interfaces.sort();
        self.tables.interfaces.dedup();
        Ok(())
    }

    fn release_others(&mut self, interfaces: &[String]) -> Result<(), DatapathError> {
        self.tables.interfaces.retain(|name| interfaces.contains(name));
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<(), DatapathError> {
        Ok(())
    }
}

struct Machine {
    writes: Arc<AtomicUsize>,
    /// What an earlier process left.
    left: Pretended,
    /// Ways for checks that are open.
    detours: Arc<AtomicUsize>,
    neighbours: ways::Neighbours,
    /// What becomes of `eth0`: its index; 0 while it is missing.
    eth0: Arc<AtomicU32>,
    /// The datapath that runs reads nothing any more.
    dead: Arc<AtomicBool>,
}

impl Datapaths for Machine {
    fn interface(&self, name: &str) -> Result<InterfaceFacts, DatapathError> {
        let index = if name == "eth0" { self.eth0.load(Relaxed) } else { 1 };
        let addresses: &[&str] = match name {
            "eth0" if index == 0 => return Err(DatapathError("there is no eth0".to_owned())),
            "eth0" | "eth1" | "eth9" => &["10.9.0.1", "10.0.0.2", "fd00::2"],
            "v4" => &["10.0.0.2"],
            _ => return Err(DatapathError(format!("there is no interface {name}"))),
        };
        let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
        let addresses = addresses.collect();
        Ok(InterfaceFacts { name: name.to_owned(), index, mtu: 1_500, addresses })
    }

    fn lanes(&self) -> u32 {
        4
    }

    fn seek(&self, addresses: &[Address], interfaces: &[String]) {
        self.neighbours.ways(addresses, interfaces);
    }

    fn start(
        &mut self,
        _options: &DatapathOptions,
        interfaces: &[String],
        fill: &mut dyn FnMut(&mut dyn Tables) -> Result<(), DatapathError>,
    ) -> Result<Box<dyn Datapath>, DatapathError> {
        let writes = Arc::clone(&self.writes);
        let (tables, neighbours) = (self.left.clone(), self.neighbours.clone());
        self.dead.store(false, Relaxed);
        let dead = Arc::clone(&self.dead);
        let mut datapath = Pretending { tables, writes, neighbours, dead };
        fill(&mut datapath)?;
        datapath.attach(interfaces)?;
        Ok(Box::new(datapath))
    }

    fn detour(&mut self, _instance: &str) -> Result<Box<dyn Detour>, DatapathError> {
        self.detours.fetch_add(1, Relaxed);
        Ok(Box::new(detour::PretendedDetour(Arc::clone(&self.detours))))
    }
}

fn parse(text: &str) -> Config {
    let config = Config::parse("test.toml", text.as_bytes(), &UncheckedFiles);
    config.unwrap_or_else(|findings| panic!("{findings}"))
}

fn seed() -> FleetSeed {
    FleetSeed::new("test")
}

/// A service in `nat` with a VIP of each family, and one in `dsr`, over these endpoints.
fn site(endpoints: &str) -> Config {
    parse(&format!(
        "[service.n]\nvip = [\"10.9.0.1\", \"fd09::1\"]\nports = [\"tcp/80\", \"udp/53\"]\n\
         mode = \"nat\"\ninterface = \"eth0\"\nto = \"c\"\n\
         [service.d]\nvip = \"10.9.0.3\"\nports = \"tcp/443\"\nmode = \"dsr\"\n\
         interface = \"eth0\"\nto = \"c\"\n[cluster.c]\nendpoints = [{endpoints}]\n"
    ))
}

const THREE: &str = "\"10.1.0.1\", \"10.1.0.2\", \"fd01::1\"";
const FOUR: &str = "\"10.1.0.1\", \"10.1.0.2\", \"10.1.0.3\", \"fd01::1\"";

fn layer4(writes: &Arc<AtomicUsize>, left: Pretended) -> Layer4 {
    Layer4::new(Box::new(Machine { writes: Arc::clone(writes), left, ..machine() }))
}

impl Layer4 {
    /// Those of all VIPs: where one is another, flows have ended.
    fn generations(&self) -> Vec<u16> {
        let all = &running(self).assignment;
        all.vips.values().filter_map(|number| Some(all.vip(*number)?.generation)).collect()
    }
}

/// One that never fails.
fn sound() -> Layer4 {
    layer4(&Arc::new(AtomicUsize::new(usize::MAX)), Pretended::default())
}

#[track_caller]
fn put(layer4: &mut Layer4, config: &Config) {
    layer4.apply(config, &[], &seed()).unwrap_or_else(|error| panic!("{error}"));
    layer4.settle();
}

fn running(layer4: &Layer4) -> &Running {
    layer4.running.as_ref().expect("a datapath runs")
}

/// What the tables say, in what a packet can tell: not which Maglev table, not which index.
fn meaning(layer4: &Layer4) -> String {
    let kept = running(layer4).datapath.kept().expect("they say");
    let mut lines: Vec<String> = kept.services.iter().map(|one| format!("{one:?}")).collect();
    lines.extend(kept.backends.iter().map(|(_, one)| format!("{:?} {}", one.address, one.state)));
    lines.sort();
    lines.join("\n")
}

#[test]
fn no_change_leads_a_packet_to_nothing() {
    let mut layer4 = sound();
    let steps = [
        site(THREE),
        site(FOUR),
        site("\"10.1.0.3\", \"fd01::1\", \"fd01::2\""),
        // Every set of backends at once.
        site("\"10.1.0.7\", \"fd01::7\""),
        parse(
            "[service.x]\nvip = \"10.9.0.1\"\nports = \"tcp/80\"\nmode = \"dsr\"\nto = \"c\"\n\
             interface = [\"eth0\", \"eth1\"]\n[cluster.c]\nendpoints = [\"10.1.0.7\"]\n\
             [runtime.layer4]\nsources = [{ from = \"192.0.2.0/24\", action = \"deny\" }]\n",
        ),
        site(THREE),
    ];
    // `Pretended::check` holds every single one to it.
    for config in &steps {
        put(&mut layer4, config);
    }
    let running = running(&layer4);
    assert_eq!(running.plan.interfaces, ["eth0"]);
    assert_eq!(running.assignment.vips.len(), 5);
    assert_eq!(running.plan.sources, []);
}

#[test]
fn what_stays_keeps_its_number_and_what_goes_gives_it_a_new_generation() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let vips = |layer4: &Layer4| running(layer4).assignment.vips.clone();
    let vip = |layer4: &Layer4, number| *running(layer4).assignment.vip(number).expect("one");
    let key = VipKey::new(address_of("10.9.0.3".parse().expect("an address")), 443_u16.to_be(), 6);
    let (before, number) = (vips(&layer4), vips(&layer4)[&key]);
    let generation = vip(&layer4, number).generation;
    put(&mut layer4, &site(FOUR));
    assert_eq!(vips(&layer4), before);
    assert_eq!(vip(&layer4, number).generation, generation, "its flows go on");
    let alone = "[service.d]\nvip = \"10.9.0.4\"\nports = \"tcp/443\"\nmode = \"dsr\"\n\
                 interface = \"eth0\"\nto = \"c\"\n[cluster.c]\nendpoints = [\"10.1.0.1\"]\n";
    put(&mut layer4, &parse(alone));
    let mode_before = running(&layer4).assignment.vip(number).expect("it was one");
    assert_ne!(mode_before.generation, generation, "its flows have ended");
    let nat = alone.replace("dsr", "nat");
    let key = *vips(&layer4).keys().next().expect("one VIP");
    let before = vip(&layer4, vips(&layer4)[&key]);
    put(&mut layer4, &parse(&nat));
    let after = vip(&layer4, vips(&layer4)[&key]);
    assert_ne!((before.mode, before.generation), (after.mode, after.generation));
    assert_ne!(before.generation, after.generation, "another mode ends flows");
}

#[test]
fn a_backend_that_goes_drains_and_takes_its_place_again_when_it_comes_back() {
    let mut layer4 = sound();
    put(&mut layer4, &site(FOUR));
    let of = |layer4: &Layer4, ip: &str| {
        let address = address_of(ip.parse().expect("an address"));
        let all = running(layer4).assignment.backends.clone();
        all.into_iter().filter(|(key, _)| key.address == address).map(|(_, one)| one).collect()
    };
    let before: Vec<_> = of(&layer4, "10.1.0.3");
    assert_eq!(before.iter().filter(|one| one.drains).count(), 0);
    put(&mut layer4, &site(THREE));
    let gone: Vec<_> = of(&layer4, "10.1.0.3");
    assert!(!gone.is_empty() && gone.iter().all(|one| one.drains));
    let view = running(&layer4).packets_view("d", &seed(), None);
    let states: Vec<_> = view.backends.iter().map(|one| (&*one.address, one.state)).collect();
    assert!(states.contains(&("10.1.0.3", "draining")), "{states:?}");
    put(&mut layer4, &site(FOUR));
    assert_eq!(of(&layer4, "10.1.0.3"), before);
    // Weight 0 drains as well.
    put(&mut layer4, &site(&format!("{THREE}, {{ address = \"10.1.0.3\", weight = 0 }}")));
    assert!(of(&layer4, "10.1.0.3").iter().all(|one| one.drains));
    // And is forgotten when no packet came for as long as a flow may be silent.
    let at = |seconds| Time::default() + Duration::from_secs(seconds);
    layer4.tend(at(100));
    layer4.tend(at(699));
    assert_eq!(of(&layer4, "10.1.0.3").len(), before.len());
    layer4.tend(at(701));
    assert!(of(&layer4, "10.1.0.3").is_empty());
    put(&mut layer4, &site(FOUR));
    let again: Vec<_> = of(&layer4, "10.1.0.3");
    assert!(again.iter().zip(&before).all(|(one, before)| one != before), "a new generation");
}

#[test]
fn a_restart_finds_the_numbers_that_flows_know() {
    let mut first = sound();
    put(&mut first, &site(FOUR));
    put(&mut first, &site(THREE));
    let kept = running(&first).datapath.kept().expect("they say");
    let adopted = Assignment::adopt(kept);
    let plan = planned(&site(THREE)).expect("a plan").expect("services");
    let (next, changes) = adopted.change(&plan).expect("room");
    let assignment = &running(&first).assignment;
    assert_eq!((&next.vips, &next.backends), (&assignment.vips, &assignment.backends));
    for number in next.vips.values() {
        let generation = |of: &Assignment| of.vip(*number).map(|vip| vip.generation);
        assert_eq!(generation(&next), generation(assignment));
    }
    let touched = changes.iter().filter(|change| matches!(change, Change::Backend(..)));
    assert_eq!(touched.count(), 0);
    // A process that comes with another config takes away what it does not know.
    let other = planned(&site("\"10.1.0.1\", \"fd01::1\""));
    let mut plan = other.expect("a plan").expect("services");
    plan.vips.retain(|vip| vip.service == "d");
    let (next, _) = adopted.change(&plan).expect("room");
    assert_eq!(next.vips.len(), 1);
}

fn machine() -> Machine {
    let writes = Arc::new(AtomicUsize::new(usize::MAX));
    let (detours, neighbours) = (Arc::default(), ways::Neighbours::new());
    let (eth0, dead) = (Arc::new(AtomicU32::new(1)), Arc::default());
    Machine { writes, left: Pretended::default(), detours, neighbours, eth0, dead }
}

fn facts(config: &Config) -> Facts {
    Facts::of(config, &machine())
}

fn planned(config: &Config) -> Result<Option<Plan>, BadPlan> {
    Plan::of(config, &seed(), &facts(config))
}

#[test]
fn a_change_that_fails_anywhere_changes_nothing() {
    let other = site("\"10.1.0.2\", \"10.1.0.9\", \"fd01::9\"");
    for failing in 1..100 {
        let writes = Arc::new(AtomicUsize::new(usize::MAX));
        let mut layer4 = layer4(&writes, Pretended::default());
        put(&mut layer4, &site(THREE));
        let before = meaning(&layer4);
        let flows = layer4.generations();
        writes.store(failing, Relaxed);
        if layer4.apply(&other, &[], &seed()).is_ok() {
            assert!(failing > 5, "there was nothing to write");
            return;
        }
        // Who was to come may be there, draining; nobody is sent to it.
        let after = meaning(&layer4);
        let lost: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
        assert!(lost.is_empty(), "write {failing}: {lost:?}\n{after}");
        assert_eq!(layer4.generations(), flows, "write {failing}");
        assert_eq!(running(&layer4).plan.interfaces, ["eth0"]);
    }
    panic!("it never ended");
}

#[test]
fn an_interface_that_takes_no_program_changes_nothing() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let text = "[service.n]\nvip = \"10.9.0.1\"\nports = \"tcp/80\"\nmode = \"nat\"\nto = \"c\"\n\
                interface = \"eth9\"\n[cluster.c]\nendpoints = [\"10.1.0.1\"]\n";
    let before = meaning(&layer4);
    let error = layer4.apply(&parse(text), &[], &seed()).expect_err("not on eth9");
    assert_eq!(error.to_string(), "eth9 has no native XDP");
    assert_eq!(meaning(&layer4), before);
    // Nor one that is not there.
    let error = layer4.apply(&parse(&text.replace("eth9", "eth7")), &[], &seed()).err();
    let error = error.expect("there is no eth7").to_string();
    assert_eq!(error, "service.n.interface: there is no interface eth7");
    // And without services there is no datapath.
    put(&mut layer4, &parse(""));
    assert!(layer4.running.is_none());
}

#[test]
fn the_appliance_answers_by_an_address_of_its_interface() {
    let plan = planned(&site(THREE)).expect("a plan").expect("services");
    // Not 10.9.0.1, which is a VIP.
    let own = address_of("10.0.0.2".parse().expect("an address"));
    assert_eq!(plan.settings.pool_v4.address, own);
    assert_eq!(plan.settings.tunnel_v4, own);
    assert_eq!(plan.settings.pool_v4.lane_ports, 22_528 / 4);
    let service = "[service.n]\nvip = \"fd09::1\"\nports = \"tcp/80\"\nmode = \"nat\"\nto = \"c\"\n\
                   interface = \"v4\"\n[cluster.c]\nendpoints = [\"fd01::1\"]\n";
    let refused = |text: &str| planned(&parse(text)).expect_err("not so");
    assert_eq!(
        refused(service).to_string(),
        "service.n: v4 has no IPv6 address that packets to backends could be from: give it one, or \
         set runtime.layer4.nat"
    );
    let told = format!("{service}[runtime.layer4]\nnat = \"fd00::7\"\nnat_ports = \"1000-1002\"\n");
    assert!(matches!(refused(&told), BadPlan::TooFewPorts { ports: 3, lanes: 4 }));
    let plan = planned(&parse(&told.replace("1002", "1999")));
    let plan = plan.expect("a plan").expect("services");
    assert_eq!(plan.settings.pool_v6.address, address_of("fd00::7".parse().expect("an address")));
}

#[test]
fn appliances_with_the_same_config_have_the_same_table() {
    let (mut first, mut second) = (sound(), sound());
    put(&mut first, &site(FOUR));
    put(&mut first, &site(THREE));
    // Another history, and another order.
    put(&mut second, &site("\"fd01::1\", \"10.1.0.2\", \"10.1.0.1\""));
    let sum = |layer4: &Layer4| running(layer4).checksum(&seed());
    assert_eq!(sum(&first), sum(&second));
    let of = |layer4: &Layer4, name: &str| running(layer4).packets_view(name, &seed(), None).table;
    assert_eq!(of(&first, "d"), of(&second, "d"));
    assert_ne!(of(&first, "d"), of(&first, "n"));
    put(&mut second, &site(FOUR));
    assert_ne!(sum(&first), sum(&second), "one has a backend more");
    let other = Plan::of(&site(THREE), &FleetSeed::new("other"), &facts(&site(THREE)));
    let other = other.expect("a plan").expect("services");
    assert_ne!(other.checksum(None, &FleetSeed::new("other")), sum(&first), "the seed is another");
}

#[test]
fn counts_are_of_who_has_the_number() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let view = running(&layer4).packets_view("n", &seed(), None);
    assert_eq!(view.vips.len(), 4);
    assert!(view.vips.iter().all(|vip| vip.packets == 0), "7 were of somebody else");
    assert!(view.backends.iter().all(|one| one.packets == 0 && one.flows.is_none()));
}

#[test]
fn what_tables_have_no_room_for_is_refused_by_number() {
    let service = |number: usize| {
        format!(
            "[service.s{number}]\nvip = \"10.9.{}.{}\"\nports = \"tcp/80\"\nmode = \"dsr\"\n\
             interface = \"eth0\"\nto = \"c{number}\"\n[cluster.c{number}]\n\
             endpoints = [\"10.1.{0}.{1}\"]\n",
            number / 250,
            number % 250 + 1
        )
    };
    let text: String = (0..64).map(service).collect();
    let error = planned(&parse(&text)).expect_err("64 sets");
    let expected = "64 sets of backends of services in `nat` and `dsr`: at most 63";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn flows_leave_who_is_down_by_transport_and_a_restart_knows_who_was() {
    for (line, expected) in [
        ("", [false, true]),
        ("move_when_down = \"all\"\n", [true, true]),
        ("move_when_down = \"none\"\n", [false, false]),
    ] {
        let text = format!(
            "[service.d]\nvip = \"10.9.0.3\"\nports = [\"tcp/53\", \"udp/53\"]\n{line}\
             mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c\"\n[cluster.c]\n\
             endpoints = [\"10.1.0.1\", \"10.1.0.2\"]\n"
        );
        let mut layer4 = sound();
        let ip = "10.1.0.2".parse().expect("an address");
        let down = [(0, penstock_env::Address::Ip(std::net::SocketAddr::new(ip, 0)))];
        let well = parse(&text.replace(", \"10.1.0.2\"", ""));
        put(&mut layer4, &parse(&text));
        layer4.apply(&well, &down, &seed()).unwrap_or_else(|error| panic!("{error}"));
        let kept = running(&layer4).datapath.kept().expect("they say");
        let moves: Vec<bool> = kept.vips.iter().map(|(_, vip)| vip.moves != 0).collect();
        assert_eq!(moves, expected, "{line}");
        let adopted = Assignment::adopt(kept);
        assert_eq!(adopted.backends, running(&layer4).assignment.backends);
        let failed: Vec<bool> = adopted.backends.values().map(|one| one.failed).collect();
        assert_eq!(failed, [false, true]);
    }
}
