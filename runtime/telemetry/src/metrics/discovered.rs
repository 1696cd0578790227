//! Instances whose label values come with the traffic: methods that nobody declared.
//!
//! A table of fixed size that every shard reads and adds to without a lock. What finds no room is
//! counted together, so that no peer can make series without end. Nothing is ever taken out.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use penstock_env::MapSeed;

use super::registry::Instance;

/// Instances by keys of the traffic.
#[derive(Debug)]
pub struct Discovered {
    shard_count: usize,
    cell_count: u32,
    /// Twice as many as may be taken, and a power of two: a free one is near.
    slots: Box<[OnceLock<Slot>]>,
    max: usize,
    taken: AtomicUsize,
    /// What stands for all others.
    other: OnceLock<Instance>,
}

#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    values: Box<[String]>,
    instance: Instance,
}

impl Discovered {
    /// Room for `max` instances.
    pub(super) fn new(shard_count: usize, cell_count: u32, max: usize) -> Discovered {
        let slots = (0..(2 * max).next_power_of_two()).map(|_| OnceLock::new()).collect();
        let (taken, other) = (AtomicUsize::new(0), OnceLock::new());
        Discovered { shard_count, cell_count, slots, max, taken, other }
    }

    /// The instance with this key, if there is one.
    pub fn find(&self, key: &[u8]) -> Option<&Instance> {
        let slots = self.probe(key).map_while(|slot| slot.get());
        slots.into_iter().find(|slot| *slot.key == *key).map(|slot| &slot.instance)
    }

    /// The same, or a new one with the label values that `values` gives; where there is no more
    /// room, the one that stands for all others.
    pub fn find_or_add(&self, key: &[u8], values: impl FnOnce() -> Box<[String]>) -> &Instance {
        if let Some(known) = self.find(key) {
            return known;
        }
        // Shards that add at once may each be one too many: there are slots for them.
        if self.taken.load(Relaxed) >= self.max {
            return self.other();
        }
        let instance = Instance::new(self.shard_count, self.cell_count);
        let mut new = Slot { key: key.into(), values: values(), instance };
        for slot in self.probe(key) {
            match slot.set(new) {
                Ok(()) => {
                    self.taken.fetch_add(1, Relaxed);
                    return slot.get().map_or_else(|| self.other(), |slot| &slot.instance);
                }
                Err(back) => new = back,
            }
            // Another shard may have added the same in this instant.
            if let Some(taken) = slot.get().filter(|slot| *slot.key == *key) {
                return &taken.instance;
            }
        }
        self.other()
    }

    /// What stands for all that has no instance of its own.
    pub fn other(&self) -> &Instance {
        self.other.get_or_init(|| Instance::new(self.shard_count, self.cell_count))
    }

    /// How many there are, but for the one that stands for others.
    pub(super) fn len(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// All of them with their label values; those of the one that stands for others are none.
    pub(super) fn instances(&self) -> impl Iterator<Item = (Option<&[String]>, &Instance)> {
        let slots = self.slots.iter().filter_map(OnceLock::get);
        let found = slots.map(|slot| (Some(&*slot.values), &slot.instance));
        found.chain(self.other.get().map(|other| (None, other)))
    }

    /// The places where a key may be, in the order in which they are looked at: no more than a few,
    /// whatever a peer makes of its keys.
    fn probe(&self, key: &[u8]) -> impl Iterator<Item = &OnceLock<Slot>> {
        let first = MapSeed::default().hash_one(key) as usize;
        let mask = self.slots.len() - 1;
        (0..PROBES_MAX).map(move |step| &self.slots[(first + step) & mask])
    }
}

/// Half of the slots stay free: a run this long is one in thousands, if nobody aims at it.
const PROBES_MAX: usize = 16;
