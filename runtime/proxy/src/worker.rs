//! One shard's proxy: its connections, its pools, the snapshot it serves from.

mod admit;
mod pick;
mod plan;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_balance::EndpointId;
use penstock_config::ClusterId;
use penstock_env::{Address, Ends, Env, Rng, Stream, Time};
use penstock_filter_host::{EnvWorld, Filters, Nudge};
use penstock_telemetry::access::AccessRecord;
use penstock_telemetry::metrics::Instance;
use penstock_tls::Session;

use crate::admission::{For, Upstream};
use crate::bell::{Bell, Bells};
use crate::exchange::Scratch;
use crate::failure::Cause;
use crate::housekeeping;
use crate::http2::{Links, Share};
use crate::introduction::Introduction;
use crate::large_heads::{LargeHead, LargeHeads};
use crate::metrics::Schemas;
use crate::pool::Pool;
use crate::relay::datagrams::Flows;
use crate::secure::{Handshakes, Secure, SecureStream, Turns};
use crate::snapshot::{Entrance, Snapshot};
use crate::{protocol, relay, tarpit};

pub(crate) use admit::ConnectionGuard;
use plan::ClusterState;
pub(crate) use plan::Plan;

/// Scratch space that is kept for the next exchange; a burst's worth goes back to the heap.
const SCRATCH_MAX: usize = 256;

/// How often the operator is told of failed handshakes; every one is counted.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Where access log records go: it has the given function fill one in, whatever it was before;
/// false when there was no room.
pub type LogSink = Box<dyn FnMut(&mut dyn FnMut(&mut AccessRecord)) -> bool>;

/// A shard's proxy. Cheap to clone; bound to its thread.
pub struct Worker<E: Env> {
    inner: Rc<Inner<E>>,
}

impl<E: Env> Clone for Worker<E> {
    fn clone(&self) -> Self {
        Worker { inner: Rc::clone(&self.inner) }
    }
}

/// A worker that may be gone; what runs beside connections holds this.
pub(crate) struct WeakWorker<E: Env> {
    inner: Weak<Inner<E>>,
}

impl<E: Env> WeakWorker<E> {
    /// The worker, while it lives.
    pub(crate) fn upgrade(&self) -> Option<Worker<E>> {
        self.inner.upgrade().map(|inner| Worker { inner })
    }
}

struct Inner<E: Env> {
    env: E,
    filters: Filters,
    shard: usize,
    schemas: Arc<Schemas>,
    /// Counters of the process: the same in every snapshot.
    process: Instance,
    plan: RefCell<Rc<Plan<E>>>,
    #[expect(clippy::vec_box, reason = "they move in and out of tasks: a pointer, not 600 bytes")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    rng: RefCell<Rng>,
    connections: Cell<usize>,
    requests: Cell<usize>,
    handshakes: Rc<Handshakes>,
    turns: Turns,
    told: RefCell<Vec<Told>>,
    seal: Seal<E>,
    draining: Cell<bool>,
    log: RefCell<Option<LogSink>>,
    /// Connections that have a task while they are idle.
    bells: Bells,
    /// Flows of datagrams.
    flows: Flows<E>,
    /// What its connections of HTTP/2 share.
    http2: Rc<Share>,
    large_heads: Rc<LargeHeads>,
}

impl<E: Env> Drop for Inner<E> {
    fn drop(&mut self) {
        // Their instances end in good order, and with them whatever they have under way.
        self.filters.apply(&[]);
    }
}

/// Makes a sealed stream of a plain one: the one thing that a worker over any environment can't
/// do by itself.
type Seal<E> = fn(&E, <E as Env>::Stream, Session, Vec<u8>) -> <E as Env>::Stream;

impl<E: Env> Worker<Secure<E>> {
    /// A proxy for shard number `shard`. `stopwatch_ns` is a clock that runs while a filter does,
    /// to measure what it costs; a constant where nothing is measured.
    pub fn new(
        env: E,
        shard: usize,
        schemas: Arc<Schemas>,
        snapshot: Arc<Snapshot>,
        log: Option<LogSink>,
        stopwatch_ns: fn() -> u64,
    ) -> Worker<Secure<E>> {
        let env = Secure(env);
        let filters = Filters::new(shard, Rc::new(EnvWorld::new(env.clone(), stopwatch_ns)));
        filters.apply(&snapshot.filters);
        let mut rng = Rng::new(env.random());
        let process = snapshot.process.clone();
        let flows = Flows::new(env.random());
        let plan = RefCell::new(Rc::new(Plan::new(snapshot, &mut rng)));
        let inner = Inner {
            env,
            filters,
            shard,
            schemas,
            process,
            plan,
            scratch: RefCell::default(),
            rng: RefCell::new(rng),
            connections: Cell::new(0),
            requests: Cell::new(0),
            handshakes: Rc::default(),
            turns: Turns::default(),
            told: RefCell::default(),
            seal: |env, stream, session, early| stream.seal(&env.0, session, early),
            draining: Cell::new(false),
            log: RefCell::new(log),
            bells: Bells::default(),
            flows,
            http2: Rc::default(),
            large_heads: Rc::default(),
        };
        let worker = Worker { inner: Rc::new(inner) };
        let (env, filters) = (worker.inner.env.clone(), worker.inner.filters.clone());
        worker.inner.env.spawn(housekeeping::run(worker.downgrade(), env, filters));
        worker
    }

