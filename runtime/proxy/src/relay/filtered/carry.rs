//! Bytes both ways, past the filters: a direction that none of them wants to see goes as it does
//! without filters.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use penstock_env::{Env, Stream, Timer, Torn};
use penstock_filter_host::Half;
use penstock_filter_host::abi::PeerType;

use super::filters::Filters;
use super::shown::{Cut, Shown};
use crate::failure::Cause;
use crate::relay::carry::{Broken, Bytes, Ended};
use crate::relay::direction::Direction;
use crate::relay::pace::{Standing, Watch};
use crate::relay::record::Record;
use crate::worker::Worker;

/// The two directions of a connection with filters.
pub(super) struct Carriage<E: Env> {
    /// From the client to the endpoint.
    up: Lane<E>,
    /// From the endpoint to the client.
    down: Lane<E>,
    /// The client's direction was the last to end.
    client_was_last: bool,
}

/// A direction.
enum Lane<E: Env> {
    /// Nobody looks.
    Plain(Direction<E>),
    /// Filters do.
    Shown(Shown),
}

impl<E: Env> Lane<E> {
    fn has_ended(&self) -> bool {
        match self {
            Lane::Plain(direction) => direction.ended,
            Lane::Shown(shown) => shown.ended,
        }
    }

    /// Bytes that were sent on, and bytes that came.
    fn bytes(&self) -> (u64, u64) {
        match self {
            Lane::Plain(direction) => (direction.bytes, direction.bytes),
            Lane::Shown(shown) => (shown.bytes, shown.received_bytes),
        }
    }

    fn standing(&self, to: &E::Stream) -> Standing {
        match self {
            Lane::Plain(direction) => Standing::of(direction, to),
            Lane::Shown(shown) => Standing::after(shown.bytes, 0, to),
        }
    }

    fn poll(
        &mut self,
        env: &E,
        (half, filters): (Half, &mut Filters<'_, E>),
        (from, to): (&E::Stream, &E::Stream),
        closes: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        let direction = match self {
            Lane::Shown(shown) => {
                return shown.poll(env, (half, filters), (from, to), closes, context);
            }
            Lane::Plain(direction) => direction,
        };
        match direction.poll(env, from, to, closes, context) {
            // Nobody sees it, but some may want to know that it has ended.
            Poll::Ready(Ok(())) => {
                Poll::Ready(filters.show(half, Vec::new(), true).map_err(Cut::Filter))
            }
            other => other.map_err(Cut::Torn),
        }
    }
}

impl<E: Env> Carriage<E> {
    /// What filters saw or left of the client's bytes already is in `up`.
    pub(super) fn new(filters: &Filters<'_, E>, up: Shown) -> Carriage<E> {
        let plain = |bytes: u64| Lane::Plain(Direction::behind(bytes));
        Carriage {
            up: match filters.wants(Half::Downstream) {
                true => Lane::Shown(up),
                false => plain(up.bytes),
            },
            down: match filters.wants(Half::Upstream) {
                true => Lane::Shown(Shown::default()),
                false => plain(0),
            },
            client_was_last: false,
        }
    }

    /// As without filters; see [`crate::relay::carry::Carriage::run`].
    pub(super) fn run<'a>(
        &'a mut self,
        worker: &'a Worker<E>,
        record: &'a Record,
        filters: &'a mut Filters<'_, E>,
        (client, endpoint): (&'a E::Stream, &'a E::Stream),
        timer: &'a E::Timer,
    ) -> impl Future<Output = Ended> {
        self.sent().count(Bytes::default(), worker, record);
        let mut watch = Watch::begin(worker.env().now());
        timer.set(watch.next(&record.pace));
        poll_fn(move |context| {
            let (env, before) = (worker.env(), (self.sent(), self.moved()));
            let ended = self.poll(env, filters, (client, endpoint), context);
            if self.moved() != before.1 {
                watch.note_move(env.now());
                self.sent().count(before.0, worker, record);
            }
            if ended.is_ready() {
                return ended;
            }
            while timer.poll_expired(context).is_ready() {
                let standing = [self.up.standing(endpoint), self.down.standing(client)];
                if let Some(late) = watch.look(env.now(), &record.pace, standing) {
                    return Poll::Ready(match late.into() {
                        Ended::Idle if holds_any(filters) => Ended::Filter(Cause::FilterStalled),
                        ended => ended,
                    });
                }
                timer.set(watch.next(&record.pace));
            }
            Poll::Pending
        })
    }

