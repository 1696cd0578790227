//! Upstream connections of one shard that are open and unused, newest first.
//!
//! The newest is the likeliest to be still open, and a pool that shrinks does so from its old
//! end. A connection is looked at when it is taken and once a second in between: one that was
//! closed by its endpoint, or that said something unasked, is not used again.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::Duration;

use penstock_env::{Stream, Time};

use crate::admission::Upstream;

/// How often unused connections are looked at.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The unused connections to one endpoint.
pub(crate) struct Pool<S> {
    idle: RefCell<Vec<Idle<S>>>,
}

struct Idle<S> {
    up: Upstream<S>,
    since: Time,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Pool { idle: RefCell::new(Vec::new()) }
    }
}

impl<S: Stream> Pool<S> {
    /// The newest connection that is still good.
    pub(crate) fn take(&self, now: Time, keep_alive: Duration) -> Option<Upstream<S>> {
        loop {
            let Idle { up, since } = self.idle.borrow_mut().pop()?;
            if now.since(since) < keep_alive && is_quiet(&up.stream) {
                return Some(up);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn put(&self, up: Upstream<S>, now: Time) {
        self.idle.borrow_mut().push(Idle { up, since: now });
    }

    /// Drops what is too old or was closed; how many are left.
    pub(crate) fn sweep(&self, now: Time, keep_alive: Duration) -> usize {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| now.since(idle.since) < keep_alive && is_quiet(&idle.up.stream));
        if idle.is_empty() {
            *idle = Vec::new();
        }
        idle.len()
    }

    /// Since when the oldest one has been unused.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.idle.borrow().first().map(|idle| idle.since)
    }

    /// Drops the oldest one.
    pub(crate) fn drop_oldest(&self) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
        }
    }

    /// All of them, for the pool of the next snapshot.
    pub(crate) fn move_to(&self, other: &Pool<S>) {
        other.idle.borrow_mut().append(&mut self.idle.borrow_mut());
    }

    /// Drops all.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// Whether nothing came in: an end, an error, and bytes that nobody asked for all disqualify.
fn is_quiet<S: Stream>(stream: &S) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    stream.poll_recv(&mut context).is_pending()
}
