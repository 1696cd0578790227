//! A connection from accept to close: requests one after the other, parked in between.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{CloseKind, Env, Stream, StreamExt, Time, Timer, TimerExt, Wake};
use penstock_tls::Facts;

use super::head::{self, Head};
use crate::downstream::Downstream;
use crate::exchange::{self, After, respond};
use crate::failure::Cause;
use crate::http2;
use crate::snapshot::Entrance;
use crate::worker::{ConnectionGuard, Plan, Worker};

/// How long a connection keeps its task after a response. One that asks again sooner never parks;
/// of the others few have a task at a time, and their memory serves the next: a table slot is what
/// an idle connection costs.
const BUSY: Duration = Duration::from_millis(50);
/// What is read and thrown away of a request that was refused, so that the refusal is not lost
/// in a reset (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// A downstream connection.
pub(crate) struct Http1Connection<E: Env> {
    pub(crate) stream: E::Stream,
    pub(crate) timer: E::Timer,
    pub(crate) life: Life<E>,
}

/// What outlives a connection's task while it is parked.
pub(crate) struct Life<E: Env> {
    pub(crate) listener: usize,
    /// Requests so far.
    pub(crate) requests: u32,
    /// When it is old enough to be closed after a response.
    pub(crate) ends_at: Time,
    /// What its TLS handshake agreed on, if it had one.
    pub(crate) secure: Option<Rc<Facts>>,
    /// Keeps it in the counts.
    pub(crate) guard: ConnectionGuard<E>,
}

/// Serves a connection that was just accepted.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    listener: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
    secure: Option<Rc<Facts>>,
) {
    let (plan, env) = (worker.plan(), worker.env());
    let timeouts = &plan.snapshot.listeners[listener].config.timeouts;
    let jitter = timeouts.connection_age_jitter.as_f64();
    // Somewhere in age * (1 - jitter) ..= age * (1 + jitter).
    let spread = f64::from(worker.below(u32::MAX)) / f64::from(u32::MAX) * 2.0 - 1.0;
    let age = timeouts.connection_age.mul_f64(1.0 + jitter * spread);
    let life = Life { listener, requests: 0, ends_at: env.now() + age, secure, guard };
    park(worker, stream, life, env.now() + timeouts.request_head);
}

/// Puts an idle connection aside until it has something to say.
fn park<E: Env>(worker: &Worker<E>, stream: E::Stream, life: Life<E>, until: Time) {
    if worker.is_removed(life.listener) {
        // It was busy when the others of its listener were brought back to be closed.
        return stream.close(CloseKind::Now);
    }
    let again = worker.clone();
    worker.env().park(stream, until, move |stream, wake| match wake {
        Wake::Readable => {
            let worker = again.clone();
            again.env().spawn(async move {
                let timer = worker.env().timer();
                run(&worker, Http1Connection { stream, timer, life }).await;
            });
        }
        Wake::Review => park(&again, stream, life, until),
        Wake::Timeout if life.requests == 0 => {
            again.count_failure(
                &again.plan(),
                Entrance::Listener(life.listener),
                Cause::DownstreamSilent,
            );
            stream.close(CloseKind::Now);
        }
        // Nothing is owed to a connection that asked nothing.
        Wake::Timeout | Wake::Drain => stream.close(CloseKind::Now),
    });
}

async fn run<E: Env>(worker: &Worker<E>, mut down: Http1Connection<E>) {
    loop {
        let plan = worker.plan();
        let listener = &plan.snapshot.listeners[down.life.listener];
        if listener.removed {
            return close(worker, down, listener.config.timeouts.write_stall).await;
        }
        let wait = if down.life.requests == 0 { Duration::ZERO } else { BUSY };
        let Some(first) = head::begin(worker, &down, wait).await else {
            let timeouts = &plan.snapshot.listeners[down.life.listener].config.timeouts;
            let Http1Connection { stream, life, .. } = down;
            let idle_since = worker.env().now() - BUSY;
            return park(worker, stream, life, idle_since + timeouts.keep_alive);
        };
        // Not before there is something to do: the scratch that the last exchange gave back is
        // still in the cache, and who waits holds none.
        let mut scratch = worker.scratch();
        let after = match head::read(worker, &plan, &down, &mut scratch, first).await {
            Head::Complete(arrival) => {
                down.life.requests += 1;
                // The snapshot of now: waiting for the request may have taken a while.
                let plan = plan_of_now(worker, &plan, down.life.listener);
                exchange::run(worker, &plan, Downstream::Http1(&down), &mut scratch, arrival).await
            }
            Head::Ended => After::Close,
            Head::Http2 => {
                let early = std::mem::take(&mut scratch.partial);
                worker.put_scratch(scratch);
                return http2::serve(worker, down, early);
            }
            Head::Refused(cause, arrival) => {
                let down = Downstream::Http1(&down);
                respond::refuse(worker, &plan, down, &mut scratch, cause, arrival).await
            }
        };
        worker.put_scratch(scratch);
        let stall = plan.snapshot.listeners[down.life.listener].config.timeouts.write_stall;
        match after {
            After::KeepAlive => {}
            After::Close => return close(worker, down, stall).await,
            After::Linger => return linger(worker, down, stall).await,
            After::Reset => return down.stream.close(CloseKind::Reset),
            After::Gone => return,
        }
    }
}

/// The plan of now for a request of this listener; `plan` where it is gone from the newer one: a
/// request that has begun is still answered.
fn plan_of_now<E: Env>(worker: &Worker<E>, plan: &Rc<Plan<E>>, listener: usize) -> Rc<Plan<E>> {
    let newer = worker.plan();
    if newer.snapshot.listeners[listener].removed { Rc::clone(plan) } else { newer }
}

/// Closes behind the last send. Waiting here for that send keeps its stall in our hands: the
/// environment would cut it after a fixed time, however well the peer reads.
async fn close<E: Env>(worker: &Worker<E>, down: Http1Connection<E>, stall: Duration) {
    Downstream::Http1(&down).taken(worker, stall).await;
    down.stream.close(CloseKind::Now);
}

/// Closes so that the peer can still read what it was told: our end first, then theirs.
async fn linger<E: Env>(worker: &Worker<E>, down: Http1Connection<E>, stall: Duration) {
    down.stream.shutdown_write();
    {
        let mut discard = pin!(async {
            let mut left = LINGER_BYTES_MAX;
            while left > 0
                && let Ok(Some(chunk)) = down.stream.recv().await
            {
                left = left.saturating_sub(chunk.len());
            }
        });
        let mut taken = pin!(Downstream::Http1(&down).taken(worker, stall));
        let mut discarded = false;
        // A peer may read only once all of its own is written, so both at a time.
        poll_fn(|context| {
            discarded = discarded || discard.as_mut().poll(context).is_ready();
            taken.as_mut().poll(context)
        })
        .await;
        if !discarded {
            down.timer.set(worker.env().now() + LINGER);
            down.timer.race(discard).await;
        }
    }
    down.stream.close(CloseKind::Now);
}

impl<E: Env> Http1Connection<E> {
    /// Whether the response under way shall be the last on this connection.
    pub(crate) fn is_at_its_end(&self, worker: &Worker<E>, requests_max: u32) -> bool {
        worker.is_draining()
            || worker.is_removed(self.life.listener)
            || self.life.requests >= requests_max
            || worker.env().now() >= self.life.ends_at
    }
}
