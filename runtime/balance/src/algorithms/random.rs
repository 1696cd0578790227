//! Weighted random: no memory, no coordination, a fair share in the long run.
//!
//! The draw is Walker's alias method (Vose 1991): one random number, one table look-up, whatever
//! the weights. The sampler also serves `least_request`.

use penstock_env::Rng;

use super::SOMEBODY;
use crate::balancer::{Candidates, Endpoint};

/// Draws any allowed endpoint by weight.
#[inline]
pub(super) fn pick(sampler: &Sampler, candidates: &Candidates<'_>, rng: &mut Rng) -> u32 {
    sampler.draw(candidates, None, rng).expect(SOMEBODY)
}

/// A table to draw indexes from, each as often as its endpoint's weight says.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// None where all weights are equal: then any index does.
    cells: Option<Box<[Cell]>>,
}

/// An index is kept where the next 32 bits are below `keep`, else `alias` takes its place.
#[derive(Clone, Copy, Debug)]
struct Cell {
    keep: u64,
    alias: u32,
}

impl Sampler {
    pub(super) fn new(endpoints: &[Endpoint]) -> Self {
        let weights: Vec<u64> = endpoints.iter().map(|one| u64::from(one.weight())).collect();
        let total: u64 = weights.iter().sum();
        if total == 0 || weights.iter().all(|weight| *weight == weights[0]) {
            return Sampler { cells: None };
        }
        // In units of which every cell holds `total`: endpoint i has weight x n of them.
        let count = weights.len() as u64;
        let mut shares: Vec<u64> = weights.iter().map(|weight| weight * count).collect();
        let (mut poor, mut rich) = (Vec::new(), Vec::new());
        for (index, &share) in shares.iter().enumerate() {
            if share < total { poor.push(index) } else { rich.push(index) }
        }
        let mut cells = vec![Cell { keep: 1 << 32, alias: 0 }; weights.len()];
        while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
            // The poor one's cell is filled up by the rich one, who may be poor after that.
            let keep = (u128::from(shares[taker]) << 32) / u128::from(total);
            cells[taker] = Cell { keep: keep as u64, alias: giver as u32 };
            shares[giver] -= total - shares[taker];
            if shares[giver] < total {
                rich.pop();
                poor.push(giver);
            }
        }
        Sampler { cells: Some(cells.into()) }
    }

    /// An allowed endpoint other than `except`, by weight; `None` when there is none.
    #[inline]
    pub(super) fn draw(
        &self,
        candidates: &Candidates<'_>,
        except: Option<u32>,
        rng: &mut Rng,
    ) -> Option<u32> {
        // Drawing again is exact, and ends at once as long as most may be picked.
        for _ in 0..DRAWS_MAX {
            let index = self.draw_any(candidates.endpoints().len(), rng);
            if Some(index) != except && candidates.allow(index) {
                return Some(index);
            }
        }
        scan(candidates, except, rng)
    }

    #[inline]
    fn draw_any(&self, count: usize, rng: &mut Rng) -> u32 {
        let bits = rng.next_u64();
        // Lemire's multiplication on the upper half, as in `Rng::below`; the lower half decides.
        let index = ((bits >> 32) * count as u64) >> 32;
        match &self.cells {
            None => index as u32,
            Some(cells) => {
                let cell = cells[index as usize];
                if bits & 0xffff_ffff < cell.keep { index as u32 } else { cell.alias }
            }
        }
    }
}

/// The same draw by adding up weights, where most draws would miss.
#[cold]
fn scan(candidates: &Candidates<'_>, except: Option<u32>, rng: &mut Rng) -> Option<u32> {
    let allowed = || {
        let weights = candidates.endpoints().iter().zip(0..).map(|(one, index)| {
            let allowed = Some(index) != except && candidates.allow(index);
            (index, if allowed { one.weight() } else { 0 })
        });
        weights.filter(|(_, weight)| *weight > 0)
    };
    // At most 10,000 x 65,535, below 2^32.
    let total: u32 = allowed().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut ahead = rng.below(total);
    for (index, weight) in allowed() {
        if ahead < weight {
            return Some(index);
        }
        ahead -= weight;
    }
    None
}

/// With half of the endpoints out, one draw in 256 falls through to the scan.
const DRAWS_MAX: usize = 8;
