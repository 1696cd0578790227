//! A datapath that holds every change to what a packet would meet, and fails where it is told to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

use penstock_balance::FleetSeed;
use penstock_config::{Config, UncheckedFiles};
use penstock_l4::value::{
    Address, Backend, Counters, Flow, FlowKey, Link, Settings, SourceRule, Vip, VipKey, mode, state,
};
use penstock_l4::{CAUSE_COUNT, Kept, MAGLEV_SLOTS, Subject, Tenure, Tick};

use super::super::facts::Facts;
use super::super::plan::Plan;
use super::super::running::{Layer4, Running};
use super::super::{
    BadPlan, Change, Datapath, DatapathError, DatapathOptions, Datapaths, Detour, InterfaceFacts,
    Tables,
};
use super::{detour, ways};

/// Tables that say after each change whether a packet would be forwarded to nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pretended {
    pub(super) settings: Option<Settings>,
    pub(super) services: BTreeMap<VipKey, u16>,
    pub(super) vips: BTreeMap<u16, Vip>,
    pub(super) maglevs: BTreeMap<u32, Arc<[u32]>>,
    pub(super) backends: BTreeMap<u32, Backend>,
    pub(super) sources: BTreeMap<(Address, u8), SourceRule>,
    pub(super) interfaces: Vec<String>,
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

/// A datapath that fails when it has been written to so often, or when so many entries were added
/// to those of its tables that can be full.
struct Pretending {
    tables: Pretended,
    writes: Arc<AtomicUsize>,
    room: Arc<AtomicUsize>,
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
        let adds = matches!(change, Change::Service(_, Some(_)) | Change::Source(_, _, Some(_)));
        let is_full = adds && self.room.fetch_sub(1, Relaxed) == 1;
        if is_full || self.writes.fetch_sub(1, Relaxed) == 1 {
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

pub(super) struct Machine {
    pub(super) writes: Arc<AtomicUsize>,
    pub(super) room: Arc<AtomicUsize>,
    /// What an earlier process left.
    pub(super) left: Pretended,
    /// Ways for checks that are open.
    pub(super) detours: Arc<AtomicUsize>,
    pub(super) neighbours: ways::Neighbours,
    /// What becomes of `eth0`: its index; 0 while it is missing.
    pub(super) eth0: Arc<AtomicU32>,
    /// The datapath that runs reads nothing any more.
    pub(super) dead: Arc<AtomicBool>,
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
        let (writes, room) = (Arc::clone(&self.writes), Arc::clone(&self.room));
        let (tables, neighbours) = (self.left.clone(), self.neighbours.clone());
        self.dead.store(false, Relaxed);
        let dead = Arc::clone(&self.dead);
        let mut datapath = Pretending { tables, writes, room, neighbours, dead };
        fill(&mut datapath)?;
        datapath.attach(interfaces)?;
        Ok(Box::new(datapath))
    }

    fn detour(&mut self, _instance: &str) -> Result<Box<dyn Detour>, DatapathError> {
        self.detours.fetch_add(1, Relaxed);
        Ok(Box::new(detour::PretendedDetour(Arc::clone(&self.detours))))
    }
}

pub(super) fn parse(text: &str) -> Config {
    let config = Config::parse("test.toml", text.as_bytes(), &UncheckedFiles);
    config.unwrap_or_else(|findings| panic!("{findings}"))
}

pub(super) fn seed() -> FleetSeed {
    FleetSeed::new("test")
}

/// A service in `nat` with a VIP of each family, and one in `dsr`, over these endpoints.
pub(super) fn site(endpoints: &str) -> Config {
    parse(&format!(
        "[service.n]\nvip = [\"10.9.0.1\", \"fd09::1\"]\nports = [\"tcp/80\", \"udp/53\"]\n\
         mode = \"nat\"\ninterface = \"eth0\"\nto = \"c\"\n\
         [service.d]\nvip = \"10.9.0.3\"\nports = \"tcp/443\"\nmode = \"dsr\"\n\
         interface = \"eth0\"\nto = \"c\"\n[cluster.c]\nendpoints = [{endpoints}]\n"
    ))
}

pub(super) const THREE: &str = "\"10.1.0.1\", \"10.1.0.2\", \"fd01::1\"";
pub(super) const FOUR: &str = "\"10.1.0.1\", \"10.1.0.2\", \"10.1.0.3\", \"fd01::1\"";

pub(super) fn layer4(writes: &Arc<AtomicUsize>, left: Pretended) -> Layer4 {
    Layer4::new(Box::new(Machine { writes: Arc::clone(writes), left, ..machine() }))
}

impl Layer4 {
    /// Those of all VIPs: where one is another, flows have ended.
    pub(super) fn generations(&self) -> Vec<u16> {
        let all = &running(self).assignment;
        all.vips.values().filter_map(|number| Some(all.vip(*number)?.generation)).collect()
    }
}

/// One that never fails.
pub(super) fn sound() -> Layer4 {
    layer4(&Arc::new(AtomicUsize::new(usize::MAX)), Pretended::default())
}

#[track_caller]
pub(super) fn put(layer4: &mut Layer4, config: &Config) {
    layer4.apply(config, &[], &seed()).unwrap_or_else(|error| panic!("{error}"));
    layer4.settle();
}

pub(super) fn running(layer4: &Layer4) -> &Running {
    layer4.running.as_ref().expect("a datapath runs")
}

/// What the tables say, in what a packet can tell: not which Maglev table, not which index.
pub(super) fn meaning(layer4: &Layer4) -> String {
    let kept = running(layer4).datapath.kept().expect("they say");
    let mut lines: Vec<String> = kept.services.iter().map(|one| format!("{one:?}")).collect();
    lines.extend(kept.backends.iter().map(|(_, one)| format!("{:?} {}", one.address, one.state)));
    lines.sort();
    lines.join("\n")
}

pub(super) fn machine() -> Machine {
    let [writes, room] = [(); 2].map(|()| Arc::new(AtomicUsize::new(usize::MAX)));
    let (detours, neighbours) = (Arc::default(), ways::Neighbours::new());
    let (eth0, dead) = (Arc::new(AtomicU32::new(1)), Arc::default());
    Machine { writes, room, left: Pretended::default(), detours, neighbours, eth0, dead }
}

pub(super) fn facts(config: &Config) -> Facts {
    Facts::of(config, &machine())
}

pub(super) fn planned(config: &Config) -> Result<Option<Plan>, BadPlan> {
    Plan::of(config, &seed(), &facts(config))
}
