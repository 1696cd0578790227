//! Bytes both ways, each direction to its own end.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use penstock_env::{Env, Stream, Timer, Torn};

use super::direction::Direction;
use super::pace::{Late, Standing, Watch};
use super::record::Record;
use crate::failure::Cause;
use crate::worker::Worker;

/// How carrying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both directions came to their ends.
    Both,
    /// Nothing moved for too long.
    Idle,
    /// A side took too little of what waited for it.
    Stalled(Broken),
    /// A side was reset.
    Broken(Broken),
    /// A filter closed it, failed, or held it for too long.
    Filter(Cause),
}

impl Ended {
    /// What it is called; an end of both is none.
    pub(super) fn cause(self) -> Option<Cause> {
        match self {
            Ended::Both => None,
            Ended::Idle => Some(Cause::TunnelIdle),
            Ended::Stalled(Broken::Down) => Some(Cause::DownstreamStalled),
            Ended::Stalled(Broken::Up) => Some(Cause::UpstreamStalled),
            Ended::Broken(Broken::Down) => Some(Cause::DownstreamGone),
            Ended::Broken(Broken::Up) => Some(Cause::UpstreamReset),
            Ended::Filter(cause) => Some(cause),
        }
    }
}

impl From<Late> for Ended {
    fn from(late: Late) -> Ended {
        match late {
            Late::Idle => Ended::Idle,
            Late::Upward => Ended::Stalled(Broken::Up),
            Late::Downward => Ended::Stalled(Broken::Down),
        }
    }
}

/// Whose connection it was.
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

impl<E: Env> Carriage<E> {
    /// Nothing carried yet, but for so many bytes that the endpoint was sent already.
    pub(super) fn behind(up_bytes: u64) -> Carriage<E> {
        Carriage { up: Direction::behind(up_bytes), down: Direction::behind(0) }
    }

    /// Carries until both directions have ended, a side is broken or takes too little, or nothing
    /// moved for as long as the record says. The streams are the client's and the endpoint's. After
    /// an end of both they are to be closed.
    ///
    /// All that it holds while it waits is in one closure: an idle connection has it.
    pub(super) fn run<'a>(
        &'a mut self,
        worker: &'a Worker<E>,
        record: &'a Record,
        (client, endpoint): (&'a E::Stream, &'a E::Stream),
        timer: &'a E::Timer,
    ) -> impl Future<Output = Ended> + use<'a, E> {
        self.bytes().count(Bytes::default(), worker, record);
        let mut watch = Watch::begin(worker.env().now());
        timer.set(watch.next(&record.pace));
        poll_fn(move |context| {
            let (env, before) = (worker.env(), self.bytes());
            let ended = self.poll(env, client, endpoint, context);
            if self.bytes() != before {
                watch.note_move(env.now());
                self.bytes().count(before, worker, record);
            }
            if ended.is_ready() {
                return ended;
            }
            while timer.poll_expired(context).is_ready() {
                let standing = [Standing::of(&self.up, endpoint), Standing::of(&self.down, client)];
                if let Some(late) = watch.look(env.now(), &record.pace, standing) {
                    return Poll::Ready(late.into());
                }
                timer.set(watch.next(&record.pace));
            }
            Poll::Pending
        })
    }

    fn poll(
        &mut self,
        env: &E,
        client: &E::Stream,
        endpoint: &E::Stream,
        context: &mut Context<'_>,
    ) -> Poll<Ended> {
        if !self.up.ended {
            match self.up.poll(env, client, endpoint, self.down.ended, context) {
                Poll::Ready(Err(Torn::From)) => return broken(Broken::Down),
                Poll::Ready(Err(Torn::To)) => return broken(Broken::Up),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if !self.down.ended {
            match self.down.poll(env, endpoint, client, self.up.ended, context) {
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
}

/// Bytes carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) spliced: u64,
}

impl Bytes {
    /// Counts those that are new since `before`.
    pub(super) fn count<E: Env>(self, before: Bytes, worker: &Worker<E>, record: &Record) {
        let (block, ids) = (record.metrics.shard(worker.shard()), &worker.schemas().service);
        block.add(ids.bytes_in, self.up - before.up);
        block.add(ids.bytes_out, self.down - before.down);
        block.add(ids.bytes_spliced, self.spliced - before.spliced);
    }
}

pub(super) fn broken(side: Broken) -> Poll<Ended> {
    Poll::Ready(Ended::Broken(side))
}
