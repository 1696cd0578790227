//! Weighted round robin, smooth: an endpoint of weight 5 comes every fifth part of a round.
//!
//! Earliest deadline first: an endpoint is due every 1/weight, and who is due first is picked.
//! The result interleaves as nginx' smooth algorithm does, which scans all endpoints for each
//! pick; a heap makes it O(log n), as in Envoy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use penstock_env::Rng;

use super::SOMEBODY;
use crate::balancer::{Candidates, Endpoint};

/// When an endpoint is due, then which one it is: the order of the heap.
type Due = Reverse<(u64, u32)>;

/// Who is due when, on one shard.
#[derive(Debug)]
pub(super) struct Schedule {
    heap: BinaryHeap<Due>,
    /// Who could not be picked, for the length of one pick.
    aside: Vec<Due>,
}

impl Schedule {
    /// Everybody begins somewhere within the first period, so that shards do not begin with the
    /// same endpoint all at once.
    pub(super) fn new(endpoints: &[Endpoint], rng: &mut Rng) -> Self {
        let weighted = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.weight() > 0);
        let heap = weighted
            .map(|(index, endpoint)| {
                let first = (rng.unit() * period(endpoint) as f64) as u64;
                Reverse((first, index as u32))
            })
            .collect();
        Schedule { heap, aside: Vec::new() }
    }

    /// The endpoint that is due first of those that may be picked.
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>) -> u32 {
        let endpoints = candidates.endpoints();
        let (picked, clock) = loop {
            let mut top = self.heap.peek_mut().expect(SOMEBODY);
            let Reverse((due, index)) = *top;
            if candidates.allow(index) {
                *top = Reverse((due + period(&endpoints[index as usize]), index));
                break (index, due);
            }
            self.aside.push(PeekMut::pop(top));
        };
        for Reverse((due, index)) in self.aside.drain(..) {
            // Who was tried by this request keeps the turn. Who is unusable loses it, and so
            // neither comes up at every pick nor gets a burst on coming back: where
            // those left are light, the clock runs faster than a heavy one's turns.
            let due = if candidates.usable(index) {
                due
            } else {
                due.max(clock) + period(&endpoints[index as usize])
            };
            self.heap.push(Reverse((due, index)));
        }
        if clock > CLOCK_MAX {
            self.shift(|due| due.saturating_sub(clock));
        }
        picked
    }

    /// Moves everybody's turn.
    fn shift(&mut self, by: impl Fn(u64) -> u64) {
        let heap = std::mem::take(&mut self.heap);
        self.heap =
            heap.into_iter().map(|Reverse((due, index))| Reverse((by(due), index))).collect();
    }

    /// As many picks later.
    #[cfg(test)]
    pub(super) fn advance(&mut self, clock: u64) {
        self.shift(|due| due + clock);
    }
}

/// The time between two turns.
fn period(endpoint: &Endpoint) -> u64 {
    // Of weight 65,535 it is 65,537: rounding it costs less than 1 in 65,536.
    (1 << 32) / u64::from(endpoint.weight())
}

/// Beyond this the schedule is set back; a period more would be far from overflowing.
const CLOCK_MAX: u64 = 1 << 62;
