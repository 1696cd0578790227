//! One connection to an endpoint, and the task that drives it: streams begin and end, pings ask
//! whether somebody is there, a GOAWAY lets it run dry.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use penstock_balance::EndpointId;
use penstock_config::{ClusterId, SharedHttp2};
use penstock_env::{CloseKind, Env, Stream, Time, Timer};

use crate::admission::ConnectionPermit;
use crate::bell::Bell;
use crate::failure::Cause;
use crate::http2::growth::{self, Growth, Look, Windows};
use crate::http2::io::{Io, Socket};
use crate::http2::liveness::{Liveness, Verdict};
use crate::http2::pings::Pings;
use crate::secure::{self, Stage};
use crate::worker::{Plan, Telling, WeakWorker, Worker};

/// Streams that we open at a time on one connection, whatever its endpoint allows: what is lost
/// with it is bounded, and another one is another core's work over there.
pub(super) const STREAMS_MAX: usize = 100;

/// A connection, as its requests know it.
pub(super) struct Link<E: Env> {
    env: E,
    sender: RefCell<SendRequest<Bytes>>,
    growth: RefCell<Growth>,
    /// Requests on it.
    open: Cell<usize>,
    unused_since: Cell<Time>,
    /// It takes no more requests.
    over: Cell<bool>,
    /// Tells the task that nobody holds it any more, or that it has something to watch.
    bell: Rc<Bell>,
    _permit: ConnectionPermit,
}

impl<E: Env> Link<E> {
    /// Whether it takes no more requests: it failed, or its endpoint said GOAWAY.
    pub(super) fn is_over(&self) -> bool {
        self.over.get() || !self.is_willing()
    }

    /// Whether `h2` would take another request: it knows of a GOAWAY before we do.
    fn is_willing(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !matches!(self.sender.borrow_mut().poll_ready(&mut context), Poll::Ready(Err(_)))
    }

    /// Whether another request has room (RFC 9113 §5.1.2), and its answer.
    pub(super) fn has_room(&self, limits: &SharedHttp2) -> bool {
        let max = self.sender.borrow().current_max_send_streams();
        !self.is_over()
            && self.open.get() < max.min(STREAMS_MAX)
            && self.growth.borrow().has_room(limits)
    }

    /// Since when there is no request on it; `None` while there is one.
    pub(super) fn unused_since(&self) -> Option<Time> {
        (self.open.get() == 0).then(|| self.unused_since.get())
    }

    /// Room for one request.
    pub(super) fn lease(self: &Rc<Self>) -> Lease<E> {
        self.open.set(self.open.get() + 1);
        self.growth.borrow_mut().stream_begins();
        self.bell.ring();
        Lease { link: Rc::clone(self) }
    }
}

impl<E: Env> Drop for Link<E> {
    fn drop(&mut self) {
        self.bell.ring();
    }
}

/// A request's room on a connection, until it is dropped.
pub(crate) struct Lease<E: Env> {
    link: Rc<Link<E>>,
}

impl<E: Env> Lease<E> {
    /// What requests are sent with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.link.sender.borrow().clone()
    }

    /// Whether the connection takes no more requests.
    pub(crate) fn is_over(&self) -> bool {
        self.link.is_over()
    }

    /// The world that it is in.
    pub(super) fn env(&self) -> &E {
        &self.link.env
    }
}

impl<E: Env> Drop for Lease<E> {
    fn drop(&mut self) {
        let link = &self.link;
        link.open.set(link.open.get() - 1);
        link.growth.borrow_mut().stream_ended();
        if link.open.get() == 0 {
            link.unused_since.set(link.env.now());
        }
    }
}

/// Opens a connection to an endpoint of `cluster`. No deadline of its own.
///
/// # Errors
/// It could not be opened, or HTTP/2 is not what is spoken there.
pub(super) async fn open<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    (cluster, endpoint): (ClusterId, EndpointId),
    permit: ConnectionPermit,
    stage: &Cell<Stage>,
) -> Result<Rc<Link<E>>, Cause> {
    let env = worker.env().clone();
    let stream = secure::connect(worker, plan, (cluster, endpoint), stage).await?;
    let socket = Rc::new(Socket::upstream(env.clone(), stream));
    let (share, limits) = (worker.http2_share(), &plan.snapshot.config.runtime.http2);
    let first = growth::beginning(WINDOWS_MIN, WINDOWS, share, limits);
    let handshake = builder(first).handshake(Io(Rc::clone(&socket))).await;
    let (sender, mut h2) = handshake.map_err(|_| Cause::UpstreamNotHttp2)?;
    // Its SETTINGS say how many streams it takes: none is begun that it would refuse. And who
    // speaks something else is found out before a request is sent.
    poll_fn(|context| {
        let over = Pin::new(&mut h2).poll(context).is_ready();
        match (over, sender.current_max_send_streams()) {
            (true, _) => Poll::Ready(Err(Cause::UpstreamNotHttp2)),
            (false, 0) => Poll::Pending,
            (false, _) => Poll::Ready(Ok(())),
        }
    })
    .await
    .inspect_err(|_| {
        let (name, address) =
            (&plan.cluster(cluster).config.name, plan.cluster(cluster).balancer.endpoint(endpoint));
        worker.tell(Telling::Endpoints(cluster), |left_out| {
            let endpoint = address.address();
            tracing::warn!(cluster = %name, %endpoint, left_out, "it does not speak HTTP/2");
        });
    })?;
    let bell = Rc::new(Bell::default());
    let growth = Growth::of_streams(WINDOWS_MIN, first, WINDOWS_MAX, Rc::clone(share));
    let link = Rc::new(Link {
        env: env.clone(),
        sender: RefCell::new(sender),
        growth: RefCell::new(growth),
        open: Cell::new(0),
        unused_since: Cell::new(env.now()),
        over: Cell::new(false),
        bell: Rc::clone(&bell),
        _permit: permit,
    });
    let (timer, link_of_task) = (env.timer(), Rc::downgrade(&link));
    let pings = Pings::new(h2.ping_pong());
    let mut driver = Driver {
        worker: worker.downgrade(),
        h2,
        pings,
        liveness: Liveness::default(),
        link: link_of_task,
        bell,
        timer,
    };
    env.spawn(async move {
        poll_fn(|context| driver.poll(&socket, context)).await;
        if let Some(link) = driver.link.upgrade() {
            link.over.set(true);
        }
        // Requests that are still on it learn of it here.
        drop(driver);
        if let Ok(socket) = Rc::try_unwrap(socket) {
            socket.stream.close(CloseKind::Now);
        }
    });
    Ok(link)
}

