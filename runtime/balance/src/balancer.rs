//! A cluster's endpoints and the tables built over them, immutable for the life of a snapshot.

use std::sync::Arc;

use penstock_config::Balance;
use penstock_env::{Address, Rng, Time};

use crate::algorithms::{ShardState, Tables, counts_cluster};
use crate::health::Version;
use crate::load::{ClusterLoad, EndpointLoad, InFlight};
use crate::{FleetSeed, TriedSet, UsableSet};

/// The most endpoints of a cluster: six slots each of a Maglev table. The config allows no more.
pub const ENDPOINTS_MAX: usize = 10_000;

/// An endpoint's place in its cluster's list, sorted by address. It means nothing in the next
/// snapshot: across snapshots an endpoint is its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub(crate) u32);

impl EndpointId {
    /// The place at `index`.
    pub fn new(index: usize) -> Self {
        EndpointId(index as u32)
    }

    /// The place as an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is said of an endpoint before there is a balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where it listens.
    pub address: Address,
    /// Its share beside the others'; 0 takes no requests.
    pub weight: u16,
}

/// Someone who answers requests.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: Address,
    weight: u16,
    load: Arc<EndpointLoad>,
}

impl Endpoint {
    /// Where it listens; who it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its share beside the others'.
    #[inline]
    pub fn weight(&self) -> u32 {
        u32::from(self.weight)
    }

    /// What all shards know of it.
    #[inline]
    pub fn load(&self) -> &EndpointLoad {
        &self.load
    }

    /// Counts a request to it as in flight until the guard ends.
    #[inline]
    pub fn begin(&self) -> InFlight {
        self.load.begin()
    }
}

/// Why a balancer can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BalancerError {
    /// More than [`ENDPOINTS_MAX`] endpoints.
    #[error("{count} endpoints: at most {ENDPOINTS_MAX}")]
    TooManyEndpoints {
        /// How many there are.
        count: usize,
    },
}

/// What a pick depends on.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// The hash of what shall always meet the same endpoint ([`FleetSeed::hash`]). Algorithms
    /// that hash draw one at random when there is none; the others don't look.
    pub key: Option<u64>,
    /// Who may be picked.
    pub usable: &'a UsableSet,
    /// Who this request was sent to already.
    pub tried: &'a TriedSet,
    /// For judging how old a latency is.
    pub now: Time,
}

/// Picks endpoints of one cluster. Shared by all shards.
#[derive(Debug)]
pub struct Balancer {
    endpoints: Box<[Endpoint]>,
    /// Those with a weight above 0.
    weighted: UsableSet,
    cluster: Arc<ClusterLoad>,
    pub(crate) version: Arc<Version>,
    pub(crate) tables: Tables,
}