    /// Bytes that were carried, up and down.
    pub(super) fn carried(&self) -> (u64, u64) {
        (self.up.bytes().0, self.down.bytes().0)
    }

    /// Who closed the connection on either side, down and up.
    pub(super) fn closers(&self, ended: Ended) -> (PeerType, PeerType) {
        match ended {
            Ended::Both if self.client_was_last => (PeerType::Remote, PeerType::Local),
            Ended::Broken(Broken::Down) => (PeerType::Remote, PeerType::Local),
            Ended::Broken(Broken::Up) => (PeerType::Local, PeerType::Remote),
            Ended::Both | Ended::Idle | Ended::Stalled(_) | Ended::Filter(_) => {
                (PeerType::Local, PeerType::Local)
            }
        }
    }

    fn poll(
        &mut self,
        env: &E,
        filters: &mut Filters<'_, E>,
        (client, endpoint): (&E::Stream, &E::Stream),
        context: &mut Context<'_>,
    ) -> Poll<Ended> {
        if let Err(cause) = filters.poll(context) {
            return Poll::Ready(Ended::Filter(cause));
        }
        filters.take_called();
        let (up, down) = (&mut self.up, &mut self.down);
        if !up.has_ended() {
            let (with, closes) = ((Half::Downstream, &mut *filters), down.has_ended());
            match up.poll(env, with, (client, endpoint), closes, context) {
                Poll::Ready(Err(cut)) => return ended_by(cut, Broken::Down, Broken::Up),
                Poll::Ready(Ok(())) => self.client_was_last = closes,
                Poll::Pending => {}
            }
        }
        if !down.has_ended() {
            let (with, closes) = ((Half::Upstream, &mut *filters), up.has_ended());
            match down.poll(env, with, (endpoint, client), closes, context) {
                Poll::Ready(Err(cut)) => return ended_by(cut, Broken::Up, Broken::Down),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if up.has_ended() && down.has_ended() {
            return Poll::Ready(Ended::Both);
        }
        // Of a direction that has ended nobody asks any more: its reset is looked for here.
        if up.has_ended() && client.poll_broken(context).is_ready() {
            return Poll::Ready(Ended::Broken(Broken::Down));
        }
        if down.has_ended() && endpoint.poll_broken(context).is_ready() {
            return Poll::Ready(Ended::Broken(Broken::Up));
        }
        // A filter that was called may wait for something since, or have let go what it held.
        if filters.take_called() {
            if let Err(cause) = filters.poll(context) {
                return Poll::Ready(Ended::Filter(cause));
            }
            if filters.take_called() || filters.has_passed() {
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn sent(&self) -> Bytes {
        let spliced = [&self.up, &self.down].into_iter().map(|lane| match lane {
            Lane::Plain(direction) => direction.spliced_bytes,
            Lane::Shown(_) => 0,
        });
        let (up, down) = self.carried();
        Bytes { up, down, spliced: spliced.sum() }
    }

    /// Bytes that moved in any way.
    fn moved(&self) -> [(u64, u64); 2] {
        [self.up.bytes(), self.down.bytes()]
    }
}

fn holds_any<E: Env>(filters: &Filters<'_, E>) -> bool {
    filters.holds(Half::Downstream) || filters.holds(Half::Upstream)
}

/// The end of a direction between two sides.
fn ended_by(cut: Cut, from: Broken, to: Broken) -> Poll<Ended> {
    Poll::Ready(match cut {
        Cut::Torn(Torn::From) => Ended::Broken(from),
        Cut::Torn(Torn::To) => Ended::Broken(to),
        Cut::Filter(cause) => Ended::Filter(cause),
    })
}
