//! Flows of datagrams: those of one client to one of our addresses go to one endpoint, and back.
//!
//! ```text
//! datagram -> flow (known, or begun: admit, pick, open) -> endpoint
//! client <- replies <- flow's task <- datagram of the endpoint
//! ```
//! A flow ends when nothing has moved for a while; nothing in datagrams says so. An endpoint that
//! is said to be gone is left for another one: what was sent to it is lost, as on any network.
//! Where there is no room for a new flow, the oldest of the `newcomers` gives way.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_balance::{EndpointId, InFlight, TriedSet};
use penstock_config::ClusterId;
use penstock_env::{Address, Datagrams, Ends, Env, Map, MapSeed, Replies, Time, Timer, TimerExt};
use penstock_telemetry::access::Protocol;
use penstock_telemetry::metrics::Instance;

use super::connect::{pick, source_key};
use super::introduced;
use super::newcomers::{Newcomer, Newcomers};
use super::record::Record;
use crate::admission::{ConnectionPermit, InUse};
use crate::capacity::who_has;
use crate::failure::{self, Cause};
use crate::snapshot::Entrance;
use crate::worker::{ConnectionGuard, Plan, RequestGuard, Worker};

/// The flows of a shard.
pub(crate) struct Flows<E: Env> {
    flows: RefCell<Map<Key, Rc<Flow<E>>>>,
    newcomers: RefCell<Newcomers<Key>>,
}

/// What tells a flow's datagrams from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    service: u32,
    /// Who sends them to us, and is sent the answers.
    ends: Ends,
    /// Whose they are, where a proxy before us says it.
    introduced: Option<Ends>,
}

impl Key {
    /// The client's end, and the address that it sends to.
    fn client(&self) -> Ends {
        self.introduced.unwrap_or(self.ends)
    }
}

/// A flow, as datagrams of its client meet it.
struct Flow<E: Env> {
    up: RefCell<E::Datagrams>,
    /// What stands in front of each datagram to the endpoint.
    header: Box<[u8]>,
    timer: E::Timer,
    /// When something moved last.
    seen: Cell<Time>,
    /// Bytes from the client, and to it.
    carried: Cell<(u64, u64)>,
    metrics: Instance,
    tenure: Cell<Tenure>,
    /// Until it gives way.
    places: RefCell<Option<Places<E>>>,
}

/// What a flow has proven.
#[derive(Clone, Copy)]
enum Tenure {
    /// Nothing.
    New(Newcomer),
    /// The same; who hears its answer may be somebody else than who asked.
    Answered(Newcomer),
    /// Its client went on after an answer.
    Proven,
    /// It made room for another one before that.
    GaveWay,
}

/// A flow among all others.
struct Places<E: Env> {
    permit: ConnectionPermit,
    _guard: ConnectionGuard<E>,
}

impl<E: Env> Flows<E> {
    pub(crate) fn new(seed: u64) -> Self {
        let flows = RefCell::new(Map::with_hasher(MapSeed::new(seed)));
        Flows { flows, newcomers: RefCell::default() }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.borrow().is_empty() && self.newcomers.borrow().is_empty()
    }

    /// Has all flows look at their time soon: nothing new comes in any more.
    pub(crate) fn hurry(&self, now: Time) {
        self.flows.borrow().values().for_each(|flow| flow.timer.set(now + DRAIN_IDLE));
    }

    fn find(&self, key: &Key) -> Option<Rc<Flow<E>>> {
        self.flows.borrow().get(key).map(Rc::clone)
    }

    /// The client of a flow has sent something.
    fn hear(&self, flow: &Flow<E>) {
        if let Tenure::Answered(newcomer) = flow.tenure.get() {
            self.newcomers.borrow_mut().remove(newcomer);
            flow.tenure.set(Tenure::Proven);
        }
    }

    /// Has the oldest newcomer give way that `find` finds; its places are free at once. False where
    /// there is none.
    fn make_room(&self, now: Time, find: impl FnOnce(&Newcomers<Key>) -> Option<Key>) -> bool {
        let key = find(&self.newcomers.borrow());
        let flow = key.and_then(|key| self.flows.borrow_mut().remove(&key));
        let Some(flow) = flow else { return false };
        self.leave(&flow, Tenure::GaveWay);
        drop(flow.places.take());
        flow.timer.set(now);
        true
    }

