//! A conduit between streams that are both plain: what is sealed has to pass through us.

use std::task::{Context, Poll, ready};

use penstock_env::{Conduit, Env, Flow, Torn};

use super::chunk::{Bytes, SecureChunk};
use super::stream::SecureStream;

/// The conduit of the streams below.
pub struct SecureConduit<E: Env>(E::Conduit);

impl<E: Env> SecureConduit<E> {
    /// A conduit, where both streams are plain.
    pub(super) fn new(
        env: &E,
        from: &SecureStream<E>,
        to: &SecureStream<E>,
    ) -> Option<SecureConduit<E>> {
        env.conduit(from.plain_below()?, to.plain_below()?).map(SecureConduit)
    }
}

impl<E: Env> Conduit<SecureStream<E>> for SecureConduit<E> {
    const LARGE_BYTES: usize = <E::Conduit as Conduit<E::Stream>>::LARGE_BYTES;
    const PAYS_AFTER_BYTES: u32 = <E::Conduit as Conduit<E::Stream>>::PAYS_AFTER_BYTES;

    fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        from: &SecureStream<E>,
        to: &SecureStream<E>,
    ) -> Poll<Result<Flow<SecureChunk<E>>, Torn>> {
        Poll::Ready(Ok(match ready!(self.0.poll_move(context, from.below(), to.below()))? {
            Flow::Moved(count) => Flow::Moved(count),
            Flow::Received(chunk) => Flow::Received(SecureChunk(Bytes::Lent(chunk))),
            Flow::Ended => Flow::Ended,
            Flow::Refused => Flow::Refused,
        }))
    }

    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }
}
