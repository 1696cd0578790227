//! One side of a tunnel: a connection of HTTP/1, or a stream of HTTP/2 (RFC 8441 §5).

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use penstock_env::{Chunk, Env, SendBuf, Stream};

use crate::downstream::{Downstream, Rest};
use crate::http2::{Asked, Http2Stream};
use crate::upstream::Up;

/// A side.
pub(super) enum End<'a, E: Env> {
    /// A connection that is a tunnel now.
    Connection(&'a E::Stream),
    /// A stream of a downstream.
    Down(&'a Http2Stream<E>),
    /// A stream to an endpoint.
    Up(&'a Asked<E>),
}

/// Bytes that came from a side.
pub(super) enum Piece<C> {
    /// In a buffer of the shard's.
    Chunk(C),
    /// In frames of HTTP/2.
    Bytes(Bytes),
}

/// What came, or that the side has ended or is broken.
pub(super) type Received<E> = Result<Option<Piece<<<E as Env>::Stream as Stream>::Chunk>>, ()>;

impl<'a, E: Env> End<'a, E> {
    /// The side of who asked.
    pub(super) fn of_downstream(down: Downstream<'a, E>) -> End<'a, E> {
        match down {
            Downstream::Http1(connection) => End::Connection(&connection.stream),
            Downstream::Http2(stream) => End::Down(stream),
        }
    }

    /// The side of who was asked.
    pub(super) fn of_upstream(up: Up<'a, E>) -> End<'a, E> {
        match up {
            Up::Http1(stream) => End::Connection(stream),
            Up::Http2(asked) => End::Up(asked),
        }
    }

    /// What came; `None` once the peer has ended.
    ///
    /// # Errors
    /// The side is broken.
    pub(super) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Received<E>> {
        match self {
            End::Connection(stream) => stream
                .poll_recv(context)
                .map(|received| received.map(|chunk| chunk.map(Piece::Chunk)).map_err(drop)),
            End::Down(stream) => stream
                .poll_content(context)
                .map(|received| received.map(|bytes| bytes.map(Piece::Bytes)).map_err(drop)),
            End::Up(asked) => asked
                .poll_content(context)
                .map(|received| received.map(|bytes| bytes.map(Piece::Bytes)).map_err(drop)),
        }
    }

    /// Begins to send.
    ///
    /// # Panics
    /// When a send is under way.
    pub(super) fn start_send(&self, out: SendBuf<<E::Stream as Stream>::Chunk>) {
        match self {
            End::Connection(stream) => stream.start_send(out),
            End::Down(stream) => stream.start_send(out, Rest::More),
            End::Up(asked) => asked.start_send(out, Rest::More),
        }
    }

    /// Ready when no send is under way.
    ///
    /// # Errors
    /// The side takes no more.
    pub(super) fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            End::Connection(stream) => stream.poll_sent(context),
            End::Down(stream) => stream.poll_sent(context),
            End::Up(asked) => asked.poll_sent(context),
        }
    }

    /// Ends our direction: a FIN, or END_STREAM in its place (RFC 8441 §5).
    ///
    /// # Panics
    /// When a send is under way.
    pub(super) fn finish(&self, env: &E) {
        match self {
            End::Connection(stream) => stream.shutdown_write(),
            End::Down(stream) => stream.start_send(SendBuf::new(env.buffer()), Rest::End(None)),
            End::Up(asked) => asked.start_send(SendBuf::new(env.buffer()), Rest::End(None)),
        }
    }

    /// Ready when the peer broke the side off while nothing is read from it any more.
    pub(super) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            End::Down(stream) => stream.poll_broken(context),
            // A broken connection fails the next send, and an endpoint is asked nothing more.
            End::Connection(_) | End::Up(_) => Poll::Pending,
        }
    }
}

impl<C: Chunk> Piece<C> {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Piece::Chunk(chunk) => chunk,
            Piece::Bytes(bytes) => bytes,
        }
    }

    /// Puts all of it into a send.
    pub(super) fn put(self, out: &mut SendBuf<C>) {
        match self {
            Piece::Chunk(chunk) => out.push_chunk(chunk),
            Piece::Bytes(bytes) => out.push(&bytes),
        }
    }

    /// Puts the first `count` bytes into a send; the rest stays.
    pub(super) fn put_first(&mut self, count: usize, out: &mut SendBuf<C>) {
        out.push(&self.bytes()[..count]);
        match self {
            Piece::Chunk(chunk) => chunk.advance(count),
            Piece::Bytes(bytes) => bytes.advance(count),
        }
    }
}