    /// A flow is over.
    fn remove(&self, key: &Key, flow: &Flow<E>) {
        if !matches!(flow.tenure.get(), Tenure::GaveWay) {
            // Another one may have its key by now, otherwise.
            self.flows.borrow_mut().remove(key);
            self.leave(flow, Tenure::Proven);
        }
    }

    fn leave(&self, flow: &Flow<E>, to: Tenure) {
        if let Tenure::New(newcomer) | Tenure::Answered(newcomer) = flow.tenure.replace(to) {
            self.newcomers.borrow_mut().remove(newcomer);
        }
    }
}

/// Serves datagrams that have come to a service.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    service: usize,
    replies: &E::Replies,
    ends: Ends,
    datagrams: &[&[u8]],
) {
    let key = Key { service: service as u32, ends, introduced: None };
    let entrance = Entrance::Service(service);
    if worker.introduction_of(entrance, Some(ends.peer.ip())).is_none() {
        return carry(worker, key, replies, datagrams);
    }
    // Those of several clients may come by one socket of the proxy before us.
    let mut read = Vec::with_capacity(datagrams.len());
    for datagram in datagrams {
        match introduced::read(datagram) {
            Ok(one) => read.push(one),
            Err(cause) => worker.count_failure(&worker.plan(), entrance, cause),
        }
    }
    for flow in read.chunk_by(|(one, _), (next, _)| one == next) {
        let datagrams: Vec<&[u8]> = flow.iter().map(|(_, datagram)| *datagram).collect();
        carry(worker, Key { introduced: flow[0].0, ..key }, replies, &datagrams);
    }
}

/// Sends a flow's datagrams on.
fn carry<E: Env>(worker: &Worker<E>, key: Key, replies: &E::Replies, datagrams: &[&[u8]]) {
    let flow = worker.flows().find(&key).or_else(|| begin(worker, key, replies));
    let Some(flow) = flow else { return };
    worker.flows().hear(&flow);
    let (block, ids) = (flow.metrics.shard(worker.shard()), &worker.schemas().service);
    flow.seen.set(worker.env().now());
    let sent = introduced::send(&*flow.up.borrow(), &flow.header, datagrams);
    let (up, down) = flow.carried.get();
    flow.carried.set((up + sent.bytes as u64, down));
    block.add(ids.datagrams_in, sent.datagrams as u64);
    block.add(ids.bytes_in, sent.bytes as u64);
    block.add(ids.datagrams_lost, (datagrams.len() - sent.datagrams) as u64);
}

/// Begins a flow, unless there is no room or nobody to send to: that is counted.
fn begin<E: Env>(worker: &Worker<E>, key: Key, replies: &E::Replies) -> Option<Rc<Flow<E>>> {
    let (plan, place) = (worker.plan(), key.service as usize);
    let ready = &plan.snapshot.services[place];
    if ready.removed || worker.is_draining() {
        return None;
    }
    let client = key.client();
    let source = Some(client.peer.ip());
    if ready.config.denies(source) {
        worker.count_failure(&plan, Entrance::Service(place), Cause::SourceDenied);
        return None;
    }
    let (flows, now) = (worker.flows(), worker.env().now());
    let guard = worker.admit_or(Entrance::Service(place), source, |cause| match cause {
        Cause::SourceConnectionsMax => {
            flows.make_room(now, |all| all.oldest_from(who_has(client.peer.ip())))
        }
        _ => flows.make_room(now, |all| all.oldest_to(key.service)),
    })?;
    let mut record = Record::new(worker, place, Protocol::Udp);
    record.pace.idle = ready.config.datagram_idle(key.ends.local.port());
    let peer = Address::Ip(client.peer);
    let mut tried = Tried { set: TriedSet::default(), last: None };
    let opened = permit(worker, &plan, key).and_then(|permit| {
        let (up, to) = open(worker, &plan, &mut record, key, &mut tried)?;
        Ok((up, to, permit))
    });
    let (up, to, permit) = match opened {
        Ok(opened) => opened,
        Err(cause) => {
            let cluster = ready.config.destinations.others;
            record.refuse(worker, &plan, &peer, cause, (cluster, tried.last));
            return None;
        }
    };
    let timer = worker.env().timer();
    timer.set(now + record.pace.idle);
    let newcomer = flows.newcomers.borrow_mut().add(key.service, who_has(client.peer.ip()), key);
    let flow = Rc::new(Flow {
        up: RefCell::new(up),
        header: introduced::header(&ready.config, client),
        timer,
        seen: Cell::new(now),
        carried: Cell::default(),
        metrics: record.metrics.clone(),
        tenure: Cell::new(Tenure::New(newcomer)),
        places: RefCell::new(Some(Places { permit, _guard: guard })),
    });
    flows.flows.borrow_mut().insert(key, Rc::clone(&flow));
    let session = Session {
        worker: worker.clone(),
        flow: Rc::clone(&flow),
        key,
        replies: replies.clone(),
        record,
        to,
        answered: None,
        _under_way: worker.begin_request(),
    };
    worker.env().spawn(session.run());
    Some(flow)
}

