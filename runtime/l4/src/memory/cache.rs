//! A table of fixed size that forgets the least recently used of eight entries.
//!
//! A key may stand in one of eight places, chosen by a keyed hash; when all are taken, the one that
//! was not used for longest makes room. That is what the kernel's LRU maps do, less exactly and in
//! no more memory than the entries: no list, nothing to allocate, nothing to sweep.

use core::cell::Cell;

use crate::flow_hash;
use crate::value::FlowKey;

/// Places that a key may stand in.
const WAYS: usize = 8;

/// Values by flow key.
pub(super) struct Cache<V> {
    hash_key: [u64; 2],
    ways: Box<[Way<V>]>,
    /// Counts look-ups: what "recently" means.
    clock: Cell<u64>,
}

struct Way<V> {
    /// When it was last used; 0 is an empty place.
    used: Cell<u64>,
    key: Cell<Option<FlowKey>>,
    value: Cell<V>,
}

impl<V: Copy> Cache<V> {
    /// Room for `entries_max`, rounded up to a power of two of sets.
    pub(super) fn new(hash_key: [u64; 2], entries_max: usize, none: V) -> Self {
        let sets = entries_max.div_ceil(WAYS).next_power_of_two();
        let way = || Way { used: Cell::new(0), key: Cell::new(None), value: Cell::new(none) };
        let ways = (0..sets * WAYS).map(|_| way()).collect();
        Cache { hash_key, ways, clock: Cell::new(0) }
    }

    /// The value of a key, which is thereby used.
    pub(super) fn find(&self, key: &FlowKey) -> Option<&Cell<V>> {
        let way = self.set(key).iter().find(|way| way.key.get() == Some(*key))?;
        way.used.set(self.tick());
        Some(&way.value)
    }

    /// Puts a value in, in place of that of the same key, of none, or of the least recently used.
    pub(super) fn put(&self, key: &FlowKey, value: V) -> &Cell<V> {
        let set = self.set(key);
        let same = set.iter().find(|way| way.key.get() == Some(*key));
        let oldest = || set.iter().min_by_key(|way| way.used.get()).expect("a set has eight ways");
        let way = same.unwrap_or_else(oldest);
        way.used.set(self.tick());
        way.key.set(Some(*key));
        way.value.set(value);
        &way.value
    }

    /// Takes a key out.
    pub(super) fn remove(&self, key: &FlowKey) {
        if let Some(way) = self.set(key).iter().find(|way| way.key.get() == Some(*key)) {
            way.used.set(0);
            way.key.set(None);
        }
    }

    /// The entries in `count` places from `first` on.
    pub(super) fn entries(&self, first: usize, count: usize) -> impl Iterator<Item = (FlowKey, V)> {
        let ways = self.ways.iter().skip(first).take(count);
        ways.filter_map(|way| Some((way.key.get()?, way.value.get())))
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.ways.len()
    }

    fn set(&self, key: &FlowKey) -> &[Way<V>] {
        let sets = self.ways.len() / WAYS;
        let at = flow_hash(&self.hash_key, key) as usize & (sets - 1);
        &self.ways[at * WAYS..][..WAYS]
    }

    fn tick(&self) -> u64 {
        let tick = self.clock.get() + 1;
        self.clock.set(tick);
        tick
    }
}
