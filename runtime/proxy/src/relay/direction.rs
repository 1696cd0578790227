//! One direction of a relayed connection: by hand while it carries little, by a conduit when it
//! carries much.

use std::task::{Context, Poll, Waker, ready};

use penstock_env::{Conduit, Env, Flow, SendBuf, Stream, Torn};

/// How far a direction is.
pub(super) struct Direction<E: Env> {
    pub(super) ended: bool,
    /// The end has come; what is being sent was in front of it.
    ending: bool,
    /// Bytes so far.
    pub(super) bytes: u64,
    /// Those among them that a conduit moved.
    pub(super) spliced_bytes: u64,
    /// Boxed: most directions never have one.
    conduit: Option<Box<E::Conduit>>,
    /// Bytes that came in large pieces, one after the other; or the small ones in a row since
    /// there is a conduit.
    streak: u32,
}

impl<E: Env> Direction<E> {
    /// A direction in which so many bytes went already.
    pub(super) fn behind(bytes: u64) -> Direction<E> {
        Direction { ended: false, ending: false, bytes, spliced_bytes: 0, conduit: None, streak: 0 }
    }

    /// Bytes that a conduit has taken, and that were not counted yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.conduit.as_ref().map_or(0, |conduit| conduit.held_bytes())
    }

    /// Carries on; ready at the end, which was passed on. Where `closes`, it is left to the close
    /// that follows.
    ///
    /// # Errors
    /// Which of the two streams is broken.
    pub(super) fn poll(
        &mut self,
        env: &E,
        from: &E::Stream,
        to: &E::Stream,
        closes: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Torn>> {
        for _ in 0..STEPS_MAX {
            // One send at a time: while it is under way nothing is taken, and the peer has to
            // wait.
            ready!(to.poll_sent(context)).map_err(|_| Torn::To)?;
            let ended = match &mut self.conduit {
                _ if self.ending => true,
                Some(conduit) => {
                    let flow = ready!(conduit.poll_move(context, from, to))?;
                    self.flow(flow, to)
                }
                None => match ready!(from.poll_recv(context)).map_err(|_| Torn::From)? {
                    Some(chunk) => {
                        self.send(env, from, to, chunk);
                        false
                    }
                    None => true,
                },
            };
            if ended {
                self.conduit = None;
                self.ended = true;
                if !closes {
                    to.shutdown_write();
                }
                return Poll::Ready(Ok(()));
            }
        }
        // Others want their turn, too.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes what the conduit did; whether the direction has ended.
    fn flow(&mut self, flow: Flow<<E::Stream as Stream>::Chunk>, to: &E::Stream) -> bool {
        match flow {
            Flow::Ended => return true,
            Flow::Refused => self.by_hand(),
            Flow::Received(chunk) => {
                self.bytes += chunk.len() as u64;
                let mut out = SendBuf::of(Vec::new());
                out.push_chunk(chunk);
                to.start_send(out);
            }
            Flow::Moved(count) => {
                self.bytes += count as u64;
                self.spliced_bytes += count as u64;
                self.streak = if count < E::Conduit::LARGE_BYTES { self.streak + 1 } else { 0 };
                let empty = self.conduit.as_ref().is_none_or(|conduit| conduit.held_bytes() == 0);
                if self.streak >= SMALL_IN_A_ROW && empty {
                    self.by_hand();
                }
            }
        }
        false
    }

    fn by_hand(&mut self) {
        self.conduit = None;
        self.streak = 0;
    }

    /// Sends all that has come so far, and looks whether that is much.
    fn send(
        &mut self,
        env: &E,
        from: &E::Stream,
        to: &E::Stream,
        first: <E::Stream as Stream>::Chunk,
    ) {
        let mut out = SendBuf::new(env.buffer());
        out.push_chunk(first);
        let mut context = Context::from_waker(Waker::noop());
        let most = env.send_bytes_max();
        while out.len() < most
            && !self.ending
            && let Poll::Ready(Ok(more)) = from.poll_recv(&mut context)
        {
            self.ending = more.is_none();
            more.into_iter().for_each(|more| out.push_chunk(more));
        }
        let bytes = out.len();
        match self.ending {
            true => to.start_last_send(out),
            false => to.start_send(out),
        }
        self.bytes += bytes as u64;
        self.streak = if bytes < E::Conduit::LARGE_BYTES { 0 } else { self.streak + bytes as u32 };
        if self.streak >= E::Conduit::PAYS_AFTER_BYTES && !self.ending {
            self.streak = 0;
            self.conduit = env.conduit(from, to).map(Box::new);
        }
    }
}

/// So many small pieces in a row, and a conduit does not pay any more.
const SMALL_IN_A_ROW: u32 = 32;
/// What one direction does before others have their turn: with a conduit, up to 1 MiB each.
const STEPS_MAX: u32 = 8;
