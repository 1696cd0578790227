//! A token bucket as one number: the generic cell rate algorithm (ITU-T I.371, annex A).
//!
//! A bucket is the time at which it will be full again. A token moves that time one interval
//! ahead; a request is refused if the time would be further ahead than `burst` intervals. It is
//! exactly a token bucket, and needs neither a float nor a timer that refills it.

use std::time::Duration;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds in which one token comes.
    interval: u64,
    /// Tokens that it holds.
    burst: u64,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It had a token.
    Granted {
        /// How many are left.
        left: u64,
        /// When it will be full again, if nothing comes.
        reset: Duration,
    },
    /// It is empty.
    Refused {
        /// When it will have a token.
        retry_after: Duration,
    },
}

impl Rate {
    /// `requests` per `per_seconds`, `burst` of them at once.
    pub(crate) fn new(requests: u32, per_seconds: u32, burst: u32) -> Self {
        let interval = u64::from(per_seconds) * 1_000_000_000 / u64::from(requests);
        Self { interval, burst: u64::from(burst) }
    }

    /// Takes a token at `now` from the bucket that is full again at `full_at` (both nanoseconds).
    /// Answers the bucket as it is then.
    pub(crate) fn take(self, full_at: u64, now: u64) -> (u64, Decision) {
        let next = full_at.max(now) + self.interval;
        let holds = self.interval * self.burst;
        let ahead = next - now;
        if ahead > holds {
            let retry_after = Duration::from_nanos(ahead - holds);
            return (full_at, Decision::Refused { retry_after });
        }
        let left = (holds - ahead) / self.interval;
        (next, Decision::Granted { left, reset: Duration::from_nanos(ahead) })
    }
}

impl Decision {
    /// Requests that would still be granted now.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Self::Granted { left, .. } => *left,
            Self::Refused { .. } => 0,
        }
    }

    /// When there will be more: all of it, or one.
    pub(crate) fn reset(&self) -> Duration {
        match self {
            Self::Granted { reset, .. } => *reset,
            Self::Refused { retry_after } => *retry_after,
        }
    }
}
