//! What is due when: ordered by time, then by the order of asking.

use std::collections::BTreeMap;

use penstock_env::{Address, Time};

use super::world::World;

/// Something that will happen.
pub(super) enum Due {
    /// A connect's first packet is at the other side.
    Knock { from: u64, to: Address },
    /// The answer to it is back.
    Answer { socket: u64, refused: bool },
    /// The kernel goes on with what a socket has to send.
    Pump(u64),
    /// What is on the wire to a socket may have arrived.
    Arrive(u64),
    /// A parked stream's condition is looked at.
    Unpark(u64),
    /// A closed socket has had long enough to deliver the rest.
    Linger(u64),
    /// A timer's tick.
    Tick(u64),
    /// What the scenario planned.
    Call(Box<dyn FnOnce(&World)>),
}

/// All that is due.
#[derive(Default)]
pub(super) struct Queue {
    due: BTreeMap<(Time, u64), Due>,
    asked: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, due: Due) {
        self.asked += 1;
        self.due.insert((at, self.asked), due);
    }

    /// When the next thing is due.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.due.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next thing that is due by `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<Due> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Takes everything out, for the caller to drop.
    pub(super) fn take(&mut self) -> BTreeMap<(Time, u64), Due> {
        std::mem::take(&mut self.due)
    }
}