    /// Serves a connection that came in at this place of the snapshot.
    pub fn accept(&self, entrance: Entrance, stream: E::Stream) {
        let source = stream.peer().ip();
        let introduced_by = self.introduction_of(entrance, source);
        if let (Entrance::Service(service), None) = (entrance, introduced_by)
            && self.is_denied(entrance, source)
        {
            return tarpit::deny(self, service, SecureStream::plain(stream));
        }
        // Who speaks for others is not counted as their source.
        let counted = if introduced_by.is_some() { None } else { source };
        let Some(guard) = self.admit(entrance, counted) else { return };
        let stream = SecureStream::plain(stream);
        match introduced_by {
            None => self.serve(entrance, stream, guard),
            Some(timeout) => {
                let until = self.env().now() + timeout;
                Introduction { worker: self.clone(), entrance, guard, until }.wait(stream);
            }
        }
    }

    /// Serves datagrams with these ends that came in at this place of the snapshot; `replies` leads
    /// back.
    pub fn datagrams(
        &self,
        entrance: Entrance,
        replies: &E::Replies,
        ends: Ends,
        datagrams: &[&[u8]],
    ) {
        // Listeners have none.
        if let Entrance::Service(service) = entrance {
            relay::datagrams::serve(self, service, replies, ends, datagrams);
        }
    }

    /// Serves a connection that was let in, and of which it is known who it is from.
    pub(crate) fn serve(
        &self,
        entrance: Entrance,
        stream: SecureStream<E>,
        guard: ConnectionGuard<Secure<E>>,
    ) {
        match entrance {
            Entrance::Listener(listener) => protocol::serve(self, listener, stream, guard),
            Entrance::Service(service) => relay::serve(self, service, stream, guard),
        }
    }
}

impl<E: Env> Worker<E> {
    /// How long connections from there have to say whose they are, if they have to.
    pub(crate) fn introduction_of(
        &self,
        entrance: Entrance,
        peer: Option<IpAddr>,
    ) -> Option<Duration> {
        let plan = self.plan();
        let introduced = match entrance {
            Entrance::Listener(place) => &plan.snapshot.listeners[place].config.proxy_protocol,
            Entrance::Service(place) => &plan.snapshot.services[place].config.proxy_protocol,
        };
        let introduced = introduced.as_ref()?;
        introduced.is_from(peer?).then_some(introduced.timeout)
    }

    /// Serves new requests from `snapshot`; those under way end on the one they began with.
    pub fn apply(&self, snapshot: Arc<Snapshot>) {
        self.inner.filters.apply(&snapshot.filters);
        let mut plan = Plan::new(snapshot, &mut self.inner.rng.borrow_mut());
        plan.keep_dialers(&self.plan());
        let plan = Rc::new(plan);
        let old = std::mem::replace(&mut *self.inner.plan.borrow_mut(), Rc::clone(&plan));
        plan.inherit(&old);
        self.inner.bells.ring();
    }

    /// How other threads can have this worker's thread call [`Worker::nudged`].
    pub fn set_nudge(&self, nudge: Box<Nudge>) {
        self.inner.filters.set_nudge(nudge);
    }

    /// Another thread has something for this one to look at: an item in a filter's queue.
    pub fn nudged(&self) {
        self.inner.filters.nudged();
    }

    /// Logs to `log` from now on, or nowhere.
    pub fn set_log(&self, log: Option<LogSink>) {
        *self.inner.log.borrow_mut() = log;
    }

    /// Ends connections after the response under way. The shard brings back parked ones.
    pub fn drain(&self) {
        self.inner.draining.set(true);
        self.inner.flows.hurry(self.inner.env.now());
        self.inner.bells.ring();
    }

    /// Downstream connections that are open.
    pub fn connection_count(&self) -> usize {
        self.inner.connections.get()
    }

    /// Counts the connections that end because the time to drain is over.
    pub fn count_cut(&self) {
        let (inner, open) = (&self.inner, self.connection_count() as u64);
        inner.process.shard(inner.shard).add(inner.schemas.process.drain_cut, open);
    }

    /// Requests under way.
    pub fn request_count(&self) -> usize {
        self.inner.requests.get()
    }

