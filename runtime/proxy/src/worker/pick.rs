//! Which endpoint a request goes to, how it fared there, and the right to a connection to it.

use penstock_balance::{EndpointId, Fault, InFlight, Pick, TriedSet, View};
use penstock_config::ClusterId;
use penstock_env::Env;

use super::{Plan, Worker};
use crate::admission::{ConnectionPermit, For, Open};

impl<E: Env> Worker<E> {
    /// An endpoint of `cluster` that was not tried yet: where one was ejected and its time is over,
    /// this may be the request that tries it.
    pub(crate) fn pick_or_try(
        &self,
        plan: &Plan<E>,
        cluster: ClusterId,
        key: Option<u64>,
        tried: &TriedSet,
    ) -> Option<EndpointId> {
        let (ready, state) = (plan.cluster(cluster), &plan.clusters[cluster.index()]);
        let requests_max = ready.config.limits.endpoint_requests_max;
        // A trial of who has no room would be over before it began.
        let has_room = |id| ready.balancer.endpoint(id).load().in_flight() < requests_max;
        let may = |id| !tried.contains(id) && has_room(id);
        let (now, view) = (self.inner.env.now(), &mut *state.view.borrow_mut());
        let trial = ready.balancer.look_for_trial(view, &ready.usable, may, now);
        trial.or_else(|| self.pick_among(view, plan, cluster, key, tried))
    }

    /// The same, of those that are well: for who may not ask it in the end, or tells nobody how it
    /// answered.
    pub(crate) fn pick(
        &self,
        plan: &Plan<E>,
        cluster: ClusterId,
        key: Option<u64>,
        tried: &TriedSet,
    ) -> Option<EndpointId> {
        let (ready, state) = (plan.cluster(cluster), &plan.clusters[cluster.index()]);
        let view = &mut *state.view.borrow_mut();
        ready.balancer.look(view, &ready.usable, self.inner.env.now());
        self.pick_among(view, plan, cluster, key, tried)
    }

    fn pick_among(
        &self,
        view: &View,
        plan: &Plan<E>,
        cluster: ClusterId,
        key: Option<u64>,
        tried: &TriedSet,
    ) -> Option<EndpointId> {
        let (ready, state) = (plan.cluster(cluster), &plan.clusters[cluster.index()]);
        let (now, rng) = (self.inner.env.now(), &mut *self.inner.rng.borrow_mut());
        let mut pick = |usable| {
            let pick = Pick { key, usable, tried, now };
            ready.balancer.pick(&pick, rng, &mut state.balance.borrow_mut())
        };
        match pick(view.usable()) {
            // All that are well have failed this one: one that was ejected may be well by now.
            None if tried.count() > 0 => pick(&ready.usable),
            picked => picked,
        }
    }

    /// Ends a request that an endpoint failed, which may eject it.
    pub(crate) fn fail_endpoint(
        &self,
        plan: &Plan<E>,
        (cluster, endpoint): (ClusterId, EndpointId),
        in_flight: InFlight,
        fault: Fault,
    ) {
        let (ready, now) = (plan.cluster(cluster), self.inner.env.now());
        let rng = &mut self.inner.rng.borrow_mut();
        ready.balancer.fail(endpoint, in_flight, fault, &ready.config.outlier, now, rng);
    }

    /// A place for another connection of a cluster: a free one, or that of the connection which
    /// this shard has had unused for longest. The appliance's limit is not asked: what was
    /// accepted under it is served.
    pub(crate) fn connection_permit(
        &self,
        plan: &Plan<E>,
        cluster: ClusterId,
    ) -> Option<ConnectionPermit> {
        let ready = plan.cluster(cluster);
        let (max, in_use) = (ready.config.limits.connections_max, &ready.in_use);
        let (process, gauge) = (&self.inner.process, self.inner.schemas.process.connections);
        let place = || in_use.connect(max, || Open::new(process, self.inner.shard, gauge));
        place().or_else(|| plan.drop_unused(cluster).then(place).flatten())
    }

    /// The same, unless others wait for one already.
    #[inline]
    pub(crate) fn connection_permit_in_turn(
        &self,
        plan: &Plan<E>,
        cluster: ClusterId,
    ) -> Option<ConnectionPermit> {
        let is_next = plan.queue(cluster).is_empty(For::Connection);
        if is_next { self.connection_permit(plan, cluster) } else { None }
    }
}
