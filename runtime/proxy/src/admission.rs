//! How much a cluster may have under way, and the queue in front of that.
//!
//! Counts are the appliance's: all shards share them, as they share each endpoint's. The queue is
//! a shard's own. A permit that another shard gives back is found by looking again every few
//! milliseconds; one that this shard frees wakes the longest waiting at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

use penstock_balance::RetryBudget;
use penstock_env::{Env, Time, Timer};
use penstock_telemetry::metrics::{GaugeId, Instance};

use crate::failure::Cause;

/// How often a queued request looks for a permit that another shard gave back.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a cluster has under way, on all shards together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InUse {
    requests: AtomicU32,
    connections: AtomicU32,
    /// Requests that wait for a connection.
    wanting: AtomicU32,
    /// What it may retry.
    pub(crate) budget: RetryBudget,
}

impl InUse {
    /// Requests in flight.
    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Upstream connections, used and unused.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Whether requests wait for a connection, on whichever shard: none is kept unused then.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanting.load(Relaxed) > 0
    }

    /// Says to all shards that a connection is wanted, until it is dropped.
    pub(crate) fn want(&self) -> Wanting<'_> {
        self.wanting.fetch_add(1, Relaxed);
        Wanting { in_use: self }
    }

    /// A connection's permit among at most `max`; `open` counts it among all connections.
    pub(crate) fn connect(
        self: &Arc<Self>,
        max: u32,
        open: impl FnOnce() -> Open,
    ) -> Option<ConnectionPermit> {
        let permit = || ConnectionPermit { in_use: Arc::clone(self), _open: open() };
        take(&self.connections, max).then(permit)
    }
}

fn take(counter: &AtomicU32, max: u32) -> bool {
    if counter.fetch_add(1, Relaxed) < max {
        return true;
    }
    counter.fetch_sub(1, Relaxed);
    false
}

/// A request that waits for a connection.
pub(crate) struct Wanting<'a> {
    in_use: &'a InUse,
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let before = self.in_use.wanting.fetch_sub(1, Relaxed);
        assert!(before > 0, "more requests stopped waiting than began");
    }
}

/// An upstream connection in its cluster's count, until it is dropped.
pub(crate) struct ConnectionPermit {
    in_use: Arc<InUse>,
    _open: Open,
}

impl ConnectionPermit {
    /// The counts of the cluster that it is one of.
    pub(crate) fn in_use(&self) -> &Arc<InUse> {
        &self.in_use
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let before = self.in_use.connections.fetch_sub(1, Relaxed);
        assert!(before > 0, "more connections ended than began");
    }
}

/// One of the appliance's connections, until it is dropped.
pub(crate) struct Open {
    process: Instance,
    /// Short: every connection has one.
    shard: u32,
    gauge: GaugeId,
}

impl Open {
    /// Counts a connection of `shard`.
    pub(crate) fn new(process: &Instance, shard: usize, gauge: GaugeId) -> Open {
        process.shard(shard).shift(gauge, 1);
        Open { process: process.clone(), shard: shard as u32, gauge }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.process.shard(self.shard as usize).shift(self.gauge, -1);
    }
}

/// An upstream connection with its permit.
pub(crate) struct Upstream<S> {
    pub(crate) stream: S,
    pub(crate) _permit: ConnectionPermit,
}

/// A request in its cluster's count, until it is dropped.
pub(crate) struct RequestPermit {
    in_use: Arc<InUse>,
    queue: Rc<Queue>,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        let before = self.in_use.requests.fetch_sub(1, Relaxed);
        assert!(before > 0, "more requests ended than began");
        // With it ended what it had at an endpoint, and perhaps its connection.
        if self.queue.waiting.get() > 0 {
            self.queue.lines.iter().for_each(Line::wake_one);
        }
    }
}

/// What a request may wait for. Each has a line of its own: who waits for one does not hold up
/// those who want another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// To be among the cluster's requests.
    Request,
    /// Whichever endpoint has room.
    Endpoint,
    /// An endpoint that its key leads to, or that it has not tried: not everybody's.
    CertainEndpoint,
    /// A connection, or room for one.
    Connection,
}

/// The requests of one shard that wait for something of a cluster.
#[derive(Default)]
pub(crate) struct Queue {
    /// By what they wait for.
    lines: [Line; 4],
    /// How many they are, in all lines.
    waiting: Cell<u32>,
}

