//! From an accepted connection to one with an endpoint: which one, and another if need be.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use penstock_balance::{EndpointId, Fault, InFlight, TRIED_MAX, TriedSet};
use penstock_config::{ClusterId, ProxyVersion, Service};
use penstock_env::{Address, Env, SendBuf, Stream, StreamExt, Time, Timer};
use penstock_wire::proxy_protocol::{Addresses, write_v1, write_v2};

use super::hello::{self, Hello};
use super::record::Record;
use crate::admission::{ConnectionPermit, For};
use crate::failure::{self, Cause, Side};
use crate::secure::{self, Introduced};
use crate::worker::{Plan, Worker};

/// A connection to an endpoint.
pub(super) struct Connected<S> {
    pub(super) stream: S,
    pub(super) in_flight: InFlight,
    pub(super) permit: ConnectionPermit,
    /// Bytes of the client that the endpoint was sent already.
    pub(super) sent_bytes: u64,
}

/// Connects to an endpoint of the cluster that the connection is for; to another one where that
/// can't be had.
///
/// # Errors
/// Nobody could be connected to, or the client is gone, or nobody is there for it: that is counted
/// and logged.
pub(super) async fn connect<E: Env>(
    worker: &Worker<E>,
    down: &E::Stream,
    record: &mut Record,
) -> Result<Connected<E::Stream>, Cause> {
    let (plan, timer) = (worker.plan(), worker.env().timer());
    let (mut hello, mut tried) = (Hello::default(), None);
    let cluster = choose(worker, &plan, (down, &timer), record.service(), &mut hello).await;
    let connected = match cluster {
        Ok(cluster) => {
            let call = Call { worker, plan: &plan, cluster, down, timer: &timer };
            call.until_connected(record, &mut tried, hello.bytes).await
        }
        Err(cause) => Err(cause),
    };
    connected.inspect_err(|&cause| {
        record.refuse(worker, &plan, down.peer(), cause, (cluster.ok(), tried));
    })
}

/// The cluster that a connection to this service is for, which may take reading its hello.
///
/// # Errors
/// As [`hello::choose`].
pub(super) async fn choose<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    (down, timer): (&E::Stream, &E::Timer),
    service: usize,
    hello: &mut Hello,
) -> Result<ClusterId, Cause> {
    let service = &plan.snapshot.services[service];
    match service.config.destinations.others {
        Some(cluster) if service.names.is_empty() => Ok(cluster),
        _ => {
            timer.set(worker.env().now() + service.config.timeouts.client_hello);
            hello::choose::<E>(service, down, timer, hello).await
        }
    }
}

/// A connection that wants an endpoint.
pub(super) struct Call<'a, E: Env> {
    pub(super) worker: &'a Worker<E>,
    pub(super) plan: &'a Plan<E>,
    pub(super) cluster: ClusterId,
    pub(super) down: &'a E::Stream,
    pub(super) timer: &'a E::Timer,
}

