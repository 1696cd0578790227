//! The connections of one shard to one endpoint that speaks HTTP/2.
//!
//! The first with room for another stream is taken, so that those behind it run dry and can go.
//! One is opened where there is none with room and nobody opens one already: requests that come
//! in the meantime wait for that one, as many as it is likely to take.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_balance::EndpointId;
use penstock_config::{ClusterId, SharedHttp2};
use penstock_env::{Env, Time, Timer, TimerExt};

use super::link::{self, Lease, Link, STREAMS_MAX};
use crate::admission::{ConnectionPermit, For};
use crate::failure::Cause;
use crate::worker::{Plan, Worker};

/// The connections to one endpoint.
pub(crate) struct Links<E: Env> {
    all: RefCell<Vec<Rc<Link<E>>>>,
    /// Connections that are being opened.
    opening: Cell<usize>,
    /// Changes with everything that somebody may wait for.
    round: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl<E: Env> Default for Links<E> {
    fn default() -> Self {
        Links {
            all: RefCell::default(),
            opening: Cell::new(0),
            round: Cell::new(0),
            waiting: RefCell::default(),
        }
    }
}

impl<E: Env> Links<E> {
    /// Room for a request on one of the connections.
    pub(crate) fn find(&self, limits: &SharedHttp2) -> Option<Lease<E>> {
        let mut all = self.all.borrow_mut();
        all.retain(|link| !link.is_over());
        all.iter().find(|link| link.has_room(limits)).map(Link::lease)
    }

    /// Drops what was unused for as long as `keep_alive`, or is over; with `all`, everything that
    /// is unused.
    pub(crate) fn sweep(&self, now: Time, keep_alive: Duration, all: bool) {
        self.all.borrow_mut().retain(|link| {
            let kept =
                link.unused_since().is_none_or(|since| !all && now.since(since) < keep_alive);
            kept && !link.is_over()
        });
    }

    /// Since when the oldest unused one is.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.all.borrow().iter().filter_map(|link| link.unused_since()).min()
    }

    /// Drops the one that was unused for longest.
    pub(crate) fn drop_oldest(&self) {
        let oldest = self.oldest();
        let mut all = self.all.borrow_mut();
        if let Some(at) =
            all.iter().position(|link| oldest.is_some() && link.unused_since() == oldest)
        {
            all.remove(at);
        }
    }

    /// All of them, for the next snapshot.
    pub(crate) fn move_to(&self, other: &Links<E>) {
        other.all.borrow_mut().append(&mut self.all.borrow_mut());
        self.change();
        other.change();
    }

    /// Lets go of all; requests under way end on theirs.
    pub(crate) fn clear(&self) {
        self.all.borrow_mut().clear();
    }

    /// How many are open and unused.
    pub(crate) fn unused_count(&self) -> usize {
        let all = self.all.borrow();
        all.iter().filter(|link| !link.is_over() && link.unused_since().is_some()).count()
    }

    fn add(&self, link: Rc<Link<E>>) {
        self.all.borrow_mut().push(link);
        self.change();
    }

    fn change(&self) {
        self.round.set(self.round.get() + 1);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Whether those who open connections will have room for one more request.
    fn can_wait(&self) -> bool {
        self.waiting.borrow().len() < self.opening.get() * STREAMS_MAX
    }

    fn poll_change(&self, round: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.round.get() != round {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// A connection is being opened, until it is dropped.
struct Opening<'a, E: Env>(&'a Links<E>);

impl<'a, E: Env> Opening<'a, E> {
    fn begin(links: &'a Links<E>) -> Opening<'a, E> {
        links.opening.set(links.opening.get() + 1);
        Opening(links)
    }
}

impl<E: Env> Drop for Opening<'_, E> {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get() - 1);
        // Whoever waited for it looks again, and opens one itself if need be.
        self.0.change();
    }
}

/// What a request that wants to open a connection came to have.
enum Found<E: Env> {
    Lease(Lease<E>),
    /// Somebody else opens one.
    Opening,
    Permit(ConnectionPermit),
}

/// Room for a request on a connection to `endpoint`, and whether the connection was there before.
/// `asked` tells whether the endpoint is waited for, and not somebody here.
///
/// # Errors
/// It could not be opened, not in time, or there may be no more of them.
pub(crate) async fn lease<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    (cluster, endpoint): (ClusterId, EndpointId),
    asked: &Cell<bool>,
) -> Result<(Lease<E>, bool), Cause> {
    let links = plan.links(cluster, endpoint);
    let ready = plan.cluster(cluster);
    let (env, timer) = (worker.env(), worker.env().timer());
    let (mut waited, mut until) = (false, None);
    let permit = loop {
        if let Some(lease) = links.find(&plan.snapshot.config.runtime.http2) {
            return Ok((lease, !waited));
        }
        if !links.can_wait() {
            asked.set(false);
            match find_permit(worker, plan, cluster, links).await? {
                Found::Lease(lease) => return Ok((lease, true)),
                Found::Opening => until = None,
                Found::Permit(permit) => break permit,
            }
        }
        waited = true;
        asked.set(true);
        let round = links.round.get();
        timer.set(*until.get_or_insert_with(|| env.now() + ready.config.timeouts.connect));
        let changed = poll_fn(|context| links.poll_change(round, context));
        timer.race(changed).await.ok_or(Cause::ConnectTimeout)?;
    };
    let begun = Opening::begin(links);
    asked.set(true);
    ready.metrics.shard(worker.shard()).increment(worker.schemas().cluster.connects);
    timer.set(env.now() + ready.config.timeouts.connect);
    let stage = Cell::default();
    let opening = link::open(worker, plan, (cluster, endpoint), permit, &stage);
    let link = timer.race(opening).await.unwrap_or_else(|| Err(stage.get().timeout()))?;
    let lease = Link::lease(&link);
    // In the plan of now: the one that this request began with may be gone.
    if let Some(links) = worker.links_of_now(plan, cluster, endpoint) {
        links.add(link);
    }
    drop(begun);
    Ok((lease, false))
}

/// A permit for another connection, or what makes it needless; waited for if need be.
async fn find_permit<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    cluster: ClusterId,
    links: &Links<E>,
) -> Result<Found<E>, Cause> {
    if let Some(permit) = worker.connection_permit_in_turn(plan, cluster) {
        return Ok(Found::Permit(permit));
    }
    let (env, ready) = (worker.env(), plan.cluster(cluster));
    let limits = (ready.config.limits.queued_max, env.now() + ready.config.timeouts.queue);
    let _wanting = ready.in_use.want();
    // Room on a connection to its endpoint is nothing that others in the line could use.
    let find = |is_first: bool| {
        let lease = links.find(&plan.snapshot.config.runtime.http2).map(Found::Lease);
        let opening = || links.can_wait().then_some(Found::Opening);
        let permit = || match is_first {
            true => worker.connection_permit(plan, cluster).map(Found::Permit),
            false => None,
        };
        lease.or_else(opening).or_else(permit)
    };
    plan.queue(cluster).wait_for(env, For::Connection, limits, find).await
}
