//! What `h2` reads and writes through: tokio's I/O traits over a stream of the shard.
//!
//! Reads are looked at for floods, and come to an end after a while so that no connection keeps
//! the shard to itself. Writes are gathered until `h2` flushes: frames of all streams leave in
//! one send.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use penstock_config::Http2;
use penstock_env::{Chunk, CloseKind, Env, SendBuf, Stream, StreamExt, Time};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::floods::{Ending, Floods};
use crate::failure::Cause;

/// A connection's stream, shared by `h2` and the connection's task.
pub(super) struct Socket<E: Env> {
    env: E,
    pub(super) stream: E::Stream,
    /// What was read before it was known to be HTTP/2.
    early: RefCell<Vec<u8>>,
    /// What the peer may send too much of; endpoints, nothing but what `h2` sees.
    floods: Option<RefCell<Floods>>,
    ending: Cell<Option<Ending>>,
    /// Bytes that may still be read in this turn.
    turn: Cell<usize>,
    gathered: RefCell<Option<SendBuf<<E::Stream as Stream>::Chunk>>>,
    heard_at: Cell<Time>,
    /// Bytes that came, and those of them before this turn.
    came: Cell<u64>,
    came_before_turn: Cell<u64>,
}

impl<E: Env> Socket<E> {
    /// The stream of a downstream, and what was read of it already.
    pub(super) fn new(env: E, stream: E::Stream, early: Vec<u8>, limits: &Http2) -> Socket<E> {
        let floods = Floods::new(limits, env.now());
        Socket::with(env, stream, early, Some(RefCell::new(floods)))
    }

    /// The stream of an endpoint.
    pub(super) fn upstream(env: E, stream: E::Stream) -> Socket<E> {
        Socket::with(env, stream, Vec::new(), None)
    }

    fn with(
        env: E,
        stream: E::Stream,
        early: Vec<u8>,
        floods: Option<RefCell<Floods>>,
    ) -> Socket<E> {
        let heard_at = Cell::new(env.now());
        Socket {
            env,
            stream,
            early: RefCell::new(early),
            floods,
            ending: Cell::new(None),
            turn: Cell::new(TURN_BYTES_MAX),
            gathered: RefCell::default(),
            heard_at,
            came: Cell::new(0),
            came_before_turn: Cell::new(0),
        }
    }

    /// Bytes that came so far.
    pub(super) fn came_bytes(&self) -> u64 {
        self.came.get()
    }

    /// Those of them that had come when this turn began.
    pub(super) fn came_before_turn(&self) -> u64 {
        self.came_before_turn.get()
    }

    /// When something came last.
    pub(super) fn heard_at(&self) -> Time {
        self.heard_at.get()
    }

    /// Why what the peer sent ends the connection, if it does. Nothing more is read then.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    /// Since when the peer is in the middle of a head.
    pub(super) fn head_since(&self) -> Option<Time> {
        self.floods.as_ref().and_then(|floods| floods.borrow().head_since())
    }

    /// What it is called that `h2` had enough of the peer.
    pub(super) fn overload(&self) -> Cause {
        self.floods.as_ref().map_or(Cause::Http2Overload, |floods| floods.borrow().overload())
    }

    /// Another turn begins.
    pub(super) fn begin_turn(&self) {
        self.turn.set(TURN_BYTES_MAX);
        self.came_before_turn.set(self.came.get());
    }

    /// Bytes that wait for the peer to read.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.stream.unsent_bytes() + self.gathered.borrow().as_ref().map_or(0, SendBuf::len)
    }

    /// Passes on what was read, as much as fits; how much that was. Nothing of what ends the
    /// connection, which `h2` would end by another name.
    fn give(&self, bytes: &[u8], into: &mut ReadBuf<'_>) -> Option<usize> {
        let count = bytes.len().min(into.remaining()).min(self.turn.get());
        let mut cost = count;
        let now = self.env.now();
        self.heard_at.set(now);
        if let Some(floods) = &self.floods {
            let mut floods = floods.borrow_mut();
            if let Err(ending) = floods.take(&bytes[..count], now) {
                self.ending.set(Some(ending));
                return None;
            }
            cost += floods.take_heads() * HEAD_BYTES;
        }
        self.turn.set(self.turn.get().saturating_sub(cost));
        self.came.set(self.came.get() + count as u64);
        into.put_slice(&bytes[..count]);
        Some(count)
    }

    fn poll_read(&self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ending.get().is_some() {
            // The connection's task looks at that when it is next, which is at once.
            return Poll::Pending;
        }
        if self.turn.get() == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut early = self.early.borrow_mut();
        if !early.is_empty() {
            let Some(count) = self.give(&early, into) else { return Poll::Pending };
            early.drain(..count);
            if early.is_empty() {
                *early = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let Some(mut chunk) = ready!(self.stream.poll_recv(context))? else {
            return Poll::Ready(Ok(()));
        };
        let Some(count) = self.give(&chunk, into) else { return Poll::Pending };
        chunk.advance(count);
        if !chunk.is_empty() {
            self.stream.unread(chunk);
        }
        Poll::Ready(Ok(()))
    }

    /// Begins to send what was gathered, once nothing is being sent.
    fn poll_start(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.borrow().is_none() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.stream.poll_sent(context))?;
        if let Some(out) = self.gathered.take() {
            self.stream.start_send(out);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gathered = self.gathered.borrow().as_ref().map_or(0, SendBuf::len);
        if gathered >= SEND_BYTES_MAX {
            ready!(self.poll_start(context))?;
        }
        let mut gathered = self.gathered.borrow_mut();
        let out = gathered.get_or_insert_with(|| SendBuf::new(self.env.buffer()));
        slices.iter().for_each(|slice| out.push(slice));
        let count = slices.iter().map(|slice| slice.len()).sum();
        if let Some(floods) = &self.floods {
            floods.borrow_mut().sent(count);
        }
        Poll::Ready(Ok(count))
    }

    /// Reads and throws away up to `bytes_max`, until the peer ends.
    pub(super) async fn discard(&self, bytes_max: usize) {
        let mut left = bytes_max;
        while left > 0
            && let Ok(Some(chunk)) = self.stream.recv().await
        {
            left = left.saturating_sub(chunk.len());
        }
    }

    /// Closes a connection that came to nothing.
    pub(super) fn finish(self: Rc<Self>) {
        if let Ok(socket) = Rc::try_unwrap(self) {
            socket.stream.close(CloseKind::Now);
        }
    }
}

/// `h2`'s end of a [`Socket`].
pub(super) struct Io<E: Env>(pub(super) Rc<Socket<E>>);

impl<E: Env> AsyncRead for Io<E> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(context, into)
    }
}

impl<E: Env> AsyncWrite for Io<E> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_start(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_start(context))?;
        self.0.stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

/// What one connection reads before the others of its shard have their turn.
const TURN_BYTES_MAX: usize = 128 * 1024;
/// A request is more work than its bytes: as much as so many of a body.
const HEAD_BYTES: usize = 4 * 1024;
/// One send's worth.
const SEND_BYTES_MAX: usize = 32 * 1024;