/// Those that wait for the same, the first in front.
#[derive(Default)]
struct Line {
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
}

#[derive(Default)]
struct Ticket {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Queue {
    /// A permit for a request, if nobody waits and there is one.
    #[inline]
    pub(crate) fn enter(self: &Rc<Self>, in_use: &Arc<InUse>, max: u32) -> Option<RequestPermit> {
        let free = self.is_empty(For::Request) && take(&in_use.requests, max);
        free.then(|| self.permit(in_use))
    }

    /// A permit for a request, whoever waits.
    fn enter_first(self: &Rc<Self>, in_use: &Arc<InUse>, max: u32) -> Option<RequestPermit> {
        take(&in_use.requests, max).then(|| self.permit(in_use))
    }

    fn permit(self: &Rc<Self>, in_use: &Arc<InUse>) -> RequestPermit {
        RequestPermit { in_use: Arc::clone(in_use), queue: Rc::clone(self) }
    }

    /// Waits for a permit, in turn.
    ///
    /// # Errors
    /// `queued_max` requests wait already, or none became free by `until`.
    pub(crate) async fn wait_to_enter<E: Env>(
        self: &Rc<Self>,
        env: &E,
        in_use: &Arc<InUse>,
        (max, queued_max): (u32, u32),
        until: Time,
    ) -> Result<RequestPermit, Cause> {
        let find = |is_first| if is_first { self.enter_first(in_use, max) } else { None };
        self.wait_for(env, For::Request, (queued_max, until), find).await
    }

    /// Waits until `find` finds something, asking when this shard frees anything, and every few
    /// milliseconds. It is told whether it asks for the first in its line: what everybody there
    /// could use is that one's.
    ///
    /// # Errors
    /// As [`Queue::wait_to_enter`].
    pub(crate) async fn wait_for<E: Env, T>(
        &self,
        env: &E,
        what: For,
        (queued_max, until): (u32, Time),
        mut find: impl FnMut(bool) -> Option<T>,
    ) -> Result<T, Cause> {
        if self.waiting.get() >= queued_max {
            return Err(Cause::ClusterFull);
        }
        let (line, ticket) = (self.line(what), Rc::new(Ticket::default()));
        line.waiting.borrow_mut().push_back(Rc::clone(&ticket));
        self.waiting.set(self.waiting.get() + 1);
        let _leaves = Leaves { queue: self, line, ticket: &ticket };
        let timer = env.timer();
        timer.set((env.now() + LOOK_EVERY).min(until));
        loop {
            poll_fn(|context| {
                if ticket.called.take() {
                    return Poll::Ready(());
                }
                ticket.waker.replace(Some(context.waker().clone()));
                timer.poll_expired(context)
            })
            .await;
            let first = line.waiting.borrow().front().is_some_and(|one| Rc::ptr_eq(one, &ticket));
            if let Some(found) = find(first) {
                return Ok(found);
            }
            if env.now() >= until {
                return Err(Cause::QueueTimeout);
            }
            timer.set((env.now() + LOOK_EVERY).min(until));
        }
    }

    /// Whether nobody waits for this.
    #[inline]
    pub(crate) fn is_empty(&self, what: For) -> bool {
        self.waiting.get() == 0 || self.line(what).waiting.borrow().is_empty()
    }

    /// Tells whoever waits for this longest that it became free.
    pub(crate) fn wake_one(&self, what: For) {
        self.line(what).wake_one();
    }

    fn line(&self, what: For) -> &Line {
        &self.lines[what as usize]
    }
}

impl Line {
    #[inline]
    fn wake_one(&self) {
        let first = self.waiting.borrow().front().map(Rc::clone);
        if let Some(ticket) = first {
            ticket.called.set(true);
            let waker = ticket.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Takes a ticket out of its line however the wait ends, and passes the turn on.
struct Leaves<'a> {
    queue: &'a Queue,
    line: &'a Line,
    ticket: &'a Rc<Ticket>,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.line.waiting.borrow_mut().retain(|one| !Rc::ptr_eq(one, self.ticket));
        self.queue.waiting.set(self.queue.waiting.get() - 1);
        self.line.wake_one();
    }
}
