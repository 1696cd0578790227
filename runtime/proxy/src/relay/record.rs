//! What is known of a relayed connection when it ends: counted, and written to the access log.

use std::sync::Arc;
use std::time::Duration;

use penstock_balance::EndpointId;
use penstock_config::ClusterId;
use penstock_env::{Address, Env, Time, Unix};
use penstock_telemetry::access::{Peer, Phases, Protocol};
use penstock_telemetry::metrics::Instance;

use super::pace::Pace;
use crate::admission::InUse;
use crate::failure::Cause;
use crate::snapshot::Entrance;
use crate::worker::{Plan, Worker};

/// A connection's facts, as they become known.
pub(super) struct Record {
    begun: Time,
    unix: Unix,
    service: u32,
    connect_us: u32,
    /// How long nothing may move, and what a side has to take.
    pub(super) pace: Pace,
    /// The service's counters.
    pub(super) metrics: Instance,
    pub(super) attempts: u8,
    protocol: Protocol,
}

impl Record {
    /// A connection that was just accepted, or a flow that begins.
    pub(super) fn new<E: Env>(worker: &Worker<E>, service: usize, protocol: Protocol) -> Record {
        let plan = worker.plan();
        let ready = &plan.snapshot.services[service];
        Record {
            begun: worker.env().now(),
            unix: worker.env().unix(),
            service: service as u32,
            connect_us: 0,
            pace: Pace::of(&ready.config.timeouts),
            metrics: ready.metrics.clone(),
            attempts: 0,
            protocol,
        }
    }

    /// The service's place.
    pub(super) fn service(&self) -> usize {
        self.service as usize
    }

    /// Notes an attempt to connect.
    pub(super) fn add_connect(&mut self, time: Duration) {
        let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.connect_us = self.connect_us.saturating_add(us);
    }

    /// How long connecting took, attempts that failed included.
    pub(super) fn connect_time(&self) -> Duration {
        Duration::from_micros(self.connect_us.into())
    }

    /// Counts and logs the end of a connection with `up`, between which so many bytes were
    /// carried, up and down.
    pub(super) fn finish<E: Env>(
        &self,
        worker: &Worker<E>,
        down: &Address,
        carried: (u64, u64),
        cause: Option<Cause>,
        (up, in_use): (&Address, &Arc<InUse>),
    ) {
        let plan = worker.plan();
        // The config may be another by now: the cluster is known by its counts.
        let clusters = &plan.snapshot.clusters;
        let cluster = clusters.iter().position(|cluster| Arc::ptr_eq(&cluster.in_use, in_use));
        let cluster = cluster.map(|index| index as u16);
        let to = (cluster, Peer::from(up));
        self.note_end(worker, &plan, down, (cause, carried), to);
    }

    /// Counts and logs a connection that found nobody; the last that was tried, if any was.
    pub(super) fn refuse<E: Env>(
        &self,
        worker: &Worker<E>,
        plan: &Plan<E>,
        down: &Address,
        cause: Cause,
        (cluster, tried): (Option<ClusterId>, Option<EndpointId>),
    ) {
        let tried = cluster.zip(tried).map(|(cluster, tried)| {
            Peer::from(plan.cluster(cluster).balancer.endpoint(tried).address())
        });
        let to = (cluster.map(|cluster| cluster.0 as u16), tried.unwrap_or_default());
        self.note_end(worker, plan, down, (Some(cause), (0, 0)), to);
    }

    fn note_end<E: Env>(
        &self,
        worker: &Worker<E>,
        plan: &Plan<E>,
        down: &Address,
        (cause, carried): (Option<Cause>, (u64, u64)),
        (cluster, endpoint): (Option<u16>, Peer),
    ) {
        if let Some(cause) = cause {
            worker.count_failure(plan, Entrance::Service(self.service()), cause);
        }
        worker.log(plan, |entry| {
            entry.begin(self.unix);
            entry.total_us = worker.env().now().since(self.begun).as_micros() as u64;
            entry.phases = Phases { connect_us: self.connect_us, ..Phases::default() };
            (entry.bytes_in, entry.bytes_out) = carried;
            (entry.downstream, entry.endpoint) = (down.into(), endpoint);
            entry.snapshot = plan.snapshot.generation;
            entry.service = Some(self.service as u16);
            entry.cluster = cluster;
            entry.cause = cause.map(|cause| cause.index() as u16);
            entry.attempts = self.attempts;
            entry.protocol = self.protocol;
        });
    }
}
