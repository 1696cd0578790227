//! From an accepted connection to one with an endpoint: which one, and another if need be.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use penstock_balance::{EndpointId, InFlight, TriedSet};
use penstock_config::{ClusterId, ProxyVersion, Service};
use penstock_env::{Address, Env, Stream, Time, Timer};
use penstock_wire::proxy_protocol::{Addresses, write_v1, write_v2};

use super::record::Record;
use crate::admission::ConnectionPlace;
use crate::failure::{Cause, Side};
use crate::secure;
use crate::worker::{Plan, Worker};

/// A connection to an endpoint.
pub(super) struct Connected<S> {
    pub(super) stream: S,
    pub(super) in_flight: InFlight,
    pub(super) place: ConnectionPlace,
}

/// Connects to an endpoint of the service's cluster; to another one where that can't be had.
/// `None` where nobody could be connected to, or the client is gone: that is counted and logged.
pub(super) async fn connect<E: Env>(
    worker: &Worker<E>,
    down: &E::Stream,
    record: &mut Record,
) -> Option<Connected<E::Stream>> {
    let plan = worker.plan();
    let cluster = plan.snapshot.services[record.service()].config.to;
    let mut tried = None;
    match until_connected(worker, &plan, cluster, down, record, &mut tried).await {
        Ok(connected) => Some(connected),
        Err(cause) => {
            record.refuse(worker, &plan, down, cause, (cluster, tried));
            None
        }
    }
}

async fn until_connected<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    down: &E::Stream,
    record: &mut Record,
    tried_last: &mut Option<EndpointId>,
) -> Result<Connected<E::Stream>, Cause> {
    let retries = plan.snapshot.services[record.service()].config.retries;
    let (ready, timer) = (plan.cluster(cluster), worker.env().timer());
    let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
    let key = down.peer().ip().map(|source| match source.to_canonical() {
        IpAddr::V4(source) => plan.snapshot.seed.hash(&source.octets()),
        IpAddr::V6(source) => plan.snapshot.seed.hash(&source.octets()),
    });
    let place = place::<E>(worker, plan, cluster, down, &timer).await?;
    let (mut tried, mut last) = (TriedSet::default(), None);
    loop {
        let Some(endpoint) = pick(worker, plan, cluster, key, &mut tried, &mut last) else {
            return Err(last.unwrap_or(Cause::NoEndpoint));
        };
        if record.attempts > 0 {
            // A retry that saved the connection is still seen: as an attempt, and by its cause.
            last.inspect(|&cause| worker.count_failure(plan, cause));
            counters.increment(ids.retries);
        }
        counters.increment(ids.attempts);
        counters.increment(ids.connects);
        record.attempts += 1;
        *tried_last = Some(endpoint);
        let in_flight = ready.balancer.endpoint(endpoint).begin();
        let begun = worker.env().now();
        timer.set(begun + ready.config.timeouts.connect);
        let header = header(&plan.snapshot.services[record.service()].config, down);
        let connecting = secure::connect_behind(worker, plan, cluster, endpoint, header);
        let connected = watched(down, &timer, Cause::ConnectTimeout, connecting).await;
        record.add_connect(worker.env().now().since(begun));
        let cause = match connected {
            Ok(stream) => return Ok(Connected { stream, in_flight, place }),
            Err(cause) => cause,
        };
        counters.increment(ids.connect_failures);
        if cause.side() == Side::Upstream {
            in_flight.fail();
        }
        if cause.side() == Side::Downstream || u32::from(record.attempts) > retries {
            return Err(cause);
        }
        last = Some(cause);
        tried.insert(endpoint);
    }
}

/// What the endpoint is told of who the connection is from.
fn header<S: Stream>(service: &Service, down: &S) -> Vec<u8> {
    let mut header = Vec::new();
    let addresses = match (down.peer(), down.local()) {
        (&Address::Ip(source), &Address::Ip(destination)) => {
            Some(Addresses { source, destination })
        }
        _ => None,
    };
    match service.send_proxy_protocol {
        None => {}
        Some(ProxyVersion::V1) => write_v1(addresses, &mut header),
        Some(ProxyVersion::V2) => write_v2(addresses, &mut header),
    }
    header
}

/// An endpoint that was not tried and has room; those that have none are passed by.
fn pick<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &mut TriedSet,
    last: &mut Option<Cause>,
) -> Option<EndpointId> {
    let ready = plan.cluster(cluster);
    loop {
        let endpoint = worker.pick(plan, cluster, key, tried)?;
        let in_flight = ready.balancer.endpoint(endpoint).load().in_flight();
        if in_flight < ready.config.limits.endpoint_requests_max {
            return Some(endpoint);
        }
        last.get_or_insert(Cause::ClusterFull);
        tried.insert(endpoint);
    }
}

/// A place among the cluster's connections, waited for if need be.
async fn place<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    down: &E::Stream,
    timer: &E::Timer,
) -> Result<ConnectionPlace, Cause> {
    if let Some(place) = worker.connection_place(plan, cluster) {
        return Ok(place);
    }
    let (ready, env) = (plan.cluster(cluster), worker.env());
    let _wanting = ready.in_use.want();
    let until = env.now() + ready.config.timeouts.queue;
    let queued_max = ready.config.limits.queued_max;
    let queue = plan.queue(cluster);
    let find = || worker.connection_place(plan, cluster);
    let waiting = queue.wait_for(env, queued_max, until, find);
    // The queue has a deadline of its own.
    timer.set(Time::NEVER);
    watched(down, timer, Cause::QueueTimeout, waiting).await
}

/// Waits for `work` while the client is there and the time lasts.
async fn watched<S: Stream, T>(
    down: &S,
    timer: &impl Timer,
    late: Cause,
    work: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if down.poll_broken(context).is_ready() {
            return Poll::Ready(Err(Cause::DownstreamGone));
        }
        timer.poll_expired(context).map(|()| Err(late))
    })
    .await
}
