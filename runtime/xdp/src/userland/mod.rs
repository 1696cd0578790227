//! The packet logic in userland, for machines where no XDP program can be loaded.
//!
//! What is for VIPs is led into a TUN device with a queue for each lane (`routes`, or `rules`
//! where the machine has the address itself); a lane is a thread that reads
//! its queue, decides, and writes what is to be sent back into the device, for the kernel to route
//! it on. Lanes share no table. The kernel gives a queue always the same flows, but the answers of
//! `nat` may come to another one than their flow: such packets are handed over (`lane`).
//!
//! Not for what the tables say, which is the control side's, as with the kernel's maps.

mod lane;
mod post;
mod routes;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use penstock_l4::memory::{Counts, Limits};
use penstock_l4::value::{
    Address, Backend, Counters, Flow, FlowKey, Pool, Settings, SourceRule, Vip, VipKey,
};
use penstock_l4::{MemoryTables, Subject, Tenure};

use crate::object::fits;
use crate::parameter::{self, Parameters};
use crate::tables::summed;
use crate::userland::lane::Lane;
use crate::userland::post::{Order, Post, mailboxes};
use crate::userland::routes::Routes;
use crate::userland::rules::{Rules, Selector};
use crate::{Capability, Fill, Interface, Options, Sizes, XdpError, tun};

/// The datapath in userland. When this is dropped its lanes end, the device and its routes are
/// gone, and what was set of the system is as it was.
pub struct Userland {
    lanes: Vec<Remote>,
    instead: Option<String>,
    routes: Routes,
    rules: Rules,
    services: BTreeMap<VipKey, Way>,
    /// Rules for the ports of NAT pools that are addresses of the machine.
    pools: Vec<Selector>,
    sources: BTreeSet<(Address, u8)>,
    sizes: Sizes,
    /// Interfaces that packets come by, with what was set of them.
    interfaces: Vec<(Interface, Parameters)>,
    /// What was set of the device and of all.
    _parameters: Parameters,
}

/// How packets of a service come into the device.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    /// By a route to its address.
    Route,
    /// By a rule, ahead of the machine's own addresses.
    Rule(Selector),
    /// By what was made for its address, or not at all.
    Nothing,
}