fn builder(first: Windows) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(first.stream)
        .initial_connection_window_size(first.connection)
        .initial_max_send_streams(0)
        .max_header_list_size(HEAD_BYTES_MAX)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_KEPT)
        .reset_stream_duration(RESET_STREAMS_FOR);
    builder
}

/// The task of a connection.
struct Driver<E: Env> {
    worker: WeakWorker<E>,
    h2: client::Connection<Io<E>, Bytes>,
    pings: Pings,
    liveness: Liveness,
    link: Weak<Link<E>>,
    bell: Rc<Bell>,
    timer: E::Timer,
}

impl<E: Env> Driver<E> {
    /// Ready when the connection is over: ended, failed, dead, or wanted by nobody.
    fn poll(&mut self, socket: &Socket<E>, context: &mut Context<'_>) -> Poll<()> {
        self.bell.listen(context.waker());
        socket.begin_turn();
        if Pin::new(&mut self.h2).poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(link) = self.link.upgrade() else { return Poll::Ready(()) };
        loop {
            let heard_at = socket.heard_at().max(link.unused_since.get());
            let owes = link.open.get() > 0;
            let writes = self.look_at_windows(&link, socket, context) == Look::Write;
            match self.liveness.look(link.env.now(), heard_at, owes, &mut self.pings) {
                Verdict::Wait(due) if !writes => {
                    let gives_back = link.growth.borrow().gives_back_at(link.unused_since());
                    self.timer.set(due.min(gives_back));
                    ready!(self.timer.poll_expired(context));
                }
                // Requests fail now, not by their own timeouts.
                Verdict::Gone => return Poll::Ready(()),
                Verdict::Asked | Verdict::Wait(_) => {
                    if Pin::new(&mut self.h2).poll(context).is_ready() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Widens the windows where they hold the path back, and gives back what they grew by while
    /// there is no request.
    fn look_at_windows(
        &mut self,
        link: &Link<E>,
        socket: &Socket<E>,
        context: &mut Context<'_>,
    ) -> Look {
        let now = link.env.now();
        let answer = self.pings.take_answer(now, context);
        let growth = &mut *link.growth.borrow_mut();
        if growth.gives_back_at(link.unused_since()) <= now {
            return growth.give_back(now, &mut self.h2);
        }
        let Some(worker) = self.worker.upgrade() else { return Look::Fine };
        let plan = worker.plan();
        let limits = &plan.snapshot.config.runtime.http2;
        let of_h2 = (&mut self.pings, &mut self.h2);
        let look = growth.look(now, socket, answer, of_h2, limits);
        if look == Look::NoRoom {
            worker.count_narrow_window(&plan);
        }
        look
    }
}

/// Bytes of answers that may be on their way to us, where many are: clients that read nothing of
/// them would have us hold more.
const WINDOWS_MIN: Windows = windows(64 * 1024);
/// The same, where there is room.
const WINDOWS: Windows = windows(256 * 1024);
/// The same, where the path is long and wide.
const WINDOWS_MAX: Windows = windows(2 * 1024 * 1024);

/// Answers of many clients share a connection. One that is not read fills its stream's window and
/// no other: the connection's has room for all of them (25 MiB, of 2^31 that RFC 9113 §6.9.1
/// allows).
const fn windows(stream: u32) -> Windows {
    Windows { stream, connection: stream * STREAMS_MAX as u32 }
}
/// Where `h2` gives a head up; the listener's own limit is looked at behind it.
const HEAD_BYTES_MAX: u32 = 128 * 1024;
const HEADER_TABLE_BYTES: u32 = 4 * 1024;
/// Streams that were given up are remembered, so that what is under way for them is no error.
const RESET_STREAMS_KEPT: usize = 100;
const RESET_STREAMS_FOR: Duration = Duration::from_secs(5);
/// What one request may have on its way up in `h2`, beside the one send that waits for room.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
