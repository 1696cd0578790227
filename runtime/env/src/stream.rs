//! Byte streams shaped for completions: what arrives is lent, what is sent is given away.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::task::{Context, Poll};

use crate::{Address, SendBuf};

/// Received bytes in a buffer that the shard lent; dropping it gives the buffer back.
///
/// Don't keep one while waiting for somebody: the shard has a fixed number of them.
pub trait Chunk: Deref<Target = [u8]> + 'static {
    /// Takes `count` bytes off the front.
    ///
    /// # Panics
    /// When there are fewer.
    fn advance(&mut self, count: usize);

    /// Keeps the first `len` bytes; no effect when there are no more than that.
    fn truncate(&mut self, len: usize);
}

/// A connected byte stream: one reader and one writer may wait on it at a time. Dropping it
/// closes it as [`CloseKind::Now`] would.
///
/// Everything is `&self`: a proxied connection is read and written in the same turn.
pub trait Stream: 'static {
    /// What arrives.
    type Chunk: Chunk;

    /// Received bytes; `None` is the peer's end of stream, told again on every later call.
    /// Bytes that arrive while nobody asks are kept up to the stream's limit, then the peer is
    /// made to wait.
    ///
    /// # Errors
    /// The connection is broken; told again on every later call.
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Self::Chunk>>>;

    /// Ready when the connection is broken (a reset, not an end of stream), whether or not there
    /// are unread bytes in front of the break; where so many are unread that no more are received,
    /// perhaps not before some were taken. Takes nothing; wakes the reader's task.
    fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Puts unread bytes back in front of what comes next.
    fn unread(&self, chunk: Self::Chunk);

    /// Begins a send; the stream owns the bytes until the kernel is done with them, so dropping
    /// any future is safe. An empty send is none.
    ///
    /// # Panics
    /// When a send is under way: wait for [`Stream::poll_sent`] first.
    fn start_send(&self, data: SendBuf<Self::Chunk>);

    /// The same, where our end follows as soon as it is done, by [`Stream::shutdown_write`] or by
    /// closing: both may leave as one then.
    fn start_last_send(&self, data: SendBuf<Self::Chunk>) {
        self.start_send(data);
    }

    /// Ready when no send is under way: with the error that ended the last one, if any; told
    /// again on every later call.
    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes of the send under way that the kernel has not yet taken; 0 without one. For stall
    /// detection: a value that does not fall is a peer that does not read.
    fn unsent_bytes(&self) -> usize;

    /// The same, with those that the kernel has taken and the peer has not acknowledged: what a
    /// peer that reads little leaves, exactly. Costs a system call.
    fn unacknowledged_bytes(&self) -> usize;

    /// Ends our direction (FIN) once the send under way is done; receiving goes on.
    fn shutdown_write(&self);

    /// Has the peer see a reset if the stream is dropped, in place of an orderly end: where nothing
    /// in the bytes tells an end from a cut. Closing it is not dropping it.
    fn reset_if_dropped(&self);

    /// Closes the stream: what was received and not read is dropped.
    fn close(self, kind: CloseKind);

    /// The other side's address, as the kernel gave it at accept or connect.
    fn peer(&self) -> &Address;

    /// Our side's address.
    fn local(&self) -> &Address;
}

/// How to end a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseKind {
    /// After the send under way; whatever is unread goes (a peer still sending sees a reset).
    Now,
    /// At once and with a reset, send under way or not.
    Reset,
}

/// What one does with a stream in `async` code.
pub trait StreamExt: Stream {
    /// Waits for bytes; see [`Stream::poll_recv`].
    fn recv(&self) -> impl Future<Output = io::Result<Option<Self::Chunk>>> {
        poll_fn(|context| self.poll_recv(context))
    }

    /// Waits until nothing is being sent; see [`Stream::poll_sent`].
    fn sent(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|context| self.poll_sent(context))
    }

    /// Waits for the send under way, then begins this one. Does not wait for it.
    fn send(&self, data: SendBuf<Self::Chunk>) -> impl Future<Output = io::Result<()>> {
        async move {
            self.sent().await?;
            self.start_send(data);
            Ok(())
        }
    }
}

impl<S: Stream> StreamExt for S {}
