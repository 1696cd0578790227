//! The seam between an exchange and whatever its downstream speaks.
//!
//! An exchange takes a request's body here in pieces and gives its answer here as a head and
//! pieces of a body. How those look on the wire, and what is said of the connection, is decided
//! behind these methods. Not for reading request heads: each protocol makes those its own way.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, Timer, TimerExt};
use penstock_telemetry::access::Protocol;
use penstock_tls::Facts;
use penstock_wire::grpc::Code;
use penstock_wire::http1::{
    BodyDecoder, Fields, Framing, RequestHead, ResponseHead, ResponseOutbound, Version,
    write_response,
};

use crate::exchange::{Passage, via};
use crate::failure::Cause;
use crate::http1::Http1Connection;
use crate::http2::{Awaited, Http2Stream};
use crate::snapshot::{Entrance, Listener};
use crate::worker::Worker;

/// Where a request came from, and where its answer goes.
pub(crate) enum Downstream<'a, E: Env> {
    /// A connection, for as long as the exchange lasts.
    Http1(&'a Http1Connection<E>),
    /// One of a connection's streams.
    Http2(&'a Http2Stream<E>),
}

impl<E: Env> Clone for Downstream<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Env> Copy for Downstream<'_, E> {}

/// What comes behind a piece of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Rest<'a> {
    /// More of it.
    More,
    /// Nothing: it is the last. These are the trailers, if there are any.
    End(Option<&'a Fields>),
}

impl<'a, E: Env> Downstream<'a, E> {
    /// The listener's place.
    pub(crate) fn listener(self) -> usize {
        match self {
            Downstream::Http1(connection) => connection.life.listener,
            Downstream::Http2(stream) => stream.listener(),
        }
    }

    /// The timer of the exchange.
    pub(crate) fn timer(self) -> &'a E::Timer {
        match self {
            Downstream::Http1(connection) => &connection.timer,
            Downstream::Http2(stream) => stream.timer(),
        }
    }

    /// The peer's address.
    pub(crate) fn peer(self) -> &'a Address {
        match self {
            Downstream::Http1(connection) => connection.stream.peer(),
            Downstream::Http2(stream) => stream.peer(),
        }
    }

    /// The address that the peer connected to.
    pub(crate) fn local(self) -> &'a Address {
        match self {
            Downstream::Http1(connection) => connection.stream.local(),
            Downstream::Http2(stream) => stream.local(),
        }
    }

    /// What the TLS handshake agreed on, if there was one.
    pub(crate) fn secure(self) -> Option<&'a Facts> {
        match self {
            Downstream::Http1(connection) => connection.life.secure.as_deref(),
            Downstream::Http2(stream) => stream.secure(),
        }
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(self) -> &'static str {
        if self.secure().is_some() { "https" } else { "http" }
    }

    /// Whether the request asks for its stream to be a tunnel (RFC 8441 §4).
    pub(crate) fn is_tunnel(self) -> bool {
        match self {
            Downstream::Http1(_) => false,
            Downstream::Http2(stream) => stream.is_tunnel(),
        }
    }

    /// The status that says that the peer has its tunnel.
    pub(crate) fn status_of_switch(self) -> u16 {
        match self {
            Downstream::Http1(_) => 101,
            Downstream::Http2(_) => 200,
        }
    }

    /// What is spoken, as the access log calls it.
    pub(crate) fn protocol(self, request: &RequestHead) -> Protocol {
        match (self, request.version()) {
            (Downstream::Http2(_), _) => Protocol::Http2,
            (Downstream::Http1(_), Version::Http10) => Protocol::Http10,
            (Downstream::Http1(_), Version::Http11) => Protocol::Http11,
        }
    }

    /// RFC 9110 §7.6.3: the version in which the request was received, and a pseudonym.
    pub(crate) fn via(self, request: &RequestHead) -> &'static [u8] {
        match self {
            Downstream::Http1(_) => via(request.version())[0].1,
            Downstream::Http2(_) => b"2 penstock",
        }
    }

    /// An empty send in a buffer of the shard's pool.
    pub(crate) fn send_buf(self, worker: &Worker<E>) -> SendBuf<<E::Stream as Stream>::Chunk> {
        SendBuf::new(worker.env().buffer())
    }

    /// Whether the response under way shall be the last on this connection. A connection of many
    /// streams decides that by itself.
    pub(crate) fn is_at_its_end(self, worker: &Worker<E>, requests_max: u32) -> bool {
        match self {
            Downstream::Http1(connection) => connection.is_at_its_end(worker, requests_max),
            Downstream::Http2(_) => false,
        }
    }

    /// Why the request is over before anything was done for it, if it is.
    pub(crate) fn ended_before(self) -> Option<Cause> {
        match self {
            // Its bytes come in order: that it was given up is not known yet.
            Downstream::Http1(_) => None,
            Downstream::Http2(stream) => stream.ended_before(),
        }
    }

    /// Ready when the peer gave its request up, or broke the connection.
    pub(crate) fn poll_broken(self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Downstream::Http1(connection) => connection.stream.poll_broken(context),
            Downstream::Http2(stream) => stream.poll_broken(context),
        }
    }
}

