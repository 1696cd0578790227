//! The register of algorithms: each file builds what it needs, once, and picks by it.
//!
//! An algorithm is asked only while there is somebody to pick, and must pick somebody whom
//! [`Candidates::allow`] allows. All of them pass one table of properties, in `tests.rs`.

mod least_request;
mod maglev;
mod random;
mod round_robin;
mod weighted_round_robin;

use penstock_config::Balance;
use penstock_env::Rng;

use crate::FleetSeed;
use crate::balancer::{Candidates, Endpoint, EndpointId};

use maglev::Maglev;
pub use maglev::maglev_table;
use random::Sampler;
use weighted_round_robin::Schedule;

/// Whether picks depend on the requests in flight of the whole cluster.
pub(crate) fn counts_cluster(balance: &Balance) -> bool {
    matches!(balance, Balance::Maglev { .. })
}

/// What is built once and shared by all shards.
#[derive(Debug)]
pub(crate) enum Tables {
    RoundRobin,
    WeightedRoundRobin,
    Random(Sampler),
    LeastRequest(Sampler),
    Maglev(Maglev),
}

/// What a shard remembers of a cluster between picks.
#[derive(Debug)]
pub struct ShardState(State);

#[derive(Debug)]
enum State {
    Nothing,
    Turn(usize),
    Schedule(Schedule),
}

impl Tables {
    pub(crate) fn new(balance: &Balance, endpoints: &[Endpoint], seed: &FleetSeed) -> Self {
        match balance {
            Balance::RoundRobin => Tables::RoundRobin,
            Balance::WeightedRoundRobin => Tables::WeightedRoundRobin,
            Balance::Random => Tables::Random(Sampler::new(endpoints)),
            Balance::LeastRequest => Tables::LeastRequest(Sampler::new(endpoints)),
            Balance::Maglev { hash: _, load_max } => {
                Tables::Maglev(Maglev::new(endpoints, seed, *load_max))
            }
        }
    }

    pub(crate) fn shard_state(&self, endpoints: &[Endpoint], rng: &mut Rng) -> ShardState {
        ShardState(match self {
            Tables::RoundRobin => State::Turn(rng.next_u64() as u32 as usize),
            Tables::WeightedRoundRobin => State::Schedule(Schedule::new(endpoints, rng)),
            Tables::Random(_) | Tables::LeastRequest(_) | Tables::Maglev(_) => State::Nothing,
        })
    }

    #[inline]
    pub(crate) fn pick(
        &self,
        candidates: &Candidates<'_>,
        rng: &mut Rng,
        state: &mut ShardState,
    ) -> EndpointId {
        EndpointId(match (self, &mut state.0) {
            (Tables::RoundRobin, State::Turn(turn)) => round_robin::pick(candidates, turn),
            (Tables::WeightedRoundRobin, State::Schedule(schedule)) => schedule.pick(candidates),
            (Tables::Random(sampler), _) => random::pick(sampler, candidates, rng),
            (Tables::LeastRequest(sampler), _) => least_request::pick(sampler, candidates, rng),
            (Tables::Maglev(maglev), _) => maglev.pick(candidates, rng),
            (Tables::RoundRobin | Tables::WeightedRoundRobin, _) => {
                panic!("the state is of another balancer")
            }
        })
    }
}

/// Why an algorithm always finds somebody: it is not asked otherwise.
const SOMEBODY: &str = "a pick is made only while somebody may be picked";

#[cfg(test)]
mod tests;
