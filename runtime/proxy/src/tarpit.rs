//! Connections of denied sources: reset, or kept without being served, which costs their senders
//! more than us.
//!
//! A kept one has no task, and nothing of it is received: it is a place in a table until its time
//! is over.

use penstock_config::Tarpit;
use penstock_env::{CloseKind, Env, Stream, Time, Wake};
use penstock_telemetry::metrics::Instance;

use crate::admission::Open;
use crate::failure::Cause;
use crate::snapshot::Entrance;
use crate::worker::Worker;

/// Counts a connection that its service does not serve, and keeps it or resets it.
pub(crate) fn deny<E: Env>(worker: &Worker<E>, service: usize, stream: E::Stream) {
    let plan = worker.plan();
    let (ready, entrance) = (&plan.snapshot.services[service], Entrance::Service(service));
    let Some(tarpit) = &ready.config.tarpit else {
        worker.count_failure(&plan, entrance, Cause::SourceDenied);
        return stream.close(CloseKind::Reset);
    };
    let Some(counted) = enter(worker, &ready.metrics, tarpit) else {
        worker.count_failure(&plan, entrance, Cause::TarpitFull);
        return stream.close(CloseKind::Reset);
    };
    worker.count_failure(&plan, entrance, Cause::SourceDenied);
    let ids = &worker.schemas().service;
    ready.metrics.shard(worker.shard()).increment(ids.tarpitted);
    let until = worker.env().now() + tarpit.hold;
    Kept { env: worker.env().clone(), until, _counted: counted }.wait(stream);
}

/// A place among those that are kept, and among the appliance's connections.
fn enter<E: Env>(worker: &Worker<E>, service: &Instance, tarpit: &Tarpit) -> Option<[Open; 2]> {
    let gauge = worker.schemas().service.tarpit;
    // Added up over shards, as connections are.
    let is_full = service.gauge(gauge) >= i64::from(tarpit.connections_max);
    if is_full || !worker.has_room_for_another() {
        return None;
    }
    Some([Open::new(service, worker.shard(), gauge), worker.open()])
}

/// A connection that is kept.
struct Kept<E: Env> {
    env: E,
    until: Time,
    _counted: [Open; 2],
}

impl<E: Env> Kept<E> {
    fn wait(self, stream: E::Stream) {
        let (env, until) = (self.env.clone(), self.until);
        env.shelve(stream, until, move |stream, wake| match wake {
            // Who is denied stays so for as long as was said when it came.
            Wake::Review => self.wait(stream),
            Wake::Timeout | Wake::Drain | Wake::Readable => stream.close(CloseKind::Reset),
        });
    }
}