/// The request's body.
impl<'a, E: Env> Downstream<'a, E> {
    /// Waits for the body, among those that come the same way.
    pub(crate) fn await_body(self) -> Option<Awaited<'a>> {
        match self {
            Downstream::Http1(_) => None,
            Downstream::Http2(stream) => Some(stream.bodies().await_one()),
        }
    }

    /// What finds the end of a body that the request's head describes as `framing`.
    pub(crate) fn decoder(self, framing: Framing, listener: &Listener) -> BodyDecoder {
        let framing = match (self, framing) {
            // The stream says where the body ends, and `h2` that this is where the length says.
            (Downstream::Http2(_), Framing::Length(_) | Framing::Chunked) => Framing::UntilClose,
            (_, framing) => framing,
        };
        BodyDecoder::for_request(framing, &listener.body_limits, listener.lenient)
    }

    /// Puts what came of the body into `out`, and keeps a copy in `kept` as long as all of it
    /// fits into `kept_max` bytes.
    ///
    /// # Errors
    /// The body is malformed, or the peer is gone.
    pub(crate) fn poll_push(
        self,
        context: &mut Context<'_>,
        passage: &mut Passage,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
        (kept, kept_max): (&mut Vec<u8>, usize),
    ) -> Poll<Result<(), Cause>> {
        if passage.web.is_some() {
            let mut content = Vec::new();
            ready!(self.poll_decode(context, passage, &mut content))?;
            passage.push_content(&content, out, kept, kept_max);
            passage.finish_if_empty(out);
            return Poll::Ready(Ok(()));
        }
        match self {
            Downstream::Http1(connection) => {
                let stream = &connection.stream;
                stream.poll_recv(context).map(|received| match received {
                    Ok(Some(chunk)) => Ok(passage.push_kept(chunk, stream, out, kept, kept_max)?),
                    Ok(None) | Err(_) => Err(GONE),
                })
            }
            Downstream::Http2(stream) => match ready!(stream.poll_data(context, passage)) {
                Ok(Some(content)) => {
                    passage.received_bytes += content.len() as u64;
                    passage.push_content(&content, out, kept, kept_max);
                    Poll::Ready(Ok(()))
                }
                Ok(None) => Poll::Ready(passage.end(out).map_err(Cause::from)),
                Err(cause) => Poll::Ready(Err(cause)),
            },
        }
    }

    /// As [`Downstream::poll_push`], without waiting: whether there was something.
    ///
    /// # Errors
    /// The body is malformed. That the peer is gone is told when it is waited for.
    pub(crate) fn push_ready(
        self,
        passage: &mut Passage,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
        kept: (&mut Vec<u8>, usize),
    ) -> Result<bool, Cause> {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_push(&mut context, passage, out, kept) {
            Poll::Pending | Poll::Ready(Err(GONE)) => Ok(false),
            Poll::Ready(pushed) => pushed.map(|()| true),
        }
    }

    /// Appends what came of the body to `content`, which goes through filters first.
    ///
    /// # Errors
    /// The body is malformed, or the peer is gone.
    pub(crate) fn poll_decode(
        self,
        context: &mut Context<'_>,
        passage: &mut Passage,
        content: &mut Vec<u8>,
    ) -> Poll<Result<(), Cause>> {
        if passage.web.is_none() {
            return self.poll_receive(context, passage, content);
        }
        let mut raw = Vec::new();
        ready!(self.poll_receive(context, passage, &mut raw))?;
        let ended = passage.decoder.is_done();
        let read = passage.web.as_mut().map(|web| web.read(&raw, ended, content));
        Poll::Ready(read.unwrap_or(Ok(())))
    }

    /// As [`Downstream::poll_decode`], of what came as it is.
    fn poll_receive(
        self,
        context: &mut Context<'_>,
        passage: &mut Passage,
        content: &mut Vec<u8>,
    ) -> Poll<Result<(), Cause>> {
        match self {
            Downstream::Http1(connection) => {
                let stream = &connection.stream;
                stream.poll_recv(context).map(|received| match received {
                    Ok(Some(chunk)) => Ok(passage.decode_into(chunk, stream, content)?),
                    Ok(None) => passage.decoder.finish().map_err(|_| GONE),
                    Err(_) => Err(GONE),
                })
            }
            Downstream::Http2(stream) => match ready!(stream.poll_data(context, passage)) {
                Ok(Some(bytes)) => {
                    passage.received_bytes += bytes.len() as u64;
                    content.extend_from_slice(&bytes);
                    Poll::Ready(Ok(()))
                }
                Ok(None) => Poll::Ready(passage.decoder.finish().map_err(|_| GONE)),
                Err(cause) => Poll::Ready(Err(cause)),
            },
        }
    }
}

