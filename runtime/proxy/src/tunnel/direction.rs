//! One direction of a tunnel, at most one send under way; frames of ours go in where frames end.

use std::task::{Context, Poll, ready};

use penstock_env::{Env, SendBuf, Stream, Time};
use penstock_wire::websocket::{FrameWalk, GOING_AWAY, Opcode, write_control};

use super::end::{End, Piece};
use crate::worker::Worker;

/// Which side of a direction is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    From,
    To,
}

/// A frame of ours that shall go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    Ping,
    /// The last one: what comes behind it is read and dropped.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Our close frame went in.
    Closing,
    /// The end was passed on.
    Ended,
}

/// One direction.
pub(super) struct Direction<'a, E: Env> {
    worker: &'a Worker<E>,
    from: End<'a, E>,
    to: End<'a, E>,
    /// Toward a server frames are masked (RFC 6455 §5.1).
    masks: bool,
    /// Where in the frames we are; `None` where it is no WebSocket.
    walk: Option<FrameWalk>,
    /// What came behind the end of a frame that one of ours follows.
    rest: Option<Piece<<E::Stream as Stream>::Chunk>>,
    wanted: Option<Ours>,
    state: State,
    /// When bytes came last.
    heard_at: Time,
    /// When our last ping went in.
    pinged_at: Option<Time>,
    /// Whether something came since that was asked last, other than pongs.
    moved: bool,
    /// Whether the peer's close frame came.
    said_close: bool,
    carried: u64,
}

impl<'a, E: Env> Direction<'a, E> {
    /// Carries from `from` to `to`; `masks` is `None` where it is no WebSocket.
    pub(super) fn new(
        worker: &'a Worker<E>,
        from: End<'a, E>,
        to: End<'a, E>,
        masks: Option<bool>,
    ) -> Direction<'a, E> {
        Direction {
            heard_at: worker.env().now(),
            worker,
            from,
            to,
            masks: masks == Some(true),
            walk: masks.map(|_| FrameWalk::new()),
            rest: None,
            wanted: None,
            state: State::Open,
            pinged_at: None,
            moved: false,
            said_close: false,
            carried: 0,
        }
    }

    /// Carries on; ready once the end of `from` was passed on.
    ///
    /// # Errors
    /// A side is broken.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.state == State::Ended {
            return self.from.poll_broken(context).map(|()| Err(Broken::From));
        }
        loop {
            ready!(self.to.poll_sent(context)).map_err(|_| Broken::To)?;
            if let Some(ours) = self.ours() {
                self.to.start_send(ours);
                continue;
            }
            let piece = match self.rest.take() {
                Some(piece) => piece,
                None => match ready!(self.from.poll_recv(context)).map_err(|()| Broken::From)? {
                    Some(piece) => piece,
                    None => {
                        self.finish();
                        return Poll::Ready(Ok(()));
                    }
                },
            };
            let out = self.gather(piece, context);
            match out.is_empty() {
                true => self.worker.env().recycle(out.into_parts().0),
                false => self.to.start_send(out),
            }
        }
    }

    /// Passes the end on, where that was not done.
    ///
    /// # Panics
    /// When a send is under way.
    pub(super) fn finish(&mut self) {
        if self.state != State::Ended {
            self.state = State::Ended;
            self.to.finish(self.worker.env());
        }
    }

    /// Ends it for good, where no send is under way.
    pub(super) fn end(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Ok(())) = self.to.poll_sent(context) {
            self.finish();
        }
    }

    /// A frame of ours, if one is wanted and there is a place for it.
    fn ours(&mut self) -> Option<SendBuf<<E::Stream as Stream>::Chunk>> {
        let (wanted, walk) = (self.wanted?, self.walk.as_ref()?);
        if self.state != State::Open || !walk.is_between() {
            return None;
        }
        self.wanted = None;
        // RFC 6455 §5.3: a key that nobody foresees.
        let key = self.masks.then(|| self.worker.below(u32::MAX).to_le_bytes());
        let mut out = SendBuf::new(self.worker.env().buffer());
        match wanted {
            Ours::Ping => {
                out.write(|out| write_control(Opcode::Ping, b"", key, out));
                self.pinged_at = Some(self.worker.env().now());
            }
            Ours::Close => {
                let status = GOING_AWAY.to_be_bytes();
                out.write(|out| write_control(Opcode::Close, &status, key, out));
                self.state = State::Closing;
            }
        }
        self.carried += out.len() as u64;
        Some(out)
    }

    /// One send's worth of what is there, no further than where a frame of ours goes in.
    fn gather(
        &mut self,
        mut piece: Piece<<E::Stream as Stream>::Chunk>,
        context: &mut Context<'_>,
    ) -> SendBuf<<E::Stream as Stream>::Chunk> {
        let env = self.worker.env();
        let (mut out, most) = (SendBuf::new(env.buffer()), env.send_bytes_max());
        loop {
            self.heard_at = self.worker.env().now();
            let count = self.pass(piece.bytes());
            match self.state {
                State::Closing => {}
                _ if count == piece.bytes().len() => piece.put(&mut out),
                _ => {
                    piece.put_first(count, &mut out);
                    self.rest = Some(piece);
                    break;
                }
            }
            if out.len() >= most || self.state == State::Closing {
                break;
            }
            match self.from.poll_recv(context) {
                Poll::Ready(Ok(Some(more))) => piece = more,
                // Told again.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        self.carried += out.len() as u64;
        out
    }

    /// How much of `bytes` is carried now: all, or up to where a frame of ours goes in.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let Some(walk) = &mut self.walk else {
            self.moved |= !bytes.is_empty();
            return bytes.len();
        };
        let mut at = 0;
        while at < bytes.len() {
            let step = walk.step(&bytes[at..]);
            at += step.bytes;
            self.moved |= step.ended.or(walk.under_way()) != Some(Opcode::Pong);
            self.said_close |= step.ended == Some(Opcode::Close);
            if step.ended.is_some() && self.wanted.is_some() && self.state == State::Open {
                break;
            }
        }
        at
    }

    /// A frame of ours shall go in.
    pub(super) fn want(&mut self, ours: Ours) {
        if self.wanted != Some(Ours::Close) {
            self.wanted = Some(ours);
        }
    }

    /// Whether the end was passed on.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether nothing more comes of it: it ended, or the peer's close frame came.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended || self.said_close
    }

    /// Whether our close frame went in.
    pub(super) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// When bytes came last.
    pub(super) fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// When our last ping went in.
    pub(super) fn pinged_at(&self) -> Option<Time> {
        self.pinged_at
    }

    /// Whether a frame of ours waits for its place.
    pub(super) fn is_wanting(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether something came since this was asked last.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes so far.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }
}
