//! Bytes both ways, each direction to its own end.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use penstock_env::{Env, SendBuf, Stream, Timer};

use super::record::Record;
use crate::metrics::Schemas;

/// How carrying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both directions came to their ends.
    Both,
    /// Nothing moved for too long.
    Idle,
    /// A side was reset.
    Broken(Broken),
}

/// Whose connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Down,
    Up,
}

/// The two streams of a connection, and how far each direction is.
pub(super) struct Carriage<'a, S> {
    down: &'a S,
    up: &'a S,
    record: &'a mut Record,
    up_ended: bool,
    down_ended: bool,
}

impl<'a, S: Stream> Carriage<'a, S> {
    pub(super) fn new(down: &'a S, up: &'a S, record: &'a mut Record) -> Self {
        Carriage { down, up, record, up_ended: false, down_ended: false }
    }

    /// Carries until both directions have ended, a side is broken, or nothing moved for too long.
    pub(super) async fn run<E: Env<Stream = S>>(
        mut self,
        env: &E,
        timer: &E::Timer,
        shard: usize,
        schemas: &Schemas,
    ) -> Ended {
        let idle = self.record.idle;
        timer.set(env.now() + idle);
        let mut seen = Standing::default();
        poll_fn(|context| {
            let before = (self.record.up_bytes, self.record.down_bytes);
            let ended = self.poll(env, context);
            let after = (self.record.up_bytes, self.record.down_bytes);
            if after != before {
                timer.set(env.now() + idle);
                let (block, ids) = (self.record.metrics.shard(shard), &schemas.service);
                block.add(ids.bytes_in, after.0 - before.0);
                block.add(ids.bytes_out, after.1 - before.1);
            }
            if ended.is_ready() {
                return ended;
            }
            while timer.poll_expired(context).is_ready() {
                // A send may go on for long without anything new to carry.
                let now = self.standing();
                if now == seen {
                    return Poll::Ready(Ended::Idle);
                }
                seen = now;
                timer.set(env.now() + idle);
            }
            Poll::Pending
        })
        .await
    }

    fn poll<E: Env<Stream = S>>(&mut self, env: &E, context: &mut Context<'_>) -> Poll<Ended> {
        if !self.up_ended {
            let moved = &mut self.record.up_bytes;
            match poll_direction(env, self.down, self.up, moved, context) {
                Poll::Ready(Ok(())) => self.up_ended = true,
                Poll::Ready(Err(End::From)) => return broken(Broken::Down),
                Poll::Ready(Err(End::To)) => return broken(Broken::Up),
                Poll::Pending => {}
            }
        }
        if !self.down_ended {
            let moved = &mut self.record.down_bytes;
            match poll_direction(env, self.up, self.down, moved, context) {
                Poll::Ready(Ok(())) => self.down_ended = true,
                Poll::Ready(Err(End::From)) => return broken(Broken::Up),
                Poll::Ready(Err(End::To)) => return broken(Broken::Down),
                Poll::Pending => {}
            }
        }
        match self.up_ended && self.down_ended {
            true => Poll::Ready(Ended::Both),
            false => self.poll_broken(context),
        }
    }

    /// Of a direction that has ended nobody asks any more: its reset is looked for here.
    fn poll_broken(&self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.up_ended && self.down.poll_broken(context).is_ready() {
            return broken(Broken::Down);
        }
        if self.down_ended && self.up.poll_broken(context).is_ready() {
            return broken(Broken::Up);
        }
        Poll::Pending
    }

    fn standing(&self) -> Standing {
        let total = self.record.up_bytes + self.record.down_bytes;
        Standing(total, self.up.unsent_bytes(), self.down.unsent_bytes())
    }
}

/// How far everything was when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing(u64, usize, usize);

/// Which end of a direction broke.
enum End {
    From,
    To,
}

fn broken(side: Broken) -> Poll<Ended> {
    Poll::Ready(Ended::Broken(side))
}

/// Carries one direction on; ready at its end, which was passed on, or when it broke.
fn poll_direction<E: Env>(
    env: &E,
    from: &E::Stream,
    to: &E::Stream,
    moved: &mut u64,
    context: &mut Context<'_>,
) -> Poll<Result<(), End>> {
    loop {
        // One send at a time: while it is under way nothing is taken, and the peer has to wait.
        match to.poll_sent(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(End::To)),
            Poll::Ready(Ok(())) => {}
        }
        match from.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(End::From)),
            Poll::Ready(Ok(None)) => {
                to.shutdown_write();
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(Some(chunk))) => {
                let out = gather(env, from, chunk);
                *moved += out.len() as u64;
                to.start_send(out);
            }
        }
    }
}

/// All that has come so far, for one send.
fn gather<E: Env>(
    env: &E,
    from: &E::Stream,
    first: <E::Stream as Stream>::Chunk,
) -> SendBuf<<E::Stream as Stream>::Chunk> {
    let mut out = SendBuf::new(env.buffer());
    out.push_chunk(first);
    let mut context = Context::from_waker(Waker::noop());
    while out.len() < SEND_BYTES_MAX
        && let Poll::Ready(Ok(Some(more))) = from.poll_recv(&mut context)
    {
        out.push_chunk(more);
    }
    out
}

const SEND_BYTES_MAX: usize = 32 * 1024;
