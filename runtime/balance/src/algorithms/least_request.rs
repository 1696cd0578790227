//! Power of two choices: draw two endpoints by weight, keep the one with fewer requests in
//! flight for its weight.
//!
//! Why two and not all: everybody who looks at all of them runs to the same least loaded one at
//! once; two at random come exponentially closer to balance than one, and a third adds little
//! (Mitzenmacher 2001). Counts are those of all shards, so no shard is blind to another's load.

use penstock_env::Rng;

use super::SOMEBODY;
use super::random::Sampler;
use crate::balancer::Candidates;

/// The better of two; the only one where there is no second.
#[inline]
pub(super) fn pick(sampler: &Sampler, candidates: &Candidates<'_>, rng: &mut Rng) -> u32 {
    let first = sampler.draw(candidates, None, rng).expect(SOMEBODY);
    if candidates.count() == 1 {
        return first;
    }
    match sampler.draw(candidates, Some(first), rng) {
        Some(second) if is_better(candidates, second, first) => second,
        _ => first,
    }
}

/// Whether to leave `first`, which was drawn first, for `second`: because that one would still be
/// no busier for its weight with this request than `first` is without it; or where both are
/// equally busy, because it is clearly faster.
///
/// Both draws went by weight. So staying where nothing is won keeps the shares by weight, also
/// when there is less in flight than the heaviest weight says; and with equal weights the first
/// rule is the plain "fewer in flight".
#[inline]
fn is_better(candidates: &Candidates<'_>, second: u32, first: u32) -> bool {
    let first = &candidates.endpoints()[first as usize];
    let second = &candidates.endpoints()[second as usize];
    // Fractions are compared without dividing: a / b < c / d as a x d < c x b.
    let scaled = |in_flight: u32, weight: u32| u64::from(in_flight) * u64::from(weight);
    let (in_flight, beside) = (first.load().in_flight(), second.load().in_flight());
    let here = scaled(in_flight, second.weight());
    if scaled(beside.saturating_add(1), first.weight()) <= here {
        return true;
    }
    if scaled(beside, first.weight()) != here {
        return false;
    }
    // A latency that is not known is no reason, nor is one within a quarter of the other's or
    // within a millisecond: noise would undo the weights. Where little is in flight every pick is
    // such a tie, and who was a little faster once would get nearly everything.
    let now = candidates.pick().now;
    match (second.load().latency_us(now), first.load().latency_us(now)) {
        (Some(latency), Some(beside)) => latency * 1.25 + NOISE_US < beside,
        _ => false,
    }
}

/// What the latencies of equals differ by on one network.
const NOISE_US: f32 = 1_000.0;
