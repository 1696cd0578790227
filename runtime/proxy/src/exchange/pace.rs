//! How slowly a request's body may come.
//!
//! Slow, but not stalled, is allowed down to a rate, which is measured after a while. Over HTTP/2
//! the bodies of all streams come the same way, in the order that the peer likes: on a slow link
//! each gets a part of it, or waits for its turn. So what a connection brings counts for each of
//! its bodies. Not without end, or a hundred requests could be held open with the bytes of one:
//! [`SHARED_BY_MAX`] of them may share the rate of one, more need more, and a body of which nothing
//! comes has so many times as long.

use std::time::Duration;

use penstock_config::ListenerTimeouts;
use penstock_env::Time;

use crate::http2::Awaited;

/// The time of one body.
pub(super) struct Pace<'a> {
    timeouts: &'a ListenerTimeouts,
    begun: Time,
    shared: Option<Shared<'a>>,
}

/// What a body has in common with others.
struct Shared<'a> {
    body: Awaited<'a>,
    /// What had come of all others when this one began to be waited for.
    before: u64,
}

impl<'a> Pace<'a> {
    /// Of a body that is waited for from `now` on, and of which `received` bytes are here; over
    /// HTTP/2, as one of its connection's.
    pub(super) fn begin(
        timeouts: &'a ListenerTimeouts,
        now: Time,
        received: u64,
        body: Option<Awaited<'a>>,
    ) -> Pace<'a> {
        let shared = body.map(|body| {
            let before = body.all().came_bytes().saturating_sub(received);
            Shared { body, before }
        });
        Pace { timeouts, begun: now, shared }
    }

    /// Whether the time may change while nothing comes of this body.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Time that the peer does not answer for.
    pub(super) fn pause(&mut self, time: Duration) {
        self.begun = self.begun + time;
    }

    /// Until when the next bytes are due, of a body of which `received` came, the last of them at
    /// `last`.
    pub(super) fn due(&self, last: Time, received: u64) -> Time {
        let stall = self.timeouts.body_stall;
        let (mut stalled, mut bytes) = (last + stall, received);
        if let Some(Shared { body, before }) = &self.shared {
            let (all, awaited) = (body.all(), body.all().awaited());
            let sharing = awaited.min(SHARED_BY_MAX);
            stalled = stalled.max((all.came_at() + stall).min(last + stall * sharing));
            let came = (all.came_bytes() - before) * u64::from(sharing);
            bytes = bytes.max(came.checked_div(u64::from(awaited)).unwrap_or_default());
        }
        match (bytes * 1_000).checked_div(self.timeouts.body_rate_min.as_u64()) {
            Some(ms) => {
                let after = self.timeouts.body_rate_after.max(Duration::from_millis(ms));
                stalled.min(self.begun + after)
            }
            None => stalled,
        }
    }
}

/// Bodies that may share the time of one. On 8 KiB/s, which is what a bad mobile link has, these
/// come at half of what is asked of one alone.
const SHARED_BY_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::Bodies;

    const fn at(s: u64) -> Time {
        Time::from_ns(s * 1_000_000_000)
    }

    /// Due of a body that began at 100 s: `received` of it, the last at `last`.
    #[track_caller]
    fn check(others: u32, came: (usize, u64), (received, last): (u64, u64), expected: u64) {
        let (timeouts, bodies) = (ListenerTimeouts::default(), Bodies::default());
        let others: Vec<_> = (0..others).map(|_| bodies.await_one()).collect();
        let pace = Pace::begin(&timeouts, at(100), 0, Some(bodies.await_one()));
        bodies.came(came.0, at(came.1));
        assert_eq!(pace.due(at(last), received), at(expected));
        drop(others);
    }

    #[test]
    fn a_body_alone_has_to_come_at_the_rate_and_not_to_stall() {
        let timeouts = ListenerTimeouts::default();
        let pace = Pace::begin(&timeouts, at(100), 0, None);
        for (received, last, expected) in
            [(0, 100, 110), (5 * 1_024, 104, 110), (20 * 1_024, 115, 120), (1 << 20, 115, 145)]
        {
            assert_eq!(pace.due(at(last), received), at(expected), "{received}");
            check(0, (received as usize, last), (received, last), expected);
        }
    }

    #[test]
    fn bodies_of_a_connection_share_its_rate_up_to_a_number() {
        // 64 KiB of others: all sixteen are well for as long as one alone were.
        check(15, (64 * 1_024, 150), (0, 150), 164);
        // Of 32, each has half of that.
        check(31, (64 * 1_024, 150), (0, 150), 132);
        // What comes of itself is never worth less than it were alone.
        check(99, (64 * 1_024, 150), (64 * 1_024, 150), 164);
    }

    #[test]
    fn a_body_of_which_nothing_comes_waits_for_its_turn_but_not_for_ever() {
        // The last of 10 MiB came at 300 s: then it is the connection that stalls.
        check(15, (10 << 20, 300), (0, 100), 330);
        // Sixteen times 30 s after its own last byte.
        check(15, (10 << 20, 900), (0, 100), 580);
        check(1, (10 << 20, 900), (0, 100), 160);
    }
}
