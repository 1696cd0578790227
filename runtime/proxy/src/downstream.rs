//! The seam between an exchange and whatever its downstream speaks.
//!
//! An exchange takes a request's body here in pieces and gives its answer here as a head and
//! pieces of a body. How those look on the wire, and what is said of the connection, is decided
//! behind these methods. Not for reading request heads: each protocol makes those its own way.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, Time, Timer, TimerExt};
use penstock_telemetry::access::Protocol;
use penstock_tls::Facts;
use penstock_wire::http1::{
    BodyDecoder, Framing, RequestHead, ResponseHead, ResponseOutbound, Version, write_response,
};

use crate::failure::Cause;
use crate::http1::Relay;
use crate::snapshot::Listener;
use crate::worker::{ConnectionGuard, Worker};

/// Where a request came from, and where its answer goes.
pub(crate) struct Downstream<E: Env> {
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
    pub(crate) _guard: ConnectionGuard<E>,
}

impl<E: Env> Downstream<E> {
    /// The peer's address.
    pub(crate) fn peer(&self) -> &Address {
        self.stream.peer()
    }

    /// The address that the peer connected to.
    pub(crate) fn local(&self) -> &Address {
        self.stream.local()
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.life.secure.is_some() { "https" } else { "http" }
    }

    /// What is spoken, as the access log calls it.
    pub(crate) fn protocol(&self, request: &RequestHead) -> Protocol {
        match request.version() {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
        }
    }

    /// An empty send in a buffer of the shard's pool.
    pub(crate) fn send_buf(&self, worker: &Worker<E>) -> SendBuf<<E::Stream as Stream>::Chunk> {
        SendBuf::new(worker.env().buffer())
    }

    /// Whether the response under way shall be the last on this connection.
    pub(crate) fn is_at_its_end(&self, worker: &Worker<E>, requests_max: u32) -> bool {
        worker.is_draining()
            || worker.is_removed(self.life.listener)
            || self.life.requests >= requests_max
            || worker.env().now() >= self.life.ends_at
    }

    /// Ready when the peer gave its request up, or broke the connection.
    pub(crate) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_broken(context)
    }
}

/// The request's body.
impl<E: Env> Downstream<E> {
    /// What finds the end of a body that the request's head describes as `framing`.
    pub(crate) fn decoder(&self, framing: Framing, listener: &Listener) -> BodyDecoder {
        BodyDecoder::for_request(framing, &listener.body_limits, listener.lenient)
    }

    /// Puts what came of the body into `out`, and keeps a copy in `kept` as long as all of it
    /// fits into `kept_max` bytes.
    ///
    /// # Errors
    /// The body is malformed, or the peer is gone.
    pub(crate) fn poll_push(
        &self,
        context: &mut Context<'_>,
        relay: &mut Relay,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
        (kept, kept_max): (&mut Vec<u8>, usize),
    ) -> Poll<Result<(), Cause>> {
        self.stream.poll_recv(context).map(|received| match received {
            Ok(Some(chunk)) => Ok(relay.push_kept(chunk, &self.stream, out, kept, kept_max)?),
            Ok(None) | Err(_) => Err(GONE),
        })
    }

    /// As [`Downstream::poll_push`], without waiting: whether there was something.
    ///
    /// # Errors
    /// The body is malformed. That the peer is gone is told when it is waited for.
    pub(crate) fn push_ready(
        &self,
        relay: &mut Relay,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
        kept: (&mut Vec<u8>, usize),
    ) -> Result<bool, Cause> {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_push(&mut context, relay, out, kept) {
            Poll::Pending | Poll::Ready(Err(GONE)) => Ok(false),
            Poll::Ready(pushed) => pushed.map(|()| true),
        }
    }

    /// Appends what came of the body to `content`, which goes through filters first.
    ///
    /// # Errors
    /// The body is malformed, or the peer is gone.
    pub(crate) fn poll_decode(
        &self,
        context: &mut Context<'_>,
        relay: &mut Relay,
        content: &mut Vec<u8>,
    ) -> Poll<Result<(), Cause>> {
        self.stream.poll_recv(context).map(|received| match received {
            Ok(Some(chunk)) => Ok(relay.decode_into(chunk, &self.stream, content)?),
            Ok(None) => relay.decoder.finish().map_err(|_| GONE),
            Err(_) => Err(GONE),
        })
    }
}

/// The answer.
impl<E: Env> Downstream<E> {
    /// How a body that comes as `framing` goes down to who sent `request`.
    pub(crate) fn framing_of(&self, response: &ResponseHead, request: &RequestHead) -> Framing {
        response.framing_to(request.version())
    }

    /// How a body of unknown length goes down.
    pub(crate) fn framing_of_unknown(&self, request: &RequestHead) -> Framing {
        match request.version() {
            Version::Http10 => Framing::UntilClose,
            Version::Http11 => Framing::Chunked,
        }
    }

    /// Writes a response's head; it goes down with the next [`Downstream::start_send`].
    pub(crate) fn write_head(
        &self,
        head: &ResponseHead,
        outbound: &ResponseOutbound<'_>,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) {
        out.write(|buffer| write_response(head, outbound, buffer));
    }

    /// Writes `100 Continue`; it goes down with the next [`Downstream::start_send`].
    pub(crate) fn write_continue(&self, out: &mut SendBuf<<E::Stream as Stream>::Chunk>) {
        out.push(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Begins to send what was written.
    ///
    /// # Panics
    /// When a send is under way.
    pub(crate) fn start_send(&self, out: SendBuf<<E::Stream as Stream>::Chunk>) {
        self.stream.start_send(out);
    }

    /// Waits until nothing is being sent.
    ///
    /// # Errors
    /// The peer takes no more.
    pub(crate) fn sent(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|context| self.stream.poll_sent(context))
    }

    /// Bytes of the send under way that were not taken yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.stream.unsent_bytes()
    }

    /// Waits until the last send is taken, or nothing of it was for as long as `stall`.
    pub(crate) async fn taken(&self, worker: &Worker<E>, stall: Duration) {
        let mut unsent = usize::MAX;
        loop {
            let left = self.unsent_bytes();
            if left == 0 || left >= unsent {
                return;
            }
            unsent = left;
            self.timer.set(worker.env().now() + stall);
            if self.timer.race(self.sent()).await.is_some() {
                return;
            }
        }
    }
}

/// The cause of a peer that broke or ended its connection while we waited for it.
pub(crate) const GONE: Cause = Cause::DownstreamGone;
