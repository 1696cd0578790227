//! A connection from its preface to its close: streams begin, an end is announced, the last ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use penstock_env::{Address, CloseKind, Env, Stream, Time, Timer, TimerExt};
use penstock_tls::Facts;

use super::bodies::Bodies;
use super::floods::Ending;
use super::growth::{Growth, Look};
use super::io::{Io, Socket};
use super::liveness::{Liveness, Verdict};
use super::pings::Pings;
use super::share::Share;
use super::{settings, stream};
use crate::bell::Bell;
use crate::failure::Cause;
use crate::http1::Http1Connection;
use crate::large_heads::LargeHead;
use crate::snapshot::Entrance;
use crate::worker::{ConnectionGuard, Worker};

/// What a connection's streams know of it.
pub(super) struct Shared<E: Env> {
    pub(super) env: E,
    pub(super) listener: usize,
    pub(super) peer: Address,
    pub(super) local: Address,
    /// What its TLS handshake agreed on, if it had one.
    pub(super) secure: Option<Rc<Facts>>,
    /// Rings when the worker changes, and when the last stream ends.
    bell: Rc<Bell>,
    /// Streams whose exchange is under way.
    open: Cell<usize>,
    /// Bytes of their heads, as far as these are large.
    large_heads: Cell<u64>,
    share: Rc<Share>,
    pub(super) bodies: Bodies,
    idle_since: Cell<Time>,
    /// Keeps the connection in the counts, as long as it or any of its streams lasts.
    _guard: ConnectionGuard<E>,
}

impl<E: Env> Shared<E> {
    fn stream_begins(&self) {
        self.open.set(self.open.get() + 1);
        self.share.stream_begins();
    }

    /// Counts a stream's head of `bytes`, unless it and others would have more than `max`.
    pub(super) fn hold_head(&self, bytes: usize, max: u64) -> bool {
        let (before, bytes) = (self.large_heads.get(), bytes as u64);
        // One that is within its own limit fits.
        let (after, fits) = (before + bytes, before == 0 || before + bytes <= max);
        if fits {
            self.large_heads.set(after);
        }
        fits
    }

    /// Since when there are no streams, if there are none.
    fn idle_since(&self) -> Option<Time> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }

    /// The exchange of a stream is over, whose head had so many bytes if it was a large one.
    pub(super) fn stream_ended(&self, large_head_bytes: usize) {
        self.large_heads.set(self.large_heads.get() - large_head_bytes as u64);
        self.share.stream_ended();
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.idle_since.set(self.env.now());
            self.bell.ring();
        }
    }
}

/// A connection's task.
struct Connection<E: Env> {
    worker: Worker<E>,
    h2: server::Connection<Io<E>, Bytes>,
    socket: Rc<Socket<E>>,
    shared: Rc<Shared<E>>,
    timer: E::Timer,
    times: Times,
    /// Streams so far.
    requests: u32,
    requests_max: u32,
    ends_at: Time,
    pings: Pings,
    liveness: Liveness,
    growth: Growth,
    /// The head that the peer is in the middle of.
    open_head: Option<LargeHead>,
    /// Since when the peer knows that it ends.
    ending: Option<Time>,
    /// Why it is cut. The peer is told, and then it ends.
    cut: Option<Cause>,
    /// Bytes that the peer had not read when that was last looked at, and when to look again.
    unsent: usize,
    look_at: Time,
}

/// How long what may take.
struct Times {
    request_head: Duration,
    keep_alive: Duration,
    write_stall: Duration,
}

/// Serves a connection that begins with the preface; `early` is what was read of it and not put
/// back.
pub(crate) fn serve<E: Env>(worker: &Worker<E>, down: Http1Connection<E>, early: Vec<u8>) {
    let worker = worker.clone();
    worker.clone().env().spawn(run(worker, down, early));
}