/// The answer.
impl<E: Env> Downstream<'_, E> {
    /// How the response's body goes down to who sent `request`.
    pub(crate) fn framing_of(self, response: &ResponseHead, request: &RequestHead) -> Framing {
        response.framing_to(self.version_of_bodies(request))
    }

    /// How a body of unknown length goes down.
    pub(crate) fn framing_of_unknown(self, request: &RequestHead) -> Framing {
        match self.version_of_bodies(request) {
            Version::Http10 => Framing::UntilClose,
            Version::Http11 => Framing::Chunked,
        }
    }

    /// How the end of an answer without content is told.
    pub(crate) fn framing_of_nothing(self) -> Framing {
        match self {
            Downstream::Http1(_) => Framing::Length(0),
            Downstream::Http2(_) => Framing::None,
        }
    }

    /// HTTP/2 frames bodies itself: like HTTP/1.0, it knows no chunks.
    fn version_of_bodies(self, request: &RequestHead) -> Version {
        match self {
            Downstream::Http1(_) => request.version(),
            Downstream::Http2(_) => Version::Http10,
        }
    }

    /// Writes a response's head; it goes down with the next [`Downstream::start_send`]. How many
    /// bytes it has: of HTTP/2 as HTTP/1 would say it, as the heads of requests are counted.
    pub(crate) fn write_head(
        self,
        head: &ResponseHead,
        outbound: &ResponseOutbound<'_>,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> usize {
        match self {
            Downstream::Http1(_) => {
                let before = out.len();
                out.write(|buffer| write_response(head, outbound, buffer));
                out.len() - before
            }
            Downstream::Http2(stream) => stream.write_head(head, outbound),
        }
    }

    /// Whether heads are not among the bytes of sends.
    pub(crate) fn sends_heads_apart(self) -> bool {
        matches!(self, Downstream::Http2(_))
    }

    /// Writes `100 Continue`; it goes down with the next [`Downstream::start_send`]. How many bytes
    /// it has.
    pub(crate) fn write_continue(self, out: &mut SendBuf<<E::Stream as Stream>::Chunk>) -> usize {
        match self {
            Downstream::Http1(_) => out.push(CONTINUE),
            Downstream::Http2(stream) => stream.write_continue(),
        }
        CONTINUE.len()
    }

    /// Whether there is anything to send: content, a head, or the end (`finished`) alone.
    pub(crate) fn is_due(
        self,
        out: &SendBuf<<E::Stream as Stream>::Chunk>,
        finished: bool,
    ) -> bool {
        match self {
            Downstream::Http1(_) => !out.is_empty(),
            Downstream::Http2(stream) => !out.is_empty() || stream.is_due(finished),
        }
    }

    /// Begins to send what was written.
    ///
    /// # Panics
    /// When a send is under way.
    pub(crate) fn start_send(self, out: SendBuf<<E::Stream as Stream>::Chunk>, rest: Rest<'_>) {
        match self {
            // The end, and trailers, are in the bytes already: framing says where they are.
            Downstream::Http1(connection) => connection.stream.start_send(out),
            Downstream::Http2(stream) => stream.start_send(out, rest),
        }
    }

    /// Ends a gRPC call whose answer has begun, where that can still be said: on a stream. The
    /// caller of another kind sees its connection cut.
    pub(crate) fn end_call(self, code: Code) {
        if let Downstream::Http2(stream) = self {
            stream.end_call(code);
        }
    }

    /// Waits until nothing is being sent.
    ///
    /// # Errors
    /// The peer takes no more.
    pub(crate) async fn sent(self) -> io::Result<()> {
        poll_fn(|context| match self {
            Downstream::Http1(connection) => connection.stream.poll_sent(context),
            Downstream::Http2(stream) => stream.poll_sent(context),
        })
        .await
    }

    /// Waits until what was started goes on by itself: a kernel sends while nobody asks, a window
    /// has to be waited for. A stream without one holds this send, and no other beside it.
    ///
    /// # Errors
    /// The peer takes no more.
    pub(crate) async fn settled(self) -> io::Result<()> {
        match self {
            Downstream::Http1(_) => Ok(()),
            Downstream::Http2(_) => self.sent().await,
        }
    }

    /// Bytes of the send under way that were not taken yet.
    pub(crate) fn unsent_bytes(self) -> usize {
        match self {
            Downstream::Http1(connection) => connection.stream.unsent_bytes(),
            Downstream::Http2(stream) => stream.unsent_bytes(),
        }
    }

    /// Waits until the last send is taken, or nothing of it was for as long as `stall`, which is
    /// counted.
    pub(crate) async fn taken(self, worker: &Worker<E>, stall: Duration) {
        let mut unsent = usize::MAX;
        loop {
            let left = self.unsent_bytes();
            if left == 0 {
                return;
            }
            if left >= unsent {
                let entrance = Entrance::Listener(self.listener());
                return worker.count_failure(&worker.plan(), entrance, Cause::DownstreamStalled);
            }
            unsent = left;
            self.timer().set(worker.env().now() + stall);
            if self.timer().race(self.sent()).await.is_some() {
                return;
            }
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The cause of a peer that broke or ended its connection while we waited for it.
pub(crate) const GONE: Cause = Cause::DownstreamGone;
