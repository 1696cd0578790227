//! One direction of a connection that filters see: received, shown, and sent as far as they let it
//! go.

use std::task::{Context, Poll, Waker, ready};

use penstock_env::{Chunk, Env, SendBuf, Stream, Torn};
use penstock_filter_host::Half;

use super::filters::Filters;
use crate::failure::Cause;

/// How far a direction is.
#[derive(Default)]
pub(super) struct Shown {
    /// What was read before there was anybody to show it to.
    pub(super) unseen: Vec<u8>,
    /// The sender has ended.
    has_end: bool,
    /// The end was passed on.
    pub(super) ended: bool,
    /// Bytes that were sent on.
    pub(super) bytes: u64,
    /// Bytes that came.
    pub(super) received_bytes: u64,
}

/// Why a direction goes no further.
pub(super) enum Cut {
    /// A stream is broken.
    Torn(Torn),
    /// A filter closed the connection, or failed.
    Filter(Cause),
}

impl Shown {
    /// Carries on; ready at the end, which was passed on. Where `closes`, it is left to the close
    /// that follows.
    pub(super) fn poll<E: Env>(
        &mut self,
        env: &E,
        (half, filters): (Half, &mut Filters<'_, E>),
        (from, to): (&E::Stream, &E::Stream),
        closes: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        for _ in 0..STEPS_MAX {
            // One send at a time: while it is under way nothing is taken, and the peer has to
            // wait.
            ready!(to.poll_sent(context)).map_err(|_| Cut::Torn(Torn::To))?;
            let passed = filters.take_passed(half);
            let is_last = self.has_end && self.unseen.is_empty() && !filters.holds(half);
            if !passed.is_empty() {
                self.bytes += passed.len() as u64;
                let out = SendBuf::of(passed);
                if is_last {
                    to.start_last_send(out)
                } else {
                    to.start_send(out)
                }
                continue;
            }
            env.recycle(passed);
            if is_last {
                self.ended = true;
                if !closes {
                    to.shutdown_write();
                }
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_show(env, (half, filters), from, context))?;
        }
        // Others want their turn, too.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Shows filters what came, as far as they have room for it. Pending where nothing came, or
    /// nothing may be taken.
    pub(super) fn poll_show<E: Env>(
        &mut self,
        env: &E,
        (half, filters): (Half, &mut Filters<'_, E>),
        from: &E::Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        let room = filters.room(half).min(SHOW_BYTES_MAX);
        if room == 0 || (self.has_end && self.unseen.is_empty()) {
            // Nobody receives now: a reset is looked for here.
            return from.poll_broken(context).map(|()| Err(Cut::Torn(Torn::From)));
        }
        let mut bytes = env.buffer();
        if self.unseen.is_empty() {
            ready!(self.poll_receive::<E>(room, &mut bytes, from, context))
                .map_err(|_| Cut::Torn(Torn::From))?;
        } else {
            bytes.extend(self.unseen.drain(..room.min(self.unseen.len())));
        }
        let end = self.has_end && self.unseen.is_empty();
        Poll::Ready(filters.show(half, bytes, end).map_err(Cut::Filter))
    }

    /// Takes what has come, up to so many bytes.
    fn poll_receive<E: Env>(
        &mut self,
        room: usize,
        bytes: &mut Vec<u8>,
        from: &E::Stream,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut next = ready!(from.poll_recv(context))?;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let Some(mut chunk) = next else {
                self.has_end = true;
                break;
            };
            let taken = chunk.len().min(room - bytes.len());
            bytes.extend_from_slice(&chunk[..taken]);
            self.received_bytes += taken as u64;
            if taken < chunk.len() {
                chunk.advance(taken);
                from.unread(chunk);
                break;
            }
            if bytes.len() == room {
                break;
            }
            // A break shows at the next look, behind what came before it.
            let Poll::Ready(Ok(more)) = from.poll_recv(&mut context) else { break };
            next = more;
        }
        Poll::Ready(Ok(()))
    }
}

/// What is shown at once at most.
const SHOW_BYTES_MAX: usize = 32 * 1024;
/// What a direction does before others have their turn.
const STEPS_MAX: u32 = 8;