/// A permit for a new flow: a free one, or that of the oldest newcomer, which also goes where they
/// have their part. Half of a cluster's is for flows that have proven themselves; the other half
/// shards divide, so that what comes to one of them leaves room on the others.
fn permit<E: Env>(worker: &Worker<E>, plan: &Plan<E>, key: Key) -> Result<ConnectionPermit, Cause> {
    let service = &plan.snapshot.services[key.service as usize].config;
    let cluster = service.destinations.others.ok_or(Cause::NoEndpoint)?;
    let (flows, now) = (worker.flows(), worker.env().now());
    let make_room = || flows.make_room(now, |all| all.oldest_to(key.service));
    let max = plan.cluster(cluster).config.limits.connections_max as usize;
    let part = max / 2 / plan.snapshot.process.shard_count();
    if flows.newcomers.borrow().count(key.service) >= part.max(1) {
        make_room();
    }
    let permit = || worker.connection_permit(plan, cluster);
    permit().or_else(|| make_room().then(permit).flatten()).ok_or(Cause::ClusterFull)
}

/// Endpoints that were tried for a flow.
struct Tried {
    set: TriedSet,
    last: Option<EndpointId>,
}

/// Who a flow's datagrams go to.
struct To {
    address: Address,
    in_flight: InFlight,
    /// Its cluster's counts.
    in_use: Arc<InUse>,
}

/// Opens a way to an endpoint; to another one where that can't be had.
fn open<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    record: &mut Record,
    key: Key,
    tried: &mut Tried,
) -> Result<(E::Datagrams, To), Cause> {
    let service = &plan.snapshot.services[key.service as usize].config;
    let cluster: ClusterId = service.destinations.others.ok_or(Cause::NoEndpoint)?;
    let ready = plan.cluster(cluster);
    let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
    let source = key.client().peer.ip();
    let (hash, mut last) = (source_key(plan, source), None);
    // The endpoint is to see the client's own address.
    let foreign = Some(source).filter(|_| service.transparent);
    loop {
        let picked = pick(worker, plan, cluster, Some(hash), &mut tried.set, &mut last, foreign);
        let Some(endpoint) = picked else { return Err(last.unwrap_or(Cause::NoEndpoint)) };
        if record.attempts > 0 {
            counters.increment(ids.retries);
        }
        counters.increment(ids.attempts);
        counters.increment(ids.connects);
        record.attempts = record.attempts.saturating_add(1);
        tried.last = Some(endpoint);
        let in_flight = ready.balancer.endpoint(endpoint).begin();
        let address = ready.balancer.endpoint(endpoint).address().clone();
        let cause = match worker.env().open_datagrams(&address, foreign) {
            Ok(up) => {
                let in_use = Arc::clone(&ready.in_use);
                return Ok((up, To { address, in_flight, in_use }));
            }
            Err(error) => failure::of_connect(&error),
        };
        counters.increment(ids.connect_failures);
        counters.increment(ids.tries_failed.at(cause.index()));
        in_flight.fail();
        if u32::from(record.attempts) > service.retries {
            return Err(cause);
        }
        last = Some(cause);
        tried.set.insert(endpoint);
    }
}

/// A flow's other half: the answers, and its end.
struct Session<E: Env> {
    worker: Worker<E>,
    flow: Rc<Flow<E>>,
    key: Key,
    replies: E::Replies,
    record: Record,
    to: To,
    /// How long the first answer took.
    answered: Option<Duration>,
    _under_way: RequestGuard<E>,
}

