//! Maglev hashing: the same key meets the same endpoint on every appliance, and goes on to meet
//! it while other endpoints come and go (Eisenbud et al., NSDI 2016, §3.4).
//!
//! Each endpoint has a permutation of all slots, made of its address and the fleet's seed; in
//! turns each takes the next slot of its own that is still free. Who has half the weight takes
//! half the turns. A key's endpoint that may not be picked, or has more than its bound of the
//! load, is passed over by walking on in the table (consistent hashing with bounded loads,
//! Mirrokni et al. 2018): neighbours in the table are random, so the keys of one endpoint
//! spread over all others, and every appliance finds the same one.
//!
//! Measured, optimised: a table is built in 1.2 ms for 10 to 1,000 endpoints of like weights, in
//! 245 ms in the worst case (10,000 of weight 1 beside one of 65,535), always off the shards.

use penstock_config::Ratio;
use penstock_env::{Address, Rng};

use super::SOMEBODY;
use crate::FleetSeed;
use crate::balancer::{Candidates, ENDPOINTS_MAX, Endpoint, EndpointSpec};

/// Slots of a table: a prime, so that every skip visits all; 100 for each of 655 endpoints.
const SLOTS: u32 = 65_537;

/// Below this many requests in flight an endpoint is never over its bound: with next to nothing
/// in flight any second request would be.
const BOUND_FLOOR: u64 = 16;

/// How far a key may walk for an endpoint below its bound. Beyond it, all are as good as full.
const BOUND_WALK_MAX: usize = 1_024;

/// No endpoint has this index.
const FREE: u16 = u16::MAX;
const _: () = assert!(ENDPOINTS_MAX < FREE as usize);

/// A table of slots.
#[derive(Debug)]
pub(crate) struct Maglev {
    /// Empty when no endpoint has a weight.
    slots: Box<[u16]>,
    weight_total: u64,
    load_max: Ratio,
}

impl Maglev {
    pub(super) fn new(endpoints: &[Endpoint], seed: &FleetSeed, load_max: Ratio) -> Self {
        let weight_total = endpoints.iter().map(|one| u64::from(one.weight())).sum();
        let weights = endpoints.iter().map(|one| (one.address(), one.weight()));
        Maglev { slots: populate(weights, seed), weight_total, load_max }
    }

    /// The key's endpoint, or the next one in the table.
    #[inline]
    pub(super) fn pick(&self, candidates: &Candidates<'_>, rng: &mut Rng) -> u32 {
        let key = candidates.pick().key.unwrap_or_else(|| rng.next_u64());
        let slot = ((u128::from(key) * u128::from(SLOTS)) >> 64) as usize;
        let walk = || self.slots[slot..].iter().chain(&self.slots[..slot]).copied().map(u32::from);
        let bound = self.bound(candidates);
        // The same endpoint may come up again before a free one does; asking it twice is cheap.
        let within = walk()
            .take(BOUND_WALK_MAX)
            .find(|&index| candidates.allow(index) && !bound.is_reached(candidates, index));
        within.or_else(|| walk().find(|&index| candidates.allow(index))).expect(SOMEBODY)
    }

    /// The table, for those who check it.
    #[cfg(test)]
    pub(super) fn slots(&self) -> &[u16] {
        &self.slots
    }

    fn bound(&self, candidates: &Candidates<'_>) -> Bound {
        // The share of the mean for one unit of weight, the request at hand included. The weight
        // of those who are usable is taken to be in proportion to their number: adding it up
        // would cost more than it is worth.
        let in_flight = u64::from(candidates.cluster_in_flight()) + 1;
        let (all, usable) = (candidates.endpoints().len() as u64, candidates.count() as u64);
        let share = in_flight * u64::from(self.load_max.as_basis_points()) * all;
        Bound { share, per: (self.weight_total * usable * 10_000).max(1) }
    }
}

/// How many requests in flight an endpoint may have: weight x share / per.
struct Bound {
    share: u64,
    per: u64,
}

impl Bound {
    fn of(&self, weight: u32) -> u64 {
        self.share.saturating_mul(u64::from(weight)).div_ceil(self.per)
    }

    #[inline]
    fn is_reached(&self, candidates: &Candidates<'_>, index: u32) -> bool {
        let endpoint = &candidates.endpoints()[index as usize];
        let in_flight = u64::from(endpoint.load().in_flight());
        in_flight >= BOUND_FLOOR && in_flight >= self.of(endpoint.weight())
    }
}

/// An endpoint's walk over its permutation, and how far it is behind in turns.
struct Walker {
    index: u16,
    at: u32,
    skip: u32,
    weight: u64,
    credit: u64,
}

/// The table by itself, for those who look up in it elsewhere: for each slot the place of an
/// endpoint. Who sorts the endpoints has the same table on every appliance. It is empty when no
/// endpoint has a weight, or there are more than [`ENDPOINTS_MAX`].
pub fn maglev_table(endpoints: &[EndpointSpec], seed: &FleetSeed) -> Box<[u16]> {
    if endpoints.len() > ENDPOINTS_MAX {
        return Box::default();
    }
    populate(endpoints.iter().map(|one| (&one.address, u32::from(one.weight))), seed)
}

fn populate<'e>(
    endpoints: impl Iterator<Item = (&'e Address, u32)>,
    seed: &FleetSeed,
) -> Box<[u16]> {
    let weighted = endpoints.enumerate().filter(|(_, (_, weight))| *weight > 0);
    let mut walkers: Vec<Walker> = weighted
        .map(|(index, (address, weight))| {
            let [offset, skip] = seed.hash_address(address);
            Walker {
                index: index as u16,
                at: (offset % u64::from(SLOTS)) as u32,
                skip: (skip % u64::from(SLOTS - 1)) as u32 + 1,
                weight: u64::from(weight),
                credit: 0,
            }
        })
        .collect();
    let Some(weight_max) = walkers.iter().map(|walker| walker.weight).max() else {
        return Box::default();
    };
    for walker in &mut walkers {
        // Everybody takes the first turn: the lightest endpoint too gets a slot.
        walker.credit = weight_max - walker.weight;
    }
    // Which slots are free, one bit each: 8 KiB that stay in the first-level cache.
    let mut taken = vec![0_u64; SLOTS as usize / 64 + 1];
    let mut slots = vec![FREE; SLOTS as usize].into_boxed_slice();
    let mut free = SLOTS;
    loop {
        for walker in &mut walkers {
            walker.credit += walker.weight;
            if walker.credit < weight_max {
                continue;
            }
            walker.credit -= weight_max;
            while taken[walker.at as usize / 64] & (1 << (walker.at % 64)) != 0 {
                walker.step();
            }
            taken[walker.at as usize / 64] |= 1 << (walker.at % 64);
            slots[walker.at as usize] = walker.index;
            walker.step();
            free -= 1;
            if free == 0 {
                return slots;
            }
        }
    }
}

impl Walker {
    #[inline]
    fn step(&mut self) {
        self.at += self.skip;
        if self.at >= SLOTS {
            self.at -= SLOTS;
        }
    }
}
