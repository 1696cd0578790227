//! Per-second rates of counters that are read now and then, for a status line.

use penstock_env::Time;

/// Remembers the last reading of `N` counters.
#[derive(Clone, Debug)]
pub struct Rates<const N: usize> {
    last: Option<(Time, [u64; N])>,
}

impl<const N: usize> Default for Rates<N> {
    fn default() -> Self {
        Rates { last: None }
    }
}

impl<const N: usize> Rates<N> {
    /// The rates since the last call; `None` on the first, and when no time has passed. A
    /// counter that fell (its series was dropped) has the rate 0.
    pub fn observe(&mut self, now: Time, counts: [u64; N]) -> Option<[f64; N]> {
        let (then, before) = self.last.replace((now, counts))?;
        let seconds = now.since(then).as_secs_f64();
        if seconds == 0.0 {
            return None;
        }
        let mut rates = [0.0; N];
        for ((rate, now), then) in rates.iter_mut().zip(counts).zip(before) {
            *rate = now.saturating_sub(then) as f64 / seconds;
        }
        Some(rates)
    }
}