impl<E: Env> Session<E> {
    #[allow(clippy::manual_async_fn, reason = "an `async fn` keeps what it is given twice")]
    fn run(mut self) -> impl Future<Output = ()> {
        async move {
            let flow = Rc::clone(&self.flow);
            let cause = loop {
                if let Tenure::GaveWay = flow.tenure.get() {
                    // It was served, where it was answered.
                    break self.answered.is_none().then_some(Cause::FlowGaveWay);
                }
                let receive = poll_fn(|context| {
                    let take = &mut |answers: &[&[u8]]| self.answer(answers);
                    flow.up.borrow().poll_receive(context, take)
                });
                match flow.timer.race(receive).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        let cause = failure::of_connect(&error);
                        if !self.move_on(cause) {
                            break Some(cause);
                        }
                    }
                    None if self.is_over() => break None,
                    None => {}
                }
            };
            self.end(cause);
        }
    }

    /// Passes answers on.
    fn answer(&mut self, answers: &[&[u8]]) {
        let (worker, flow) = (&self.worker, &self.flow);
        let now = worker.env().now();
        if self.answered.is_none() {
            self.answered = Some(now.since(flow.seen.get()));
        }
        flow.seen.set(now);
        if let Tenure::New(newcomer) = flow.tenure.get() {
            flow.tenure.set(Tenure::Answered(newcomer));
        }
        let (block, ids) = (flow.metrics.shard(worker.shard()), &worker.schemas().service);
        let sent = self.replies.send(&self.key.ends, answers);
        let (up, down) = flow.carried.get();
        flow.carried.set((up, down + sent.bytes as u64));
        block.add(ids.datagrams_out, sent.datagrams as u64);
        block.add(ids.bytes_out, sent.bytes as u64);
        block.add(ids.datagrams_lost, (answers.len() - sent.datagrams) as u64);
    }

    /// Whether nothing has moved for as long as a flow may be silent; else it is asked again then.
    fn is_over(&self) -> bool {
        let idle = match self.worker.is_draining() {
            true => self.record.pace.idle.min(DRAIN_IDLE),
            false => self.record.pace.idle,
        };
        let until = self.flow.seen.get() + idle;
        self.flow.timer.set(until);
        until <= self.worker.env().now()
    }

    /// Leaves an endpoint that is said to be gone for another one. False where there is none.
    fn move_on(&mut self, cause: Cause) -> bool {
        let (worker, plan) = (&self.worker, self.worker.plan());
        let service = &plan.snapshot.services[self.key.service as usize];
        let Some(cluster) = service.config.destinations.others else { return false };
        let ready = plan.cluster(cluster);
        let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
        counters.increment(ids.connect_failures);
        counters.increment(ids.tries_failed.at(cause.index()));
        if service.removed || u32::from(self.record.attempts) > service.config.retries {
            return false;
        }
        let mut tried = Tried { set: TriedSet::default(), last: None };
        for (index, endpoint) in ready.balancer.endpoints().iter().enumerate() {
            if *endpoint.address() == self.to.address {
                tried.set.insert(EndpointId::new(index));
            }
        }
        if !Arc::ptr_eq(&self.to.in_use, &ready.in_use) {
            // A reload has given the service another cluster.
            let Some(permit) = worker.connection_permit(&plan, cluster) else { return false };
            let mut places = self.flow.places.borrow_mut();
            let Some(places) = &mut *places else { return false };
            places.permit = permit;
        }
        let opened = open(worker, &plan, &mut self.record, self.key, &mut tried);
        let Ok((up, to)) = opened else { return false };
        *self.flow.up.borrow_mut() = up;
        std::mem::replace(&mut self.to, to).in_flight.fail();
        true
    }

    fn end(self, cause: Option<Cause>) {
        let Session { worker, flow, key, record, to, answered, .. } = self;
        worker.flows().remove(&key, &flow);
        match (cause, answered) {
            // Nothing was asked for, or nobody answered: datagrams don't say.
            (Some(Cause::FlowGaveWay), _) | (None, None) => drop(to.in_flight),
            (Some(_), _) => to.in_flight.fail(),
            (None, Some(time)) => to.in_flight.finish(time, worker.env().now()),
        }
        let (peer, carried) = (Address::Ip(key.client().peer), flow.carried.get());
        record.finish(&worker, &peer, carried, cause, (&to.address, &to.in_use));
    }
}

/// How long a flow may be silent while its worker drains: no datagram of its client comes any
/// more, but answers may be under way.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
