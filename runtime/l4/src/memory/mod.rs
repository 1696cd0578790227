//! Tables in plain memory: for the TUN fallback, and for tests.
//!
//! Everything is of fixed size from the start. Who fills them is the control side; who reads
//! them, one thread.

mod cache;
mod counts;
mod home;
mod prefixes;

use core::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::value::{
    Address, Backend, Bucket, Counters, Flow, FlowKey, Settings, SourceRule, Vip, VipKey,
};
use crate::{Count, MAGLEV_SLOTS, Subject, Tables, Tenure};
use cache::Cache;
use prefixes::Prefixes;

pub use counts::Counts;
pub use home::{Home, home};

/// How many entries each table holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows of which a first packet has come, directions counted.
    pub new_flows_max: usize,
    /// Flows that go on, directions counted.
    pub proven_flows_max: usize,
    /// Sources with a bucket of tokens.
    pub buckets_max: usize,
    /// VIPs, numbered from 1 on.
    pub vips_max: u16,
    /// Backends.
    pub backends_max: u32,
}

/// All that [`crate::handle`] asks for.
pub struct MemoryTables {
    settings: Settings,
    services: BTreeMap<VipKey, u16>,
    vips: Vec<Option<Vip>>,
    maglevs: Vec<Option<Arc<[u32]>>>,
    backends: Vec<Option<Backend>>,
    new_flows: Cache<Flow>,
    proven_flows: Cache<Flow>,
    buckets: Cache<Bucket>,
    prefixes: Prefixes,
    counts: Arc<Counts>,
    lane: u32,
}

impl MemoryTables {
    /// Empty tables for one lane.
    pub fn new(settings: Settings, limits: &Limits, lane: u32) -> Self {
        let flow_cache = |entries_max| Cache::new(settings.hash_key, entries_max, NO_FLOW);
        MemoryTables {
            settings,
            services: BTreeMap::new(),
            vips: vec![None; usize::from(limits.vips_max) + 1],
            maglevs: Vec::new(),
            backends: vec![None; limits.backends_max as usize],
            new_flows: flow_cache(limits.new_flows_max),
            proven_flows: flow_cache(limits.proven_flows_max),
            buckets: Cache::new(
                settings.hash_key,
                limits.buckets_max,
                Bucket { tokens: 0, filled: 0 },
            ),
            prefixes: Prefixes::default(),
            counts: Arc::new(Counts::new(limits)),
            lane,
        }
    }

    /// Changes what holds for all packets; a new hash key empties no table, it takes effect for
    /// flows that begin.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Says which VIP a key belongs to; `None` takes it away.
    pub fn set_service(&mut self, key: VipKey, number: Option<u16>) {
        match number {
            Some(number) => self.services.insert(key, number),
            None => self.services.remove(&key),
        };
    }

    /// Sets a VIP. False when the number is 0 or beyond the limit.
    pub fn set_vip(&mut self, number: u16, vip: Option<Vip>) -> bool {
        match self.vips.get_mut(usize::from(number)) {
            Some(place) if number != 0 => {
                *place = vip;
                true
            }
            _ => false,
        }
    }

    /// Sets a Maglev table: indices of backends, shared by all lanes. False when it is not of
    /// [`MAGLEV_SLOTS`] slots.
    pub fn set_maglev(&mut self, maglev: u32, slots: Arc<[u32]>) -> bool {
        if slots.len() != MAGLEV_SLOTS as usize {
            return false;
        }
        let maglev = maglev as usize;
        if self.maglevs.len() <= maglev {
            self.maglevs.resize(maglev + 1, None);
        }
        self.maglevs[maglev] = Some(slots);
        true
    }

    /// Sets a backend. False when the index is beyond the limit.
    pub fn set_backend(&mut self, index: u32, backend: Option<Backend>) -> bool {
        match self.backends.get_mut(index as usize) {
            Some(place) => {
                *place = backend;
                true
            }
            None => false,
        }
    }

    /// Sets the rule for a prefix; lengths are of IPv6, an IPv4 prefix has 96 bits more.
    pub fn set_source(&mut self, address: Address, bits: u8, rule: Option<SourceRule>) {
        self.prefixes.set(address, bits, rule);
    }

    /// The counts so far; nothing when there is no such VIP or backend.
    pub fn counters(&self, subject: Subject) -> Option<Counters> {
        self.counts.of(subject)
    }

    /// The counts, for other threads to read.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// The flows of a table, each direction on its own.
    pub fn flows(&self, tenure: Tenure) -> impl Iterator<Item = (FlowKey, Flow)> {
        self.cache(tenure).entries(0, usize::MAX)
    }

    /// Of the places that a table's entries stand in, `count` from `first` on: those that are
    /// taken, and whether there are more behind them. For who lists a large table in parts.
    pub fn flows_in(
        &self,
        tenure: Tenure,
        first: usize,
        count: usize,
    ) -> (impl Iterator<Item = (FlowKey, Flow)>, bool) {
        let cache = self.cache(tenure);
        (cache.entries(first, count), first.saturating_add(count) < cache.places())
    }

    fn cache(&self, tenure: Tenure) -> &Cache<Flow> {
        match tenure {
            Tenure::New => &self.new_flows,
            Tenure::Proven => &self.proven_flows,
        }
    }
}

impl Tables for MemoryTables {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn vip_number(&self, key: &VipKey) -> Option<u16> {
        self.services.get(key).copied()
    }

    fn vip(&self, number: u16) -> Option<&Vip> {
        self.vips.get(usize::from(number))?.as_ref()
    }

    fn slot(&self, maglev: u32, slot: u32) -> Option<u32> {
        self.maglevs.get(maglev as usize)?.as_ref()?.get(slot as usize).copied()
    }

    fn backend(&self, index: u32) -> Option<&Backend> {
        self.backends.get(index as usize)?.as_ref()
    }

    fn flow(&self, tenure: Tenure, key: &FlowKey) -> Option<&Cell<Flow>> {
        self.cache(tenure).find(key)
    }

    fn put_flow(&self, tenure: Tenure, key: &FlowKey, flow: &Flow) -> bool {
        self.cache(tenure).put(key, *flow);
        true
    }

    fn remove_flow(&self, tenure: Tenure, key: &FlowKey) {
        self.cache(tenure).remove(key);
    }

    fn source_rule(&self, address: &Address) -> Option<&SourceRule> {
        self.prefixes.find(address)
    }

    fn bucket(&self, owner: &u64, full: Bucket) -> Option<&Cell<Bucket>> {
        let none = Address::v6([0; 16]);
        let key = FlowKey {
            source: Address::from_words([*owner, 0]),
            destination: none,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            zero: [0; 3],
        };
        Some(self.buckets.find(&key).unwrap_or_else(|| self.buckets.put(&key, full)))
    }

    fn count(&self, subject: Subject, count: Count) {
        self.counts.add(subject, count);
    }

    fn lane(&self) -> u32 {
        self.lane
    }
}

const NO_FLOW: Flow = Flow {
    source: Address::v6([0; 16]),
    destination: Address::v6([0; 16]),
    link: crate::value::Link { destination: [0; 6], source: [0; 6], interface: 0 },
    bytes: 0,
    source_port: 0,
    destination_port: 0,
    addresses_delta: 0,
    transport_delta: 0,
    backend: 0,
    seen: 0,
    paired: 0,
    vip: 0,
    vip_generation: 0,
    backend_generation: 0,
    state: 0,
    role: 0,
    zero: [0; 4],
};

#[cfg(test)]
mod tests;
