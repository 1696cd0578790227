//! What a shard works from: a snapshot, and beside it what the shard alone keeps of its clusters.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use penstock_balance::{EndpointId, ShardState, View};
use penstock_config::ClusterId;
use penstock_env::{Env, Rng, Time};
use penstock_tls::{Connector, Dialer};

use crate::admission::Queue;
use crate::http2::Links;
use crate::pool::Pool;
use crate::snapshot::{Cluster, Snapshot};

/// A snapshot with what this shard alone keeps beside it.
pub(crate) struct Plan<E: Env> {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(super) clusters: Vec<ClusterState<E>>,
}

pub(super) struct ClusterState<E: Env> {
    pub(super) balance: RefCell<ShardState>,
    /// Who is well.
    pub(super) view: RefCell<View>,
    /// Requests that wait for a place.
    queue: Rc<Queue>,
    /// Begins TLS sessions with the endpoints.
    dialer: Option<Dialer>,
    /// By endpoint.
    pub(super) pools: Vec<Pool<E::Stream>>,
    /// The same, where HTTP/2 is spoken.
    pub(super) links: Vec<Rc<Links<E>>>,
}

/// The connections to an endpoint, by what is spoken on them.
type Connections<'a, E> = (&'a Pool<<E as Env>::Stream>, &'a Rc<Links<E>>);

impl<E: Env> Plan<E> {
    pub(super) fn new(snapshot: Arc<Snapshot>, rng: &mut Rng) -> Plan<E> {
        let clusters = snapshot.clusters.iter().map(|cluster| ClusterState {
            balance: RefCell::new(cluster.balancer.shard_state(rng)),
            view: RefCell::new(View::new(&cluster.balancer)),
            queue: Rc::default(),
            dialer: cluster.tls.as_ref().map(|connector| connector.dialer()),
            pools: cluster.balancer.endpoints().iter().map(|_| Pool::default()).collect(),
            links: cluster.balancer.endpoints().iter().map(|_| Rc::default()).collect(),
        });
        Plan { clusters: clusters.collect(), snapshot }
    }

    /// A cluster of the snapshot.
    #[inline]
    pub(crate) fn cluster(&self, id: ClusterId) -> &Cluster {
        &self.snapshot.clusters[id.index()]
    }

    /// The unused connections to an endpoint.
    #[inline]
    pub(crate) fn pool(&self, cluster: ClusterId, endpoint: EndpointId) -> &Pool<E::Stream> {
        &self.clusters[cluster.index()].pools[endpoint.index()]
    }

    /// The connections to an endpoint that speaks HTTP/2.
    pub(crate) fn links(&self, cluster: ClusterId, endpoint: EndpointId) -> &Rc<Links<E>> {
        &self.clusters[cluster.index()].links[endpoint.index()]
    }

    /// Begins TLS sessions with a cluster's endpoints, if they speak that.
    pub(crate) fn dialer(&self, cluster: ClusterId) -> Option<&Dialer> {
        self.clusters[cluster.index()].dialer.as_ref()
    }

    /// The requests that wait for a place in a cluster.
    #[inline]
    pub(crate) fn queue(&self, cluster: ClusterId) -> &Rc<Queue> {
        &self.clusters[cluster.index()].queue
    }

    /// The pool of the same endpoint of the same cluster as `old`'s, if both are still there.
    pub(super) fn successor(
        &self,
        old: &Plan<E>,
        cluster: ClusterId,
        endpoint: EndpointId,
    ) -> Option<Connections<'_, E>> {
        let name = &old.cluster(cluster).config.name;
        let address = old.cluster(cluster).balancer.endpoint(endpoint).address();
        let clusters = &self.snapshot.clusters;
        let index = clusters.iter().position(|cluster| cluster.config.name == *name)?;
        // A connection that was verified otherwise, or not at all, is not what is wanted now.
        let spoken = |cluster: &Cluster| cluster.config.protocol;
        if !is_same(&clusters[index].tls, &old.cluster(cluster).tls)
            || spoken(&clusters[index]) != spoken(old.cluster(cluster))
        {
            return None;
        }
        let endpoints = clusters[index].balancer.endpoints();
        let place = endpoints.iter().position(|endpoint| endpoint.address() == address)?;
        Some((&self.clusters[index].pools[place], &self.clusters[index].links[place]))
    }

    /// Keeps what endpoints gave us to resume sessions with.
    pub(super) fn keep_dialers(&mut self, old: &Plan<E>) {
        for (cluster, state) in self.snapshot.clusters.iter().zip(&mut self.clusters) {
            let same = old.snapshot.clusters.iter().position(|old| {
                old.config.name == cluster.config.name && is_same(&old.tls, &cluster.tls)
            });
            if let Some(index) = same {
                state.dialer.clone_from(&old.clusters[index].dialer);
            }
        }
    }

    /// Moves unused connections over from the plan before.
    pub(super) fn inherit(&self, old: &Plan<E>) {
        for (index, state) in old.clusters.iter().enumerate() {
            for (place, (pool, links)) in state.pools.iter().zip(&state.links).enumerate() {
                let (cluster, endpoint) = (ClusterId(index as u32), EndpointId::new(place));
                match self.successor(old, cluster, endpoint) {
                    Some((next_pool, next_links)) => {
                        pool.move_to(next_pool);
                        links.move_to(next_links);
                    }
                    None => {
                        pool.clear();
                        links.clear();
                    }
                }
            }
        }
    }

    /// Drops the connection to a cluster that was unused for longest; whether there was one.
    pub(super) fn drop_unused(&self, cluster: ClusterId) -> bool {
        drop_oldest(std::iter::once(&self.clusters[cluster.index()]))
    }

    /// The same of all clusters.
    pub(super) fn drop_any_unused(&self) -> bool {
        drop_oldest(&self.clusters)
    }

    /// Drops unused connections that are too old or were closed, and all those of clusters in
    /// which another shard waits for their places.
    pub(super) fn sweep(&self, now: Time) {
        for (cluster, state) in self.snapshot.clusters.iter().zip(&self.clusters) {
            for pool in &state.pools {
                pool.sweep(now, cluster.config.timeouts.keep_alive);
                if cluster.in_use.is_wanted() {
                    pool.clear();
                }
            }
            for links in &state.links {
                links.sweep(now, cluster.config.timeouts.keep_alive, cluster.in_use.is_wanted());
            }
        }
    }
}

/// Drops the connection that was unused for longest in any of these clusters.
fn drop_oldest<'a, E: Env>(
    clusters: impl IntoIterator<Item = &'a ClusterState<E>> + Clone,
) -> bool {
    let pools = clusters.clone().into_iter().flat_map(|cluster| &cluster.pools);
    let pool =
        pools.filter_map(|pool| Some((pool.oldest()?, pool))).min_by_key(|(since, _)| *since);
    let links = clusters.into_iter().flat_map(|cluster| &cluster.links);
    let link =
        links.filter_map(|links| Some((links.oldest()?, links))).min_by_key(|(since, _)| *since);
    match (pool, link) {
        (Some((since, pool)), link) if link.is_none_or(|(other, _)| since <= other) => {
            pool.drop_oldest();
        }
        (_, Some((_, links))) => links.drop_oldest(),
        (_, None) => return false,
    }
    true
}

/// Whether two snapshots' clusters speak to their endpoints in the same way.
fn is_same(one: &Option<Arc<Connector>>, other: &Option<Arc<Connector>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
