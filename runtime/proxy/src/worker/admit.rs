//! Who may come in: the limits of an entrance, of the appliance, and of a source address.

use std::net::IpAddr;

use penstock_env::Env;
use penstock_telemetry::metrics::{CounterId, GaugeId, Instance};

use super::{Plan, Telling, Worker};
use crate::admission::Open;
use crate::capacity::SourcePermit;
use crate::failure::Cause;
use crate::snapshot::Entrance;

/// What an entrance counts, and how much it takes.
struct Door<'p> {
    metrics: &'p Instance,
    connections: CounterId,
    active: GaugeId,
    connections_max: u32,
    source_connections_max: u32,
}

impl<E: Env> Worker<E> {
    /// Lets a connection in, or counts why not.
    pub(crate) fn admit(
        &self,
        entrance: Entrance,
        source: Option<IpAddr>,
    ) -> Option<ConnectionGuard<E>> {
        self.admit_or(entrance, source, |_| false)
    }

    /// As [`Worker::admit`], asked again where `make_room` has ended something else.
    pub(crate) fn admit_or(
        &self,
        entrance: Entrance,
        source: Option<IpAddr>,
        make_room: impl FnOnce(Cause) -> bool,
    ) -> Option<ConnectionGuard<E>> {
        let plan = self.plan();
        let door = self.door(&plan, entrance);
        door.metrics.shard(self.inner.shard).increment(door.connections);
        let mut entered = self.enter(&plan, &door, source);
        if let Err(cause) = entered
            && make_room(cause)
        {
            entered = self.enter(&plan, &door, source);
        }
        entered.map_err(|cause| self.count_failure(&plan, entrance, cause)).ok()
    }

    fn enter(
        &self,
        plan: &Plan<E>,
        door: &Door<'_>,
        source: Option<IpAddr>,
    ) -> Result<ConnectionGuard<E>, Cause> {
        let Door { metrics, active, connections_max, source_connections_max, .. } = *door;
        // Counts are the whole appliance's, added up over shards: those that accept in the same
        // instant may each be one too many.
        if metrics.gauge(active) >= i64::from(connections_max) || !self.has_room(plan) {
            return Err(Cause::ConnectionsMax);
        }
        let capacity = &plan.snapshot.capacity;
        let permit = source.map(|source| capacity.enter(source, source_connections_max));
        let source = match permit {
            None => None,
            Some(None) => return Err(Cause::SourceConnectionsMax),
            Some(permit) => permit,
        };
        metrics.shard(self.inner.shard).shift(active, 1);
        self.inner.connections.set(self.inner.connections.get() + 1);
        self.shift_connections(1);
        let counted = (metrics.clone(), active);
        Ok(ConnectionGuard { worker: self.clone(), counted, source })
    }

    /// Counts a connection that was let in under the source that it turned out to be from.
    ///
    /// # Errors
    /// That source has as many as it may.
    pub(crate) fn admit_source(
        &self,
        guard: &mut ConnectionGuard<E>,
        entrance: Entrance,
        source: Option<IpAddr>,
    ) -> Result<(), Cause> {
        let (plan, Some(source)) = (self.plan(), source) else { return Ok(()) };
        if self.is_denied(entrance, Some(source)) {
            // Not kept: it is a connection of the proxy before us.
            return Err(Cause::SourceDenied);
        }
        let max = self.door(&plan, entrance).source_connections_max;
        guard.source = plan.snapshot.capacity.enter(source, max);
        if guard.source.is_some() { Ok(()) } else { Err(Cause::SourceConnectionsMax) }
    }

    /// Whether this entrance is closed to the source.
    pub(crate) fn is_denied(&self, entrance: Entrance, source: Option<IpAddr>) -> bool {
        match entrance {
            Entrance::Listener(_) => false,
            Entrance::Service(place) => self.plan().snapshot.services[place].config.denies(source),
        }
    }

    fn door<'p>(&self, plan: &'p Plan<E>, entrance: Entrance) -> Door<'p> {
        match entrance {
            Entrance::Listener(place) => {
                let (ready, ids) = (&plan.snapshot.listeners[place], &self.inner.schemas.listener);
                let limits = &ready.config.limits;
                Door {
                    metrics: &ready.metrics,
                    connections: ids.connections,
                    active: ids.active,
                    connections_max: limits.connections_max,
                    source_connections_max: limits.source_connections_max,
                }
            }
            Entrance::Service(place) => {
                let (ready, ids) = (&plan.snapshot.services[place], &self.inner.schemas.service);
                let limits = &ready.config.limits;
                Door {
                    metrics: &ready.metrics,
                    connections: ids.connections,
                    active: ids.active,
                    connections_max: limits.connections_max,
                    source_connections_max: limits.source_connections_max,
                }
            }
        }
    }

    /// Counts downstream connections among all of the appliance's.
    fn shift_connections(&self, by: i64) {
        let inner = &self.inner;
        inner.process.shard(inner.shard).shift(inner.schemas.process.connections, by);
    }

    /// Whether the appliance has room for one that is not served.
    pub(crate) fn has_room_for_another(&self) -> bool {
        self.has_room(&self.plan())
    }

    /// Drops the upstream connections that were unused for longest: their descriptors are wanted
    /// for clients.
    pub fn let_unused_go(&self) {
        let plan = self.plan();
        let dropped = (0..UNUSED_AT_A_TIME).take_while(|_| plan.drop_any_unused()).count();
        self.tell(Telling::Exhausted, |left_out| {
            tracing::warn!(dropped, left_out, "no descriptor or memory is left to accept with");
        });
    }

    /// One more among all of the appliance's connections.
    pub(crate) fn open(&self) -> Open {
        let inner = &self.inner;
        Open::new(&inner.process, inner.shard, inner.schemas.process.connections)
    }

    /// Whether the appliance has room for another connection, or this shard can make some.
    fn has_room(&self, plan: &Plan<E>) -> bool {
        let gauge = self.inner.schemas.process.connections;
        let is_full =
            || self.inner.process.gauge(gauge) >= i64::from(plan.snapshot.connections_max);
        !is_full() || (plan.drop_any_unused() && !is_full())
    }
}

/// As many newcomers as are likely to wait.
const UNUSED_AT_A_TIME: usize = 64;

/// A downstream connection in the counts, until it is dropped.
pub(crate) struct ConnectionGuard<E: Env> {
    worker: Worker<E>,
    counted: (Instance, GaugeId),
    source: Option<SourcePermit>,
}

impl<E: Env> Drop for ConnectionGuard<E> {
    fn drop(&mut self) {
        let inner = &self.worker.inner;
        inner.connections.set(inner.connections.get() - 1);
        self.worker.shift_connections(-1);
        let (metrics, active) = &self.counted;
        metrics.shard(inner.shard).shift(*active, -1);
    }
}