impl<E: Env> Call<'_, E> {
    /// Connects, and sends `head`, which the client has sent already; the endpoint that was tried
    /// last is noted.
    ///
    /// # Errors
    /// As [`connect`]; it is neither counted nor logged yet.
    pub(super) async fn until_connected(
        &self,
        record: &mut Record,
        tried_last: &mut Option<EndpointId>,
        head: Vec<u8>,
    ) -> Result<Connected<E::Stream>, Cause> {
        let Call { worker, plan, cluster, down, timer } = *self;
        let service = &plan.snapshot.services[record.service()].config;
        let ready = plan.cluster(cluster);
        let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
        let source = down.peer().ip();
        let key = source.map(|source| source_key(plan, source));
        // The endpoint is to see the client's own address.
        let foreign = source.filter(|_| service.transparent);
        let permit = self.permit().await?;
        let (mut tried, mut last) = (TriedSet::default(), None);
        loop {
            let picked = pick(worker, plan, cluster, key, &mut tried, &mut last, foreign);
            let Some(endpoint) = picked else { return Err(last.unwrap_or(Cause::NoEndpoint)) };
            if record.attempts > 0 {
                counters.increment(ids.retries);
            }
            counters.increment(ids.attempts);
            counters.increment(ids.connects);
            record.attempts += 1;
            *tried_last = Some(endpoint);
            let in_flight = ready.balancer.endpoint(endpoint).begin();
            let begun = worker.env().now();
            timer.set(begun + ready.config.timeouts.connect);
            let introduced = Introduced { from: foreign, first: header(service, down) };
            let connecting = self.connect(endpoint, introduced, &head);
            let connected = watched(down, timer, Cause::ConnectTimeout, connecting).await;
            record.add_connect(worker.env().now().since(begun));
            let cause = match connected {
                Ok(stream) => {
                    in_flight.connected(worker.env().now());
                    let sent_bytes = head.len() as u64;
                    return Ok(Connected { stream, in_flight, permit, sent_bytes });
                }
                Err(cause) => cause,
            };
            counters.increment(ids.connect_failures);
            counters.increment(ids.tries_failed.at(cause.index()));
            if cause.side() == Side::Upstream {
                worker.fail_endpoint(plan, (cluster, endpoint), in_flight, Fault::Connect);
            }
            let tries = u32::from(record.attempts);
            if cause.side() == Side::Downstream || tries > service.retries {
                return Err(cause);
            }
            last = Some(cause);
            tried.insert(endpoint);
        }
    }

    /// Connects, and sends what comes first: our header, then what was read of the client.
    async fn connect(
        &self,
        endpoint: EndpointId,
        introduced: Introduced,
        head: &[u8],
    ) -> Result<E::Stream, Cause> {
        let (worker, plan) = (self.worker, self.plan);
        let stream = secure::connect_as(worker, plan, self.cluster, endpoint, introduced).await?;
        if !head.is_empty() {
            let mut out = SendBuf::new(worker.env().buffer());
            out.push(head);
            stream.send(out).await.map_err(|error| failure::of_connect(&error))?;
        }
        Ok(stream)
    }

    /// A permit among the cluster's connections, waited for if need be.
    async fn permit(&self) -> Result<ConnectionPermit, Cause> {
        let Call { worker, plan, cluster, down, timer } = *self;
        if let Some(permit) = worker.connection_permit_in_turn(plan, cluster) {
            return Ok(permit);
        }
        let (ready, env) = (plan.cluster(cluster), worker.env());
        let _wanting = ready.in_use.want();
        let until = env.now() + ready.config.timeouts.queue;
        let queued_max = ready.config.limits.queued_max;
        let find = |is_first| match is_first {
            true => worker.connection_permit(plan, cluster),
            false => None,
        };
        let limits = (queued_max, until);
        let waiting = plan.queue(cluster).wait_for(env, For::Connection, limits, find);
        // The queue has a deadline of its own.
        timer.set(Time::NEVER);
        watched(down, timer, Cause::QueueTimeout, waiting).await
    }
}

/// What is hashed where a cluster hashes.
pub(super) fn source_key<E: Env>(plan: &Plan<E>, source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(source) => plan.snapshot.seed.hash(&source.octets()),
        IpAddr::V6(source) => plan.snapshot.seed.hash(&source.octets()),
    }
}

/// An endpoint that was not tried and has room, and can be connected to from `foreign`, where that
/// is given; others are passed by.
pub(super) fn pick<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &mut TriedSet,
    last: &mut Option<Cause>,
    foreign: Option<IpAddr>,
) -> Option<EndpointId> {
    let ready = plan.cluster(cluster);
    let is_of_family = |to: &Address| {
        foreign.is_none_or(|from| to.ip().is_some_and(|to| to.is_ipv6() == from.is_ipv6()))
    };
    // Only so many are remembered as tried: more would come again and again.
    for _ in 0..TRIED_MAX {
        let endpoint = worker.pick_or_try(plan, cluster, key, tried)?;
        let candidate = ready.balancer.endpoint(endpoint);
        let has_room = candidate.load().in_flight() < ready.config.limits.endpoint_requests_max;
        match is_of_family(candidate.address()) {
            true if has_room => return Some(endpoint),
            true => drop(last.get_or_insert(Cause::ClusterFull)),
            false => {}
        }
        tried.insert(endpoint);
    }
    None
}

/// What the endpoint is told of who the connection is from.
fn header<S: Stream>(service: &Service, down: &S) -> Vec<u8> {
    let mut header = Vec::new();
    // Who does not say it does not ask the kernel for it.
    let Some(version) = service.send_proxy_protocol else { return header };
    let addresses = match (down.peer(), down.local()) {
        (&Address::Ip(source), &Address::Ip(destination)) => {
            Some(Addresses { source, destination })
        }
        _ => None,
    };
    match version {
        ProxyVersion::V1 => write_v1(addresses, &mut header),
        ProxyVersion::V2 => write_v2(addresses, &mut header),
    }
    header
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
