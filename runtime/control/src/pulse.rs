//! How busy the appliance is: rates and latencies between two looks.
//!
//! Nothing is computed while nobody looks: an idle process stays idle.

use std::time::Duration;

use penstock_env::Time;
use penstock_telemetry::metrics::Histogram;
use serde::Serialize;

/// Looks that follow closer than this see the same figures.
const WINDOW_MIN: Duration = Duration::from_millis(900);

/// Traffic in a window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// How long the window was.
    pub window_seconds: f64,
    /// Requests that ended in it, per second.
    pub requests_per_second: f64,
    /// Those among them that were answered 5xx, or cut before an answer.
    pub errors_per_second: f64,
    /// Half of the requests took at most this long.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub p99_ms: f64,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    at: Time,
    requests: u64,
    errors: u64,
    duration: Histogram,
    shown: Traffic,
}

impl Pulse {
    /// The traffic since the last look, from counts that only rise.
    pub(crate) fn observe(
        &mut self,
        now: Time,
        requests: u64,
        errors: u64,
        duration: Histogram,
    ) -> Traffic {
        let window = now.since(self.at);
        if window < WINDOW_MIN && self.at > Time::default() {
            return self.shown;
        }
        let seconds = window.as_secs_f64().max(1e-3);
        // A series that was dropped takes its counts with it: a rate is never below zero.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let recent = duration.since(&self.duration);
        self.shown = Traffic {
            window_seconds: seconds,
            requests_per_second: rate(requests, self.requests),
            errors_per_second: rate(errors, self.errors),
            p50_ms: recent.quantile(0.5) as f64 / 1e3,
            p99_ms: recent.quantile(0.99) as f64 / 1e3,
        };
        (self.at, self.requests, self.errors) = (now, requests, errors);
        self.duration = duration;
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use penstock_env::Time;
    use penstock_telemetry::metrics::Histogram;

    use super::Pulse;

    #[test]
    fn rates_are_of_the_window_and_close_looks_see_the_same() {
        let (mut pulse, mut duration) = (Pulse::default(), Histogram::default());
        let second = |count: u64| Time::from_ns(count * 1_000_000_000);
        (0..100).for_each(|_| duration.record(1_000));
        let first = pulse.observe(second(10), 100, 10, duration.clone());
        assert_eq!((first.requests_per_second, first.errors_per_second), (10.0, 1.0));
        let close = Time::from_ns(10_500_000_000);
        assert_eq!(pulse.observe(close, 900, 10, duration.clone()), first);
        (0..100).for_each(|_| duration.record(8_000));
        let later = pulse.observe(second(12), 300, 10, duration);
        assert_eq!((later.requests_per_second, later.errors_per_second), (100.0, 0.0));
        assert!((7.5..8.5).contains(&later.p50_ms), "{later:?}");
    }
}
