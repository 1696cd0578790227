//! Whether a relayed connection moves enough: that something moves at all, and that a side takes
//! what waits for it.
//!
//! A side that does not read costs a pipe, buffers and two sockets, and what it sends itself would
//! keep the connection from being idle. So each direction is looked at for itself, now and again:
//! where bytes waited at the last look, the side has to have taken all of those, or as many as the
//! rate asks for in that time. Not for how that is timed: the owner of the timer asks.

use std::time::Duration;

use penstock_config::ServiceTimeouts;
use penstock_env::{Env, Stream, Time};

use super::direction::Direction;

/// What a service asks of its connections.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// How long nothing may move.
    pub(super) idle: Duration,
    /// How long a side may take too little.
    stall: Duration,
    /// What it has to take of what waits in that time.
    taken_bytes_min: u64,
}

impl Pace {
    pub(super) fn of(timeouts: &ServiceTimeouts) -> Pace {
        let stall = timeouts.write_stall.unwrap_or(timeouts.idle);
        let rate = u128::from(timeouts.write_rate_min.as_u64());
        let asked = rate * stall.as_millis() / 1_000;
        let taken_bytes_min = u64::try_from(asked).unwrap_or(u64::MAX).max(1);
        Pace { idle: timeouts.idle, stall, taken_bytes_min }
    }
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Bytes that the other side has acknowledged.
    taken: u64,
    /// Bytes that wait for that.
    waiting: u32,
}

impl Standing {
    pub(super) fn of<E: Env>(direction: &Direction<E>, to: &E::Stream) -> Standing {
        Standing::after(direction.bytes, direction.held_bytes(), to)
    }

    /// Of a direction in which so many bytes were sent, and so many more are on the way.
    pub(super) fn after<S: Stream>(bytes: u64, held_bytes: usize, to: &S) -> Standing {
        let unacknowledged = to.unacknowledged_bytes();
        let waiting = unacknowledged + held_bytes;
        Standing {
            // A FIN counts as a byte in the kernel.
            taken: bytes.saturating_sub(unacknowledged as u64),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        }
    }
}

/// Who was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Nobody sent anything, nobody took anything.
    Idle,
    /// The side that is sent to upward.
    Upward,
    /// The other one.
    Downward,
}

/// What was seen of both directions.
pub(super) struct Watch {
    /// When something was seen to move last.
    moved: Time,
    /// Bytes that had been taken at the last look.
    taken: u64,
    /// When each direction was looked at for itself, and how far they were: upward, downward.
    looked: Time,
    standing: [Standing; 2],
}

impl Watch {
    pub(super) fn begin(now: Time) -> Watch {
        Watch { moved: now, taken: 0, looked: now, standing: Default::default() }
    }

    /// Bytes were carried.
    pub(super) fn note_move(&mut self, now: Time) {
        self.moved = now;
    }

    /// When to look next.
    pub(super) fn next(&self, pace: &Pace) -> Time {
        (self.moved + pace.idle).min(self.looked + pace.stall)
    }

    /// Looks who is late.
    pub(super) fn look(&mut self, now: Time, pace: &Pace, standing: [Standing; 2]) -> Option<Late> {
        // A send may go on for long without anything new to carry.
        let taken = standing.iter().map(|one| one.taken).sum();
        if std::mem::replace(&mut self.taken, taken) != taken {
            self.moved = now;
        }
        let is_idle = now >= self.moved + pace.idle;
        if now < self.looked + pace.stall {
            return is_idle.then_some(Late::Idle);
        }
        let before = std::mem::replace(&mut self.standing, standing);
        self.looked = now;
        let [up, down] = [0, 1].map(|way: usize| {
            let due = pace.taken_bytes_min.min(before[way].waiting.into());
            standing[way].taken.saturating_sub(before[way].taken) < due
        });
        match (is_idle, up, down) {
            (true, _, _) => Some(Late::Idle),
            (false, true, _) => Some(Late::Upward),
            (false, false, true) => Some(Late::Downward),
            (false, false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    fn pace(stall: Option<u64>, rate: u64) -> Pace {
        Pace::of(&ServiceTimeouts {
            idle: Duration::from_secs(600),
            write_stall: stall.map(Duration::from_secs),
            write_rate_min: penstock_config::ByteSize::bytes(rate),
            ..ServiceTimeouts::default()
        })
    }

    /// Looks every ten seconds, at these bytes taken and waiting downward. What comes upward moves
    /// all the time.
    #[track_caller]
    fn check(rate: u64, looks: &[(u64, u32)], expected: Option<Late>) {
        let (pace, mut watch) = (pace(Some(10), rate), Watch::begin(at(0)));
        for (&(taken, waiting), turn) in looks.iter().zip(1..) {
            assert_eq!(watch.next(&pace), at(turn * 10));
            watch.note_move(at(turn * 10));
            let up = Standing { taken: turn, waiting: 0 };
            let late = watch.look(at(turn * 10), &pace, [up, Standing { taken, waiting }]);
            let is_last = turn == looks.len() as u64;
            assert_eq!(late, expected.filter(|_| is_last), "look {turn}");
        }
    }

    #[test]
    fn a_side_has_to_take_some_of_what_waits() {
        let late = Some(Late::Downward);
        check(0, &[(0, 0), (0, 0), (0, 0)], None);
        check(0, &[(5, 1_000), (5, 1_000)], late);
        check(0, &[(5, 1_000), (6, 1_000), (7, 1_000)], None);
        // What waits since a moment ago is not late.
        check(0, &[(5, 0), (5, 1_000), (1_005, 1)], None);
    }

    #[test]
    fn a_rate_asks_for_as_many_or_for_all_that_waited() {
        let late = Some(Late::Downward);
        check(100, &[(0, 5_000), (999, 5_000)], late);
        check(100, &[(0, 5_000), (1_000, 5_000), (2_000, 5_000)], None);
        check(100, &[(0, 10), (10, 5_000), (1_010, 0)], None);
        check(100, &[(0, 10), (9, 1)], late);
    }

    #[test]
    fn where_nothing_moves_a_connection_is_idle() {
        let (pace, mut watch) = (pace(None, 0), Watch::begin(at(0)));
        assert_eq!(watch.next(&pace), at(600));
        watch.note_move(at(100));
        let standing = [Standing { taken: 1, waiting: 0 }, Standing::default()];
        // A look falls on 600, at which the byte of 100 is new.
        assert_eq!(watch.look(at(600), &pace, standing), None);
        assert_eq!(watch.next(&pace), at(1_200));
        assert_eq!(watch.look(at(1_200), &pace, standing), Some(Late::Idle));
    }
}
