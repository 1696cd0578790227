//! Round robin: each shard hands its requests to the usable endpoints in turn, weights aside.
//!
//! The turn counts usable endpoints, not all of them: walking on from an endpoint that is out
//! would give its neighbour a double share.

use super::SOMEBODY;
use crate::balancer::Candidates;

/// The endpoint whose turn it is, or the next one that was not tried.
#[inline]
pub(super) fn pick(candidates: &Candidates<'_>, turn: &mut usize) -> u32 {
    let count = candidates.count();
    let first = *turn % count;
    *turn = first + 1;
    let mut ranks = (first..count).chain(0..first);
    ranks.find_map(|rank| candidates.nth(rank)).expect(SOMEBODY)
}