/// A lane as seen from here.
struct Remote {
    post: Post,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Userland {
    /// Makes the device, sets what the kernel needs to forward its packets, and starts the lanes:
    /// all in the network namespace of the thread that calls. `instead` is why it is not the
    /// program in the kernel.
    ///
    /// # Errors
    /// A missing capability; a device of that name; a system parameter that can't be set.
    pub fn start(options: &Options, instead: Option<String>) -> Result<Self, XdpError> {
        if let Some(missing) = Capability::missing(&[Capability::NetAdmin]) {
            return Err(XdpError::TunCapability(missing));
        }
        if fs::read_to_string(parameter::RP_FILTER_ALL).is_ok_and(|value| value.trim() == "1") {
            return Err(XdpError::ReversePathFilter);
        }
        let device = tun::name_for("pst", &options.instance);
        let processors = processors(options);
        let queues = tun::queues(&device, processors.len())?;
        let interface = Interface::named(&device)?;
        let mut userland = Userland {
            lanes: Vec::new(),
            instead,
            routes: Routes::open(interface.index())?,
            rules: Rules::open(&device, interface.index())?,
            pools: Vec::new(),
            services: BTreeMap::new(),
            sources: BTreeSet::new(),
            sizes: options.sizes,
            interfaces: Vec::new(),
            _parameters: Parameters::of_device(&device)?,
        };
        tun::raise_queues(&device, tun::MTU_MAX)?;
        let failed = |error| XdpError::Tun { name: device.clone(), error };
        let (posts, boxes) = mailboxes(processors.len()).map_err(failed)?;
        let limits = limits(&options.sizes, processors.len());
        for ((queue, mailbox), processor) in queues.into_iter().zip(boxes).zip(processors) {
            let number = userland.lanes.len() as u32;
            let tables = MemoryTables::new(NO_SETTINGS, &limits, number);
            let counts = tables.counts();
            let (others, index) = (posts.clone(), interface.index());
            let lane = move || {
                Lane::new(number, queue, index, tables, mailbox, others).run(processor);
            };
            let thread = std::thread::Builder::new().name(format!("lane-{number}"));
            let thread = Some(thread.spawn(lane).map_err(failed)?);
            let post = posts[number as usize].clone();
            userland.lanes.push(Remote { post, counts, thread });
        }
        Ok(userland)
    }

    /// Takes packets that come by these interfaces, too, and sees to it that they are forwarded.
    ///
    /// # Errors
    /// A system parameter can't be set, or a rule not be made.
    pub fn attach(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        for interface in interfaces {
            if self.interfaces.iter().any(|(known, _)| known == interface) {
                continue;
            }
            let parameters = Parameters::of_interface(interface.name())?;
            self.rules.attach(interface.name())?;
            self.interfaces.push((interface.clone(), parameters));
        }
        Ok(())
    }

    /// Takes packets of no other interfaces, and sets back what was set for them.
    pub fn release_others(&mut self, interfaces: &[Interface]) {
        for (interface, _) in &self.interfaces {
            if !interfaces.contains(interface) {
                self.rules.release(interface.name());
            }
        }
        self.interfaces.retain(|(interface, _)| interfaces.contains(interface));
    }

    /// Why it is not the program in the kernel, where that was tried.
    pub fn instead(&self) -> Option<&str> {
        self.instead.as_deref()
    }

    /// How many lanes there are: the ports of a NAT pool are split between them.
    pub fn lanes(&self) -> u32 {
        self.lanes.len() as u32
    }

    /// Whether every lane still reads its queue. They end when somebody removes the device.
    pub fn is_running(&self) -> bool {
        self.lanes.iter().all(|lane| lane.thread.as_ref().is_some_and(|one| !one.is_finished()))
    }

    /// The counts so far, over all lanes; nothing when there is no such VIP or backend.
    pub fn counters(&self, subject: Subject) -> Option<Counters> {
        self.lanes.iter().filter_map(|lane| lane.counts.of(subject)).reduce(summed)
    }

    /// The flows of a table, each direction on its own. The lanes are asked for a part at a time:
    /// what comes or goes meanwhile may be missing, or be there twice.
    pub fn flows(&self, tenure: Tenure) -> impl Iterator<Item = (FlowKey, Flow)> {
        self.lanes.iter().flat_map(move |lane| {
            let mut next = Some(0);
            std::iter::from_fn(move || {
                let first = next?;
                let (answer, parts) = sync_channel(1);
                lane.post.order(Order::Flows { tenure, first, count: PLACES, answer });
                // A lane that has ended has no flows.
                let (flows, more) = parts.recv().ok()?;
                next = more.then_some(first + PLACES);
                Some(flows)
            })
            .flatten()
        })
    }

    fn tell(&self, order: impl Fn() -> Order) {
        for lane in &self.lanes {
            lane.post.order(order());
        }
    }

    /// Waits until every lane has done what it was told so far.
    fn settle(&self) {
        let (answer, done) = sync_channel(self.lanes.len());
        self.tell(|| Order::Settle(answer.clone()));
        drop(answer);
        // They answer, or have ended.
        while done.recv().is_ok() {}
    }

    /// Leads packets of a new service into the device.
    fn lead(&mut self, key: &VipKey) -> Result<Way, XdpError> {
        let (address, is_address) = (key.address, *key == VipKey::address(key.address));
        if !self.routes.is_local(&address)? {
            if is_address {
                self.routes.add(&address)?;
                return Ok(Way::Route);
            }
            return Ok(Way::Nothing);
        }
        let port = u16::from_be(key.port);
        let (protocol, ports) = match key.protocol {
            TCP | UDP => (key.protocol, Some((port, port))),
            // Echoes and errors. Those of IPv6 stay the machine's: neighbours ask by the same
            // protocol.
            _ if is_address && address.is_v4() => (ICMP, None),
            _ => return Ok(Way::Nothing),
        };
        let selector = Selector { address, protocol, ports };
        self.rules.add(selector)?;
        Ok(Way::Rule(selector))
    }

    /// Leads packets of a service there no more.
    fn let_go(&mut self, key: &VipKey) -> Result<(), XdpError> {
        match self.services.get(key) {
            Some(Way::Route) => self.routes.remove(&key.address),
            Some(Way::Rule(selector)) => {
                self.rules.remove(selector);
                Ok(())
            }
            Some(Way::Nothing) | None => Ok(()),
        }
    }

    /// Leads what comes back to pools into the device, where the machine has their address.
    fn lead_pools(&mut self, settings: &Settings) -> Result<(), XdpError> {
        let mut wanted = Vec::new();
        for pool in [settings.pool_v4, settings.pool_v6] {
            let count = u32::from(pool.lane_ports) * self.lanes();
            let last = (u32::from(pool.port_first) + count).saturating_sub(1);
            let last = u16::try_from(last).unwrap_or(u16::MAX);
            let has_ports = settings.nat != 0 && !pool.address.is_unspecified() && count > 0;
            if has_ports && self.routes.is_local(&pool.address)? {
                let ports = Some((pool.port_first, last));
                let of = |protocol| Selector { address: pool.address, protocol, ports };
                wanted.extend([of(TCP), of(UDP)]);
            }
        }
        let gone: Vec<_> = self.pools.iter().filter(|one| !wanted.contains(one)).copied().collect();
        for selector in gone {
            self.rules.remove(&selector);
            self.pools.retain(|one| *one != selector);
        }
        for selector in wanted {
            if !self.pools.contains(&selector) {
                self.rules.add(selector)?;
                self.pools.push(selector);
            }
        }
        Ok(())
    }

    /// Tells lanes which addresses the machine has itself: what they pass on of their packets is
    /// for it.
    fn tell_own(&self) {
        let rules = self.services.values().filter_map(|way| match way {
            Way::Rule(selector) => Some(selector.address),
            Way::Route | Way::Nothing => None,
        });
        let own: BTreeSet<_> = rules.chain(self.pools.iter().map(|pool| pool.address)).collect();
        let own: Arc<[Address]> = own.into_iter().collect();
        self.tell(|| Order::Own(own.clone()));
    }
}

impl Drop for Userland {
    fn drop(&mut self) {
        self.tell(|| Order::Stop);
        for lane in &mut self.lanes {
            if let Some(thread) = lane.thread.take() {
                // One that has panicked has ended, too.
                let _ = thread.join();
            }
        }
    }
}

/// A change is told to every lane, and each sees it between two packets: soon, or where packets
/// would else come too early, before they do.
impl Fill for Userland {
    fn set_settings(&mut self, settings: &Settings) -> Result<(), XdpError> {
        let settings = *settings;
        self.tell(|| Order::Settings(settings));
        self.lead_pools(&settings)?;
        self.tell_own();
        Ok(())
    }

