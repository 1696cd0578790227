//! Monotonic time, time of day, and timers that can be moved for free.

use std::future::{Future, poll_fn};
use std::ops::{Add, Sub};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Monotonic time in nanoseconds since an origin that only the `Env` knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Later than every other time: "never".
    pub const NEVER: Time = Time(u64::MAX);

    /// The time `ns` nanoseconds after the origin.
    pub const fn from_ns(ns: u64) -> Time {
        Time(ns)
    }

    /// Nanoseconds since the origin.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(ns))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, duration: Duration) -> Time {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(ns))
    }
}

/// Time of day: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unix {
    /// Microseconds since the epoch.
    pub us: u64,
}

impl Unix {
    /// Whole seconds since the epoch, as certificates count them.
    pub fn seconds(self) -> i64 {
        // 2^64 us are 1.8e13 s.
        (self.us / 1_000_000).cast_signed()
    }
}

/// A deadline. Setting it is a store: the wheel behind it looks again when the old one fires.
///
/// It fires at the first tick of the wheel at or after the time set; a tick is at most 10 ms.
pub trait Timer: 'static {
    /// Moves the deadline; `Time::NEVER` takes it away.
    fn set(&self, at: Time);

    /// Ready once the deadline is reached, and until it is moved.
    fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// What one does with a timer in `async` code.
pub trait TimerExt: Timer {
    /// Runs `work` until it is done or the deadline is reached; `None` means the deadline came
    /// first and `work` was dropped.
    fn race<F: Future>(&self, work: F) -> impl Future<Output = Option<F::Output>> {
        async move {
            let mut work = pin!(work);
            poll_fn(|context| {
                if let Poll::Ready(output) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(output));
                }
                self.poll_expired(context).map(|()| None)
            })
            .await
        }
    }

    /// Waits for the deadline.
    fn expired(&self) -> impl Future<Output = ()> {
        poll_fn(|context| self.poll_expired(context))
    }
}

impl<T: Timer> TimerExt for T {}
