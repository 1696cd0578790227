//! Bytes both ways, each direction to its own end.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_env::{Env, Stream, Timer, Torn};
use penstock_telemetry::metrics::Block;

use super::direction::Direction;
use crate::metrics::Service;

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

/// The two directions of a connection.
pub(super) struct Carriage<E: Env> {
    /// From the client to the endpoint.
    pub(super) up: Direction<E>,
    /// From the endpoint to the client.
    pub(super) down: Direction<E>,
}

/// What a connection is counted under.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) block: &'a Block,
    pub(super) ids: &'a Service,
}

impl<E: Env> Carriage<E> {
    /// Nothing carried yet, but for so many bytes that the endpoint was sent already.
    pub(super) fn behind(up_bytes: u64) -> Carriage<E> {
        Carriage { up: Direction::behind(up_bytes), down: Direction::behind(0) }
    }

    /// Carries until both directions have ended, a side is broken, or nothing moved for as long
    /// as `idle`. The streams are the client's and the endpoint's.
    pub(super) async fn run(
        &mut self,
        env: &E,
        (client, endpoint): (&E::Stream, &E::Stream),
        (timer, idle): (&E::Timer, Duration),
        counted: Counted<'_>,
    ) -> Ended {
        timer.set(env.now() + idle);
        self.count(Bytes::default(), counted);
        let mut seen = Standing::default();
        poll_fn(|context| {
            let before = self.bytes();
            let ended = self.poll(env, client, endpoint, context);
            if self.bytes() != before {
                timer.set(env.now() + idle);
                self.count(before, counted);
            }
            if ended.is_ready() {
                return ended;
            }
            while timer.poll_expired(context).is_ready() {
                // A send may go on for long without anything new to carry.
                let now = Standing(self.bytes(), client.unsent_bytes(), endpoint.unsent_bytes());
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

    fn poll(
        &mut self,
        env: &E,
        client: &E::Stream,
        endpoint: &E::Stream,
        context: &mut Context<'_>,
    ) -> Poll<Ended> {
        if !self.up.ended {
            match self.up.poll(env, client, endpoint, context) {
                Poll::Ready(Err(Torn::From)) => return broken(Broken::Down),
                Poll::Ready(Err(Torn::To)) => return broken(Broken::Up),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if !self.down.ended {
            match self.down.poll(env, endpoint, client, context) {
                Poll::Ready(Err(Torn::From)) => return broken(Broken::Up),
                Poll::Ready(Err(Torn::To)) => return broken(Broken::Down),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if self.up.ended && self.down.ended {
            return Poll::Ready(Ended::Both);
        }
        // Of a direction that has ended nobody asks any more: its reset is looked for here.
        if self.up.ended && client.poll_broken(context).is_ready() {
            return broken(Broken::Down);
        }
        if self.down.ended && endpoint.poll_broken(context).is_ready() {
            return broken(Broken::Up);
        }
        Poll::Pending
    }

    fn bytes(&self) -> Bytes {
        let spliced = self.up.spliced_bytes + self.down.spliced_bytes;
        Bytes { up: self.up.bytes, down: self.down.bytes, spliced }
    }

    fn count(&self, before: Bytes, Counted { block, ids }: Counted<'_>) {
        let now = self.bytes();
        block.add(ids.bytes_in, now.up - before.up);
        block.add(ids.bytes_out, now.down - before.down);
        block.add(ids.bytes_spliced, now.spliced - before.spliced);
    }
}

/// Bytes carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes {
    up: u64,
    down: u64,
    spliced: u64,
}

/// How far everything was when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing(Bytes, usize, usize);

fn broken(side: Broken) -> Poll<Ended> {
    Poll::Ready(Ended::Broken(side))
}