    fn set_service(&mut self, key: &VipKey, number: Option<u16>) -> Result<(), XdpError> {
        let new = number.is_some() && !self.services.contains_key(key);
        room(new, "service", self.services.len(), self.sizes.services_max)?;
        // A lane has to know what it is sent: so the way there comes last, and goes first.
        if number.is_none() {
            self.let_go(key)?;
            self.services.remove(key);
        }
        self.tell(|| Order::Service(*key, number));
        if new {
            self.settle();
            let way = self.lead(key)?;
            self.services.insert(*key, way);
            if let Way::Rule(_) = way {
                self.tell_own();
            }
        }
        Ok(())
    }

    fn set_vip(&mut self, number: u16, vip: &Vip) -> Result<(), XdpError> {
        self.sizes.hold_vip(number)?;
        let vip = *vip;
        self.tell(|| Order::Vip(number, vip));
        Ok(())
    }

    fn set_maglev(&mut self, maglev: u32, slots: &[u32]) -> Result<(), XdpError> {
        self.sizes.hold_maglev(maglev, slots)?;
        let slots: Arc<[u32]> = slots.into();
        self.tell(|| Order::Maglev(maglev, slots.clone()));
        Ok(())
    }

    fn set_backend(&mut self, index: u32, backend: Option<&Backend>) -> Result<(), XdpError> {
        self.sizes.hold_backend(index)?;
        let backend = backend.copied();
        self.tell(|| Order::Backend(index, backend));
        Ok(())
    }

    fn set_source(
        &mut self,
        address: &Address,
        bits: u8,
        rule: Option<&SourceRule>,
    ) -> Result<(), XdpError> {
        let (prefix, rule) = ((*address, bits), rule.copied());
        let new = rule.is_some() && !self.sources.contains(&prefix);
        room(new, "source rule", self.sources.len(), self.sizes.source_rules_max)?;
        match rule {
            Some(_) => self.sources.insert(prefix),
            None => self.sources.remove(&prefix),
        };
        self.tell(|| Order::Source(prefix.0, bits, rule));
        Ok(())
    }
}

/// Where lanes run, one each.
fn processors(options: &Options) -> Vec<Option<u32>> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    match options.processors.len() {
        0 => vec![None; count],
        _ => options.processors.clone(),
    }
}

/// Each lane has its share of the flows, and all of everything else.
fn limits(sizes: &Sizes, lanes: usize) -> Limits {
    let share = |max: u32| (max as usize).div_ceil(lanes);
    Limits {
        new_flows_max: share(sizes.new_flows_max),
        proven_flows_max: share(sizes.proven_flows_max),
        buckets_max: share(sizes.buckets_max),
        vips_max: sizes.vips_max,
        backends_max: sizes.backends_max,
    }
}

/// Whether one more fits.
fn room(new: bool, what: &'static str, count: usize, max: u32) -> Result<(), XdpError> {
    fits(!new || count < max as usize, what, count as u64 + 1, max)
}

/// Protocols by number (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Places of a table that a lane looks through at a time: about 100 us of its time.
const PLACES: usize = 8_192;

/// Before there are any, nothing is ours.
const NO_SETTINGS: Settings = Settings {
    hash_key: [0; 2],
    pool_v4: NO_POOL,
    pool_v6: NO_POOL,
    tunnel_v4: Address::v6([0; 16]),
    tunnel_v6: Address::v6([0; 16]),
    sources: 0,
    nat: 0,
};
const NO_POOL: Pool =
    Pool { address: Address::v6([0; 16]), port_first: 0, lane_ports: 0, zero: [0; 4] };
