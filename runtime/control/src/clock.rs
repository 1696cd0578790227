//! The control side's clock: monotonic time since it started, and when that was.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use penstock_env::{Time, Unix};

/// Reads the real clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    started: Unix,
}

impl Clock {
    /// A clock that stands at zero now.
    pub(crate) fn start() -> Clock {
        // Before 1970 there were no load balancers: a clock that says so is taken for zero.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let us = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        Clock { origin: Instant::now(), started: Unix { us } }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Time of day at the start.
    pub(crate) fn started(&self) -> Unix {
        self.started
    }
}