/// Each part of its life has a room of its own, given back when it is over: a future never moves
/// its parts, and an idle connection would hold room for all of them.
async fn run<E: Env>(worker: Worker<E>, down: Http1Connection<E>, early: Vec<u8>) {
    let Some(mut connection) = Box::pin(open(worker, down, early)).await else { return };
    let end = poll_fn(|context| connection.poll(context)).await;
    Box::pin(connection.close(end)).await;
}

/// The connection after its handshake, if that comes to something.
async fn open<E: Env>(
    worker: Worker<E>,
    down: Http1Connection<E>,
    early: Vec<u8>,
) -> Option<Box<Connection<E>>> {
    let (Http1Connection { stream, timer, life }, env) = (down, worker.env().clone());
    let (plan, entrance) = (worker.plan(), Entrance::Listener(life.listener));
    let config = &plan.snapshot.listeners[life.listener].config;
    let shared = Rc::new(Shared {
        env: env.clone(),
        listener: life.listener,
        peer: stream.peer().clone(),
        local: stream.local().clone(),
        secure: life.secure,
        bell: worker.bell(),
        open: Cell::new(0),
        large_heads: Cell::new(0),
        share: Rc::clone(worker.http2_share()),
        bodies: Bodies::default(),
        idle_since: Cell::new(env.now()),
        _guard: life.guard,
    });
    let socket = Rc::new(Socket::new(env.clone(), stream, early, &config.http2));
    timer.set(env.now() + config.timeouts.request_head);
    let streams_max =
        shared.share.streams_for_one(config.http2.streams_max, &plan.snapshot.config.runtime.http2);
    let handshake =
        settings::builder(config, streams_max).handshake::<_, Bytes>(Io(Rc::clone(&socket)));
    let mut h2 = match timer.race(handshake).await {
        Some(Ok(h2)) => h2,
        Some(Err(error)) => {
            if let Some(cause) = cause_of(&error, &socket) {
                worker.count_failure(&plan, entrance, cause);
            }
            socket.finish();
            return None;
        }
        None => {
            worker.count_failure(&plan, entrance, Cause::RequestHeadTimeout);
            socket.finish();
            return None;
        }
    };
    let timeouts = &config.timeouts;
    Some(Box::new(Connection {
        times: Times {
            request_head: timeouts.request_head,
            keep_alive: timeouts.keep_alive,
            write_stall: timeouts.write_stall,
        },
        requests_max: config.limits.connection_requests_max,
        worker: worker.clone(),
        pings: Pings::new(h2.ping_pong()),
        liveness: Liveness::default(),
        growth: settings::growth(&config.http2, Rc::clone(&shared.share)),
        h2,
        socket: Rc::clone(&socket),
        shared,
        timer,
        open_head: None,
        requests: 0,
        ends_at: life.ends_at,
        ending: None,
        cut: None,
        unsent: 0,
        look_at: Time::NEVER,
    }))
}

/// How a connection ended.
enum End {
    /// Both sides are done.
    Done,
    /// An error ended it.
    Failed(h2::Error),
    /// The peer does not do its part: it is reset.
    Stalled,
    /// The peer was told, and does not go.
    Left,
    /// Nobody is there any more.
    Gone,
}

