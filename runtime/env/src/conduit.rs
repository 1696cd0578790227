//! Bytes that go from one stream to another and never pass through us.

use std::task::{Context, Poll};

use crate::Stream;

/// A way from one stream to another inside the kernel, for one direction.
///
/// While there is one, nobody else receives from the one stream nor sends on the other; before it
/// is asked to move anything, a send under way there has to be over. Dropped, it leaves both as
/// they were, but for what it [holds](Conduit::held_bytes).
pub trait Conduit<S: Stream>: 'static {
    /// A piece of so many bytes is a part of something large.
    const LARGE_BYTES: usize;
    /// So many bytes in large pieces, one after the other, and a conduit pays.
    const PAYS_AFTER_BYTES: u32;

    /// Moves on what has come. Pending means that nothing has come, or that nothing is taken; who
    /// receives from `from`, or sends on `to`, is woken then.
    ///
    /// # Errors
    /// A stream is broken; which.
    fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        from: &S,
        to: &S,
    ) -> Poll<Result<Flow<S::Chunk>, Torn>>;

    /// Bytes that it has taken and not yet given: they would be lost if it were dropped now.
    fn held_bytes(&self) -> usize;
}

/// What a conduit has done.
#[derive(Debug)]
pub enum Flow<C> {
    /// So many bytes were taken by the other stream.
    Moved(usize),
    /// Nothing: these were received before there was the conduit. They come first, by hand.
    Received(C),
    /// All was moved, and the stream has come to its end.
    Ended,
    /// Nothing: the kernel has no room for more conduits. Bytes have to be carried by hand.
    Refused,
}

/// Which of a conduit's streams is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// The one that it takes from.
    From,
    /// The one that it gives to.
    To,
}