    /// Exchanges that hold a context in some filter.
    pub fn filter_streams_count(&self) -> usize {
        self.inner.filters.streams()
    }

    /// Upstream connections that are open and unused.
    pub fn pooled_count(&self) -> usize {
        let plan = self.plan();
        let of_cluster = |cluster: &ClusterState<E>| {
            let links = cluster.links.iter().map(|links| links.unused_count()).sum::<usize>();
            cluster.pools.iter().map(Pool::len).sum::<usize>() + links
        };
        plan.clusters.iter().map(of_cluster).sum()
    }

    /// Whether HTTP/2 has no streams of clients under way, and no windows that grew; nor are large
    /// heads held, or flows of datagrams under way.
    pub fn rests(&self) -> bool {
        let inner = &self.inner;
        inner.http2.is_unused() && inner.large_heads.is_empty() && inner.flows.is_empty()
    }

    /// Drops every unused upstream connection; for the end of a run.
    pub fn clear_pools(&self) {
        let plan = self.plan();
        for cluster in &plan.clusters {
            cluster.pools.iter().for_each(Pool::clear);
            cluster.links.iter().for_each(|links| links.clear());
        }
    }

    #[inline]
    pub(crate) fn env(&self) -> &E {
        &self.inner.env
    }

    #[inline]
    pub(crate) fn plan(&self) -> Rc<Plan<E>> {
        Rc::clone(&self.inner.plan.borrow())
    }

    /// The shard's filters.
    #[inline]
    pub(crate) fn filters(&self) -> &Filters {
        &self.inner.filters
    }

    #[inline]
    pub(crate) fn schemas(&self) -> &Schemas {
        &self.inner.schemas
    }

    #[inline]
    pub(crate) fn shard(&self) -> usize {
        self.inner.shard
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.get()
    }

    /// Whether the listener at this place is gone from the config.
    pub(crate) fn is_removed(&self, listener: usize) -> bool {
        self.inner.plan.borrow().snapshot.listeners[listener].removed
    }

    /// The shard's flows of datagrams.
    #[inline]
    pub(crate) fn flows(&self) -> &Flows<E> {
        &self.inner.flows
    }

    /// What the shard's connections of HTTP/2 share.
    pub(crate) fn http2_share(&self) -> &Rc<Share> {
        &self.inner.http2
    }

    /// Whether a head of `peer` that has `bytes` (so far) can be held; counted in `head` if it is
    /// large.
    pub(crate) fn holds_head(
        &self,
        plan: &Plan<E>,
        head: &mut Option<LargeHead>,
        peer: &Address,
        bytes: usize,
    ) -> bool {
        let max = plan.snapshot.config.runtime.large_heads_bytes_max.as_u64();
        self.inner.large_heads.hold(head, || peer.ip(), bytes, max)
    }

    /// This worker, for those who may outlive it.
    pub(crate) fn downgrade(&self) -> WeakWorker<E> {
        WeakWorker { inner: Rc::downgrade(&self.inner) }
    }

    /// Turns at the heavy steps of handshakes.
    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    /// Handshakes with clients that are under way.
    pub(crate) fn handshakes(&self) -> &Rc<Handshakes> {
        &self.inner.handshakes
    }

    /// Seals a plain stream with a session whose handshake is over.
    pub(crate) fn seal(&self, stream: E::Stream, session: Session, early: Vec<u8>) -> E::Stream {
        (self.inner.seal)(&self.inner.env, stream, session, early)
    }

    /// Tells the operator something that peers can bring about, of each kind once a second at most;
    /// `tell` is given how many were left out since it was told last.
    pub(crate) fn tell(&self, kind: Telling, tell: impl FnOnce(u64)) {
        let (now, mut told) = (self.inner.env.now(), self.inner.told.borrow_mut());
        let known = told.iter().position(|told| told.kind == kind);
        let place = known.unwrap_or_else(|| {
            told.push(Told { kind, next: Time::default(), left_out: 0 });
            told.len() - 1
        });
        let known = &mut told[place];
        if now < known.next {
            known.left_out += 1;
            return;
        }
        known.next = now + TELL_EVERY;
        tell(std::mem::take(&mut known.left_out));
    }

    /// Counts a failure under its cause: the appliance's, and that of where it came in.
    pub(crate) fn count_failure(&self, plan: &Plan<E>, entrance: Entrance, cause: Cause) {
        let (schemas, snapshot) = (&self.inner.schemas, &plan.snapshot);
        let block = snapshot.process.shard(self.inner.shard);
        block.increment(schemas.process.failures.at(cause.index()));
        let (metrics, failures) = match entrance {
            Entrance::Listener(place) => {
                (&snapshot.listeners[place].metrics, schemas.listener.failures)
            }
            Entrance::Service(place) => {
                (&snapshot.services[place].metrics, schemas.service.failures)
            }
        };
        metrics.shard(self.inner.shard).increment(failures.at(cause.index()));
    }

