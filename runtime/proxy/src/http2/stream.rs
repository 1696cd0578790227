//! A stream of an HTTP/2 connection, as an exchange's downstream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use penstock_env::{Address, Env, SendBuf, Stream, Timer, TimerExt};
use penstock_tls::Facts;
use penstock_wire::grpc::Code;
use penstock_wire::http1::{ResponseHead, ResponseOutbound};
use penstock_wire::websocket;

use super::bodies::Bodies;
use super::connection::Shared;
use super::outlet::{End, Outlet, broken};
use super::request::{self, Wish};
use super::response;
use crate::downstream::{Downstream, GONE, Rest};
use crate::exchange::{Arrival, Passage, Scratch, respond};
use crate::failure::Cause;
use crate::large_heads::SMALL_BYTES;
use crate::snapshot::Entrance;
use crate::worker::{Plan, Worker};
use crate::{crumbs, exchange};

/// What an exchange holds of its stream.
pub(crate) struct Http2Stream<E: Env> {
    connection: Rc<Shared<E>>,
    timer: E::Timer,
    recv: RefCell<RecvStream>,
    send: RefCell<Sending>,
    /// It shall be a tunnel.
    tunnel: bool,
    /// Bytes of its head, if that is a large one.
    large_head: Cell<usize>,
}

/// An answer on its way.
struct Sending {
    /// A head that goes with the next send.
    head: Option<Response<()>>,
    half: Half,
    outlet: Outlet,
}

enum Half {
    /// Before the head.
    Head(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
}

/// Serves a request on its stream.
pub(super) async fn serve<E: Env>(
    worker: Worker<E>,
    connection: Rc<Shared<E>>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (env, (parts, recv)) = (worker.env(), request.into_parts());
    let (protocol, key) = (parts.extensions.get::<Protocol>(), key_for(&worker, &parts));
    let wish = match &key {
        Some(key) => Wish::WebSocket { key },
        None => Wish::Answer { bare: recv.is_end_stream() },
    };
    let plan = worker.plan();
    let listener = &plan.snapshot.listeners[connection.listener];
    let stall = listener.config.timeouts.write_stall;
    let now = env.now();
    let mut arrival = Arrival { first: now, unix: env.unix(), complete: now, bytes: 0 };
    let stream = Http2Stream::new(&worker, connection, (recv, respond), protocol.is_some());
    let down = Downstream::Http2(&stream);
    let mut scratch = worker.scratch();
    let room = &mut *scratch;
    let (text, head) = (&mut room.partial, &mut room.request);
    let read = match (protocol, wish) {
        // RFC 9220 §3: a protocol that is not known is not implemented.
        (Some(_), Wish::Answer { .. }) => Err(Cause::TunnelRefused),
        _ => request::read(&parts, wish, (&listener.limits, listener.lenient), text, head),
    };
    // All that was said is in the head now.
    crumbs::give_back(text);
    drop((parts, key));
    match read {
        Ok(bytes) => {
            arrival.bytes = bytes;
            if let Err(cause) = stream.hold_head(&worker, &plan, room, bytes) {
                let entrance = Entrance::Listener(stream.listener());
                worker.count_failure(&plan, entrance, cause);
                worker.put_scratch(scratch);
                return stream.refuse();
            }
            exchange::run(&worker, &plan, down, &mut scratch, arrival).await;
        }
        Err(cause) => {
            respond::refuse(&worker, &plan, down, &mut scratch, cause, arrival).await;
        }
    }
    worker.put_scratch(scratch);
    down.taken(&worker, stall).await;
    stream.linger().await;
    stream.end();
}

/// The key of a WebSocket's handshake, where the request asks for one.
fn key_for<E: Env>(worker: &Worker<E>, parts: &Parts) -> Option<String> {
    let protocol = parts.extensions.get::<Protocol>()?;
    websocket::is_named_by(Some(protocol.as_ref())).then(|| websocket::key_of(worker.nonce()))
}

impl<E: Env> Http2Stream<E> {
    fn new(
        worker: &Worker<E>,
        connection: Rc<Shared<E>>,
        (recv, respond): (RecvStream, SendResponse<Bytes>),
        tunnel: bool,
    ) -> Http2Stream<E> {
        let half = Half::Head(respond);
        let sending = Sending { head: None, half, outlet: Outlet::new() };
        Http2Stream {
            connection,
            timer: worker.env().timer(),
            recv: RefCell::new(recv),
            send: RefCell::new(sending),
            tunnel,
            large_head: Cell::new(0),
        }
    }