impl Balancer {
    /// A balancer over `endpoints`, whose order does not matter. An address listed twice counts
    /// once, with the larger weight. Endpoints that `previous` also has keep their load, so a
    /// reload forgets no request in flight.
    ///
    /// # Errors
    /// Too many endpoints.
    pub fn new(
        balance: &Balance,
        mut endpoints: Vec<EndpointSpec>,
        seed: &FleetSeed,
        previous: Option<&Balancer>,
    ) -> Result<Balancer, BalancerError> {
        endpoints.sort_by(|one, other| {
            one.address.cmp(&other.address).then(other.weight.cmp(&one.weight))
        });
        endpoints.dedup_by(|later, first| later.address == first.address);
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(BalancerError::TooManyEndpoints { count: endpoints.len() });
        }
        let counts_cluster = counts_cluster(balance);
        let cluster = previous.map_or_else(Arc::default, |old| Arc::clone(&old.cluster));
        let version = previous.map_or_else(Arc::default, |old| Arc::clone(&old.version));
        let load_of = |address: &Address| {
            // A load that does not count for the cluster can't begin to in mid-request.
            let old = previous.and_then(|old| old.find(address));
            match old.filter(|old| old.load.counts_cluster() == counts_cluster) {
                Some(old) => Arc::clone(&old.load),
                None => {
                    let cluster = counts_cluster.then(|| Arc::clone(&cluster));
                    Arc::new(EndpointLoad::new(cluster, Arc::clone(&version)))
                }
            }
        };
        let endpoints: Box<[Endpoint]> = endpoints
            .into_iter()
            .map(|EndpointSpec { address, weight }| {
                let load = load_of(&address);
                Endpoint { address, weight, load }
            })
            .collect();
        let mut weighted = UsableSet::none(endpoints.len());
        for (index, endpoint) in endpoints.iter().enumerate() {
            weighted.set(EndpointId::new(index), endpoint.weight > 0);
        }
        let tables = Tables::new(balance, &endpoints, seed);
        Ok(Balancer { endpoints, weighted, cluster, version, tables })
    }

    /// The endpoints, by id.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// An endpoint that was picked.
    ///
    /// # Panics
    /// When the id is of another balancer with more endpoints.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id.index()]
    }

    /// The endpoint at `address`.
    pub fn find(&self, address: &Address) -> Option<&Endpoint> {
        let place = self.endpoints.binary_search_by(|endpoint| endpoint.address.cmp(address));
        place.ok().map(|index| &self.endpoints[index])
    }

    /// What a shard remembers between picks. Each shard has its own, begun at random so that
    /// shards do not walk in step.
    pub fn shard_state(&self, rng: &mut Rng) -> ShardState {
        self.tables.shard_state(&self.endpoints, rng)
    }

    /// An endpoint that is usable, untried, and of a weight above 0; `None` when there is none.
    ///
    /// # Panics
    /// When `usable` or `state` was made for another balancer.
    #[inline]
    pub fn pick(
        &self,
        pick: &Pick<'_>,
        rng: &mut Rng,
        state: &mut ShardState,
    ) -> Option<EndpointId> {
        assert_eq!(pick.usable.len(), self.endpoints.len(), "usable is of this cluster");
        let all = pick.usable.count() == self.endpoints.len()
            && self.weighted.count() == self.endpoints.len();
        let count = if all { self.endpoints.len() } else { pick.usable.count_with(&self.weighted) };
        let candidates = Candidates { balancer: self, pick, count, all };
        // Only where all may have been tried is there reason to look.
        if count <= pick.tried.count() && !(0..count).any(|rank| candidates.nth(rank).is_some()) {
            return None;
        }
        Some(self.tables.pick(&candidates, rng, state))
    }
}

/// Who may be picked; at least one.
pub(crate) struct Candidates<'a> {
    balancer: &'a Balancer,
    pick: &'a Pick<'a>,
    count: usize,
    all: bool,
}

impl Candidates<'_> {
    /// The key and the time.
    #[inline]
    pub(crate) fn pick(&self) -> &Pick<'_> {
        self.pick
    }

    /// All endpoints, usable or not.
    #[inline]
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.balancer.endpoints
    }

    /// How many are usable and have a weight, tried or not.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether the endpoint at `index` may be picked.
    #[inline]
    pub(crate) fn allow(&self, index: u32) -> bool {
        self.usable(index) && !self.pick.tried.contains(EndpointId(index))
    }

    /// Whether the endpoint at `index` is usable and has a weight, tried or not.
    #[inline]
    pub(crate) fn usable(&self, index: u32) -> bool {
        let id = EndpointId(index);
        self.all || (self.pick.usable.contains(id) && self.balancer.weighted.contains(id))
    }

    /// The usable endpoint with `rank` others before it; `None` if it was tried.
    #[inline]
    pub(crate) fn nth(&self, rank: usize) -> Option<u32> {
        let id = if self.all {
            EndpointId::new(rank)
        } else {
            self.pick.usable.nth_with(&self.balancer.weighted, rank)?
        };
        (!self.pick.tried.contains(id)).then_some(id.0)
    }

    /// The requests in flight of the whole cluster; 0 unless the algorithm counts them.
    #[inline]
    pub(crate) fn cluster_in_flight(&self) -> u32 {
        self.balancer.cluster.in_flight()
    }
}