    /// Counts a window of HTTP/2 that would have grown, had there been room.
    pub(crate) fn count_narrow_window(&self, plan: &Plan<E>) {
        let block = plan.snapshot.process.shard(self.inner.shard);
        block.increment(self.inner.schemas.process.windows_held);
    }

    /// Has `fill` write a record of the log, if there is one.
    pub(crate) fn log(&self, plan: &Plan<E>, mut fill: impl FnMut(&mut AccessRecord)) {
        if let Some(sink) = &mut *self.inner.log.borrow_mut()
            && !sink(&mut fill)
        {
            let block = plan.snapshot.process.shard(self.inner.shard);
            block.increment(self.inner.schemas.process.log_lost);
        }
    }

    /// A bell that rings when the worker drains, or serves another snapshot.
    pub(crate) fn bell(&self) -> Rc<Bell> {
        self.inner.bells.add()
    }

    /// Bytes that nobody foresees.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        let mut rng = self.inner.rng.borrow_mut();
        let (a, b) = (rng.next_u64(), rng.next_u64());
        (u128::from(a) << 64 | u128::from(b)).to_le_bytes()
    }

    /// A random number below `bound`, for weighted choices.
    pub(crate) fn below(&self, bound: u32) -> u32 {
        self.inner.rng.borrow_mut().below(bound)
    }

    /// Keeps an upstream connection for the next request, in the plan of now; not one that has
    /// not taken all of this one, as an endpoint may leave it that answers early: nothing can be
    /// sent behind the rest.
    pub(crate) fn keep(
        &self,
        plan: &Rc<Plan<E>>,
        cluster: ClusterId,
        endpoint: EndpointId,
        up: Upstream<E::Stream>,
    ) {
        let mut context = Context::from_waker(Waker::noop());
        if !matches!(up.stream.poll_sent(&mut context), Poll::Ready(Ok(()))) {
            return;
        }
        let (now, current) = (self.inner.env.now(), self.inner.plan.borrow());
        let (queue, is_current) = (plan.queue(cluster), Rc::ptr_eq(plan, &current));
        let is_found_here = is_current && !queue.is_empty(For::Connection);
        if !is_found_here && plan.cluster(cluster).in_use.is_wanted() {
            // Somebody waits who would not find it: on another shard, or in another plan. Its
            // place is found.
            return;
        }
        if is_current {
            plan.pool(cluster, endpoint).put(up, now);
            queue.wake_one(For::Connection);
        } else if let Some((pool, _)) = current.successor(plan, cluster, endpoint) {
            pool.put(up, now);
        }
    }

    /// The connections, in the plan of now, to an endpoint that speaks HTTP/2.
    pub(crate) fn links_of_now(
        &self,
        plan: &Rc<Plan<E>>,
        cluster: ClusterId,
        endpoint: EndpointId,
    ) -> Option<Rc<Links<E>>> {
        let current = self.inner.plan.borrow();
        if Rc::ptr_eq(plan, &current) {
            return Some(Rc::clone(plan.links(cluster, endpoint)));
        }
        current.successor(plan, cluster, endpoint).map(|(_, links)| Rc::clone(links))
    }

    pub(crate) fn scratch(&self) -> Box<Scratch> {
        self.inner.scratch.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn put_scratch(&self, mut scratch: Box<Scratch>) {
        let mut pool = self.inner.scratch.borrow_mut();
        if pool.len() < SCRATCH_MAX && scratch.is_small() {
            scratch.clear();
            pool.push(scratch);
        }
    }

    /// Counts a request as under way until the guard is dropped.
    pub(crate) fn begin_request(&self) -> RequestGuard<E> {
        self.inner.requests.set(self.inner.requests.get() + 1);
        RequestGuard { worker: self.clone() }
    }

    /// Drops unused upstream connections that are too old or were closed.
    pub(crate) fn sweep_pools(&self) {
        self.plan().sweep(self.inner.env.now());
    }
}

/// What the operator is told of, by kinds that shall not hide each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Downstreams whose TLS handshake failed: anybody's scanner.
    Downstream,
    /// Proxies before us that were not understood.
    Introduction,
    /// Endpoints of a cluster, by its place in the config.
    Endpoints(ClusterId),
    /// There is nothing left to accept with.
    Exhausted,
}

/// When something of a kind may be told again.
struct Told {
    kind: Telling,
    next: Time,
    left_out: u64,
}

/// A request in the counts, until it is dropped.
pub(crate) struct RequestGuard<E: Env> {
    worker: Worker<E>,
}

impl<E: Env> Drop for RequestGuard<E> {
    fn drop(&mut self) {
        let requests = &self.worker.inner.requests;
        requests.set(requests.get() - 1);
    }
}