    /// Counts the request's head, if it is a large one, on its connection and its shard.
    ///
    /// # Errors
    /// There is no room for it.
    fn hold_head(
        &self,
        worker: &Worker<E>,
        plan: &Plan<E>,
        scratch: &mut Scratch,
        bytes: usize,
    ) -> Result<(), Cause> {
        if bytes <= SMALL_BYTES {
            return Ok(());
        }
        let max = plan.snapshot.listeners[self.listener()].config.http2.large_heads_bytes_max;
        if !self.connection.hold_head(bytes, max.as_u64()) {
            return Err(Cause::StreamHeadsMax);
        }
        self.large_head.set(bytes);
        let holds = worker.holds_head(plan, &mut scratch.large_head, self.peer(), bytes);
        if holds { Ok(()) } else { Err(Cause::LargeHeadsMax) }
    }

    /// Ends a stream for which nothing was done: it can be asked again (RFC 9113 §8.7).
    fn refuse(self) {
        if let Half::Head(respond) = &mut self.send.borrow_mut().half {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }

    /// Whether it was asked to be a tunnel (RFC 8441 §4).
    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    pub(crate) fn listener(&self) -> usize {
        self.connection.listener
    }

    /// The bodies of its connection's requests.
    pub(crate) fn bodies(&self) -> &Bodies {
        &self.connection.bodies
    }

    pub(crate) fn timer(&self) -> &E::Timer {
        &self.timer
    }

    pub(crate) fn peer(&self) -> &Address {
        &self.connection.peer
    }

    pub(crate) fn local(&self) -> &Address {
        &self.connection.local
    }

    /// What the TLS handshake agreed on, if there was one.
    pub(crate) fn secure(&self) -> Option<&Facts> {
        self.connection.secure.as_deref()
    }

    /// Content of the request's body; `None` at its end, with the trailers in `passage`.
    ///
    /// # Errors
    /// It is malformed, or the peer gave it up.
    pub(crate) fn poll_data(
        &self,
        context: &mut Context<'_>,
        passage: &mut Passage,
    ) -> Poll<Result<Option<Bytes>, Cause>> {
        if let Some(content) = ready!(self.poll_content(context))? {
            return Poll::Ready(Ok(Some(content)));
        }
        let mut recv = self.recv.borrow_mut();
        let trailers = ready!(recv.poll_trailers(context)).map_err(|error| cause_of(&error))?;
        for (name, value) in trailers.iter().flatten() {
            passage.decoder.put_trailer(name.as_str().as_bytes(), value.as_bytes())?;
        }
        Poll::Ready(Ok(None))
    }

    /// Content of the stream; `None` behind the last of it.
    ///
    /// # Errors
    /// It is malformed, or the peer gave it up.
    pub(crate) fn poll_content(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Cause>> {
        let mut recv = self.recv.borrow_mut();
        let Some(received) = ready!(recv.poll_data(context)) else { return Poll::Ready(Ok(None)) };
        let content = received.map_err(|error| cause_of(&error))?;
        self.connection.bodies.came(content.len(), self.connection.env.now());
        // It goes up before more is asked for: the window is the upstream's.
        let released = recv.flow_control().release_capacity(content.len());
        Poll::Ready(released.map_err(|_| GONE).map(|()| Some(content)))
    }

    /// Ready when the peer gave the stream up. Sends what it has room for meanwhile.
    pub(crate) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(Err(_)) = self.poll_sent(context) {
            return Poll::Ready(());
        }
        let mut sending = self.send.borrow_mut();
        if let End::Said = sending.outlet.end {
            return Poll::Pending;
        }
        match &mut sending.half {
            Half::Head(respond) => respond.poll_reset(context).map(drop),
            Half::Body(stream) => stream.poll_reset(context).map(drop),
        }
    }

    /// Why the stream is over already, if it is: while its request waited for its turn, the peer
    /// gave it up, or what came behind its head was malformed.
    pub(crate) fn ended_before(&self) -> Option<Cause> {
        let context = &mut Context::from_waker(Waker::noop());
        let Half::Head(respond) = &mut self.send.borrow_mut().half else { return None };
        if respond.poll_reset(context).is_pending() {
            return None;
        }
        let mut recv = self.recv.borrow_mut();
        loop {
            match recv.poll_data(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Some(cause_of(&error)),
                Poll::Ready(None) | Poll::Pending => return Some(GONE),
            }
        }
    }

    /// Keeps a head for the next send. Interim ones go at once. How many bytes it has.
    pub(crate) fn write_head(&self, head: &ResponseHead, outbound: &ResponseOutbound<'_>) -> usize {
        let response = response::head_of(head, outbound);
        let bytes = response::bytes_of(&response);
        match response.status().is_informational() {
            true => self.send_informational(response),
            false => self.send.borrow_mut().head = Some(response),
        }
        bytes
    }

    pub(crate) fn write_continue(&self) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        self.send_informational(response);
    }

