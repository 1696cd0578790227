//! The control side's clocks: monotonic time since it started, and the time of day.

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
        Clock { origin: Instant::now(), started: time_of_day() }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Time of day at the start.
    pub(crate) fn started(&self) -> Unix {
        self.started
    }

    /// Time of day: what the machine's clock says, which may be set while we run.
    pub(crate) fn unix(&self) -> Unix {
        time_of_day()
    }
}

fn time_of_day() -> Unix {
    // Before 1970 there were no load balancers: a clock that says so is taken for zero.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix { us: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX) }
}