impl<E: Env> Connection<E> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.shared.bell.listen(context.waker());
        self.socket.begin_turn();
        loop {
            match self.h2.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Failed(error)),
                Poll::Ready(None) => return Poll::Ready(End::Done),
                Poll::Pending => {}
            }
            self.hold_open_head();
            if let (Some((cause, reason)), None) = (self.wrong(), self.cut) {
                self.cut = Some(cause);
                self.ending = Some(self.shared.env.now());
                self.h2.abrupt_shutdown(reason);
                continue;
            }
            if self.ending.is_none() && self.shall_end() {
                // RFC 9113 §6.8: that it ends, and, a round trip later, with which stream.
                self.ending = Some(self.shared.env.now());
                self.h2.graceful_shutdown();
                continue;
            }
            if self.look_at_windows(context) == Look::Write {
                continue;
            }
            let alive_until = match self.look_for_life() {
                Verdict::Wait(due) => due,
                Verdict::Asked => continue,
                Verdict::Gone => return Poll::Ready(End::Gone),
            };
            let due = self.due().min(alive_until);
            self.timer.set(due);
            if self.timer.poll_expired(context).is_pending() {
                return Poll::Pending;
            }
            if let Some(end) = self.expired() {
                return Poll::Ready(end);
            }
        }
    }

    /// Asks a peer that is silent, while streams of it are under way, whether it is there.
    fn look_for_life(&mut self) -> Verdict {
        let (now, owes) = (self.shared.env.now(), self.shared.open.get() > 0);
        if owes && self.socket.unsent_bytes() > 0 {
            // One that does not read would not see it, and has `write_stall` for that.
            return Verdict::Wait(now + LOOK_AGAIN);
        }
        self.liveness.look(now, self.socket.heard_at(), owes, &mut self.pings)
    }

    /// Widens its windows where they hold its path back, and gives back what they grew by when it
    /// is idle.
    fn look_at_windows(&mut self, context: &mut Context<'_>) -> Look {
        let now = self.shared.env.now();
        let answer = self.pings.take_answer(now, context);
        if self.ending.is_some() {
            return Look::Fine;
        }
        if self.growth.gives_back_at(self.shared.idle_since()) <= now {
            return self.growth.give_back(now, &mut self.h2);
        }
        let plan = self.worker.plan();
        let limits = &plan.snapshot.config.runtime.http2;
        let of_h2 = (&mut self.pings, &mut self.h2);
        let look = self.growth.look(now, &self.socket, answer, of_h2, limits);
        if look == Look::NoRoom {
            self.worker.count_narrow_window(&plan);
        }
        look
    }

    /// Counts the head that the peer is in the middle of, if it is and there is room: `h2` unpacks
    /// it as it comes, to whatever it may have.
    fn hold_open_head(&mut self) {
        if self.socket.head_since().is_none() {
            self.open_head = None;
        } else if self.open_head.is_none() {
            let plan = self.worker.plan();
            let config = &plan.snapshot.listeners[self.shared.listener].config;
            let bytes = settings::list_bytes_max(config) as usize;
            self.worker.holds_head(&plan, &mut self.open_head, &self.shared.peer, bytes);
        }
    }

    /// Why the peer is cut, if it is: for what it sent, or for a head that it does not end. Behind
    /// such a one nothing else can come (RFC 9113 §4.3).
    fn wrong(&self) -> Option<Ending> {
        let late = || {
            let late = self.head_due() <= self.shared.env.now();
            let cause = match self.open_head {
                Some(_) => Cause::RequestHeadTimeout,
                None => Cause::LargeHeadsMax,
            };
            late.then_some((cause, Reason::ENHANCE_YOUR_CALM))
        };
        self.socket.ending().or_else(late)
    }

    /// Until when a head that began has to end.
    fn head_due(&self) -> Time {
        let time = match self.open_head {
            Some(_) => self.times.request_head,
            None => self.times.request_head.min(UNCOUNTED),
        };
        self.socket.head_since().map_or(Time::NEVER, |since| since + time)
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.worker.is_removed(self.shared.listener) {
            // RFC 9113 §8.7: nothing was done with it; it can be asked again elsewhere.
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let plan = self.worker.plan();
        if self.shared.share.is_full(&plan.snapshot.config.runtime.http2) {
            let entrance = Entrance::Listener(self.shared.listener);
            self.worker.count_failure(&plan, entrance, Cause::StreamsMax);
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.requests += 1;
        self.shared.stream_begins();
        let (worker, shared) = (self.worker.clone(), Rc::clone(&self.shared));
        self.shared.env.spawn(stream::serve(worker, shared, request, respond));
    }

    /// Whether it takes no more requests.
    fn shall_end(&self) -> bool {
        let now = self.shared.env.now();
        self.worker.is_draining()
            || self.worker.is_removed(self.shared.listener)
            || self.requests >= self.requests_max
            || now >= self.ends_at
            || now >= self.idle_until()
    }

    fn idle_until(&self) -> Time {
        match self.shared.open.get() {
            0 => self.shared.idle_since.get() + self.times.keep_alive.max(KEEP_ALIVE_MIN),
            _ => Time::NEVER,
        }
    }

    /// When there is something to decide.
    fn due(&mut self) -> Time {
        let now = self.shared.env.now();
        let unsent = self.socket.unsent_bytes();
        if unsent == 0 {
            self.look_at = Time::NEVER;
        } else if self.look_at == Time::NEVER {
            (self.unsent, self.look_at) = (unsent, now + self.times.write_stall);
        }
        let head = if self.cut.is_none() { self.head_due() } else { Time::NEVER };
        let windows = self.growth.gives_back_at(self.shared.idle_since());
        self.look_at.min(head).min(match self.ending {
            None => self.ends_at.min(self.idle_until()).min(windows),
            Some(since) => self.leaves_at(since),
        })
    }

    /// When a peer that knows of the end, and has nothing under way, is left.
    fn leaves_at(&self, since: Time) -> Time {
        match (self.cut, self.shared.open.get()) {
            (None, 1..) => Time::NEVER,
            _ => since.max(self.shared.idle_since.get()) + LEAVE,
        }
    }

    fn expired(&mut self) -> Option<End> {
        let now = self.shared.env.now();
        if self.look_at <= now {
            let unsent = self.socket.unsent_bytes();
            if unsent >= self.unsent {
                return Some(End::Stalled);
            }
            (self.unsent, self.look_at) = (unsent, now + self.times.write_stall);
        }
        self.ending.is_some_and(|since| self.leaves_at(since) <= now).then_some(End::Left)
    }

    /// Counts what ended the connection, and closes it so that the peer can read what it was told.
    async fn close(self, end: End) {
        // `h2` may have had enough before we had.
        let seen = self.socket.ending().map(|(cause, _)| cause);
        let cause = self.cut.or(seen).or(match &end {
            End::Done | End::Left => None,
            End::Failed(error) => cause_of(error, &self.socket),
            End::Stalled => Some(Cause::DownstreamStalled),
            End::Gone => Some(Cause::PingUnanswered),
        });
        let Connection { worker, h2, socket, timer, shared, .. } = self;
        // The streams that are still there learn of it here.
        drop(h2);
        if let Some(cause) = cause {
            worker.count_failure(&worker.plan(), Entrance::Listener(shared.listener), cause);
        }
        if cause.is_some() && !matches!(end, End::Stalled | End::Gone) {
            // What it still sends would make our close a reset, which may overtake our GOAWAY.
            socket.stream.shutdown_write();
            timer.set(shared.env.now() + LEAVE);
            timer.race(socket.discard(LINGER_BYTES_MAX)).await;
        }
        match (end, Rc::try_unwrap(socket)) {
            (End::Stalled | End::Gone, Ok(socket)) => socket.stream.close(CloseKind::Reset),
            (_, Ok(socket)) => socket.stream.close(CloseKind::Now),
            // Closed with the last of those that hold it.
            (_, Err(_)) => {}
        }
    }
}

/// What an error of `h2` is called; `None` for a peer that simply went.
fn cause_of<E: Env>(error: &h2::Error, socket: &Socket<E>) -> Option<Cause> {
    if error.is_io() || error.is_remote() {
        return None;
    }
    Some(match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => socket.overload(),
        _ => Cause::Http2Violation,
    })
}

/// A connection is not idle before its first request had a chance to come.
const KEEP_ALIVE_MIN: Duration = Duration::from_millis(50);
/// How long a head may be half there that there is no room for: long enough for one that only came
/// in two pieces.
const UNCOUNTED: Duration = Duration::from_millis(500);
/// Nobody says when all is sent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a peer that was told to go is waited for.
const LEAVE: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;