    /// Whether a head waits to be sent, or an end that was not said yet.
    pub(crate) fn is_due(&self, finished: bool) -> bool {
        let sending = self.send.borrow();
        sending.head.is_some() || (finished && matches!(sending.outlet.end, End::Open))
    }

    fn send_informational(&self, response: Response<()>) {
        if let Half::Head(respond) = &mut self.send.borrow_mut().half {
            // A peer that is gone is told of by `poll_broken`.
            let _ = respond.send_informational(response);
        }
    }

    /// Begins to send.
    ///
    /// # Panics
    /// When a send is under way.
    pub(crate) fn start_send(&self, out: SendBuf<<E::Stream as Stream>::Chunk>, rest: Rest<'_>) {
        let content = content_of(&self.connection.env, out);
        let end = match rest {
            Rest::More => None,
            Rest::End(trailers) => Some(trailers.and_then(response::trailers_of)),
        };
        let mut sending = self.send.borrow_mut();
        sending.outlet.put(content, end);
        sending.start();
        drop(sending);
        let _ = self.poll_sent(&mut Context::from_waker(Waker::noop()));
    }

    /// Ready when the peer's window took everything.
    pub(crate) fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send.borrow_mut().poll(context)
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.send.borrow().outlet.unsent_bytes()
    }

    /// Ends a gRPC call whose answer broke off: half a message may have gone out, and what says how
    /// it ended follows all the same.
    pub(crate) fn end_call(&self, code: Code) {
        let sending = &mut *self.send.borrow_mut();
        if let Half::Body(stream) = &mut sending.half {
            sending.outlet.end_with(stream, response::status_of_call(code));
        }
    }

    /// Takes what the peer was still sending when its answer was whole, for a moment. RFC 9113 §8.1
    /// lets us reset the stream at once, with NO_ERROR; but there are clients that take that for a
    /// failure of all (curl before 8). The window grows no more, so that it can't be much.
    async fn linger(&self) {
        let is_answered = matches!(self.send.borrow().outlet.end, End::Said);
        if !is_answered || self.recv.borrow().is_end_stream() {
            return;
        }
        self.timer.set(self.connection.env.now() + LINGER);
        let rest = poll_fn(|context| {
            while let Some(Ok(_)) = ready!(self.recv.borrow_mut().poll_data(context)) {}
            Poll::Ready(())
        });
        self.timer.race(rest).await;
    }

    /// Ends the stream after its exchange: an answer that is not whole is given up.
    fn end(self) {
        let reason = match &self.send.borrow().outlet.end {
            // RFC 9113 §8.1: a whole answer. Where the rest of the request is not wanted, `h2` says
            // NO_ERROR behind what is still queued; said here, it would take that away.
            End::Said => return,
            // The peer did not make room for it.
            End::Wanted(_) => Reason::CANCEL,
            // RFC 8441 §5: what would be a reset of a connection.
            End::Open if self.tunnel => Reason::CANCEL,
            End::Open => Reason::INTERNAL_ERROR,
        };
        match &mut self.send.borrow_mut().half {
            Half::Head(respond) => respond.send_reset(reason),
            Half::Body(stream) => stream.send_reset(reason),
        }
    }
}

impl Sending {
    /// Sends the head, if there is one.
    fn start(&mut self) {
        let (Some(head), Half::Head(respond)) = (self.head.take(), &mut self.half) else { return };
        let ends = self.outlet.only_ends();
        // A peer that is gone is told of by `poll_broken`.
        if let Ok(stream) = respond.send_response(head, ends) {
            self.half = Half::Body(stream);
            if ends {
                self.outlet.end = End::Said;
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.half {
            Half::Body(stream) => self.outlet.poll(stream, context),
            Half::Head(_) if self.outlet.waits() => Poll::Ready(Err(broken())),
            Half::Head(_) => Poll::Ready(Ok(())),
        }
    }
}

/// The bytes of a send, out of the shard's buffers.
pub(super) fn content_of<E: Env>(env: &E, out: SendBuf<<E::Stream as Stream>::Chunk>) -> Bytes {
    let content = match out.parts() {
        (own, []) => Bytes::copy_from_slice(own),
        _ => Bytes::from(out.to_vec()),
    };
    env.recycle(out.into_parts().0);
    content
}

/// What became of a body that came no further.
fn cause_of(error: &h2::Error) -> Cause {
    // RFC 9113 §8.1.1: content that is more or less than its length says is malformed.
    if error.is_reset() && error.is_library() { Cause::InvalidBody } else { GONE }
}

impl<E: Env> Drop for Http2Stream<E> {
    fn drop(&mut self) {
        self.connection.stream_ended(self.large_head.get());
    }
}

/// How long the rest of an upload is waited for that was answered already: some round trips.
const LINGER: Duration = Duration::from_millis(250);
