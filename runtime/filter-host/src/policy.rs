//! When a filter that keeps failing is switched off, and when it is tried again.

use std::collections::VecDeque;
use std::time::Duration;

use penstock_env::Time;

use crate::settings::Storm;

/// The failures of one filter on one shard.
#[derive(Debug)]
pub(crate) struct Policy {
    storm: Storm,
    failures: VecDeque<Time>,
    disabled_until: Time,
    next_rearm: Duration,
}

impl Policy {
    pub(crate) fn new(storm: Storm) -> Policy {
        Policy {
            storm,
            failures: VecDeque::new(),
            disabled_until: Time::default(),
            next_rearm: storm.rearm,
        }
    }

    /// Whether the filter may run. Costs a comparison when all is well.
    #[inline]
    pub(crate) fn allows(&self, now: Time) -> bool {
        now >= self.disabled_until
    }

    /// Takes note of a failure; true when it switches the filter off.
    pub(crate) fn failed(&mut self, now: Time) -> bool {
        let traps_max = self.storm.traps_max.max(1) as usize;
        if now.since(self.disabled_until) > self.next_rearm + self.storm.window {
            // It held out for longer than it was switched off: the next storm begins anew.
            self.next_rearm = self.storm.rearm;
        }
        self.failures.push_back(now);
        if self.failures.len() < traps_max {
            return false;
        }
        let first = self.failures.pop_front();
        if first.is_some_and(|first| now.since(first) > self.storm.window) {
            return false;
        }
        self.failures.clear();
        self.disabled_until = now + self.next_rearm;
        self.next_rearm = (self.next_rearm * 2).min(self.storm.rearm_max);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use penstock_env::Time;

    use super::Policy;
    use crate::settings::Storm;

    fn at(ms: u64) -> Time {
        Time::from_ns(ms * 1_000_000)
    }

    #[test]
    fn fifty_failures_in_ten_seconds_switch_it_off() {
        let mut policy = Policy::new(Storm::default());
        assert!((0..49).all(|step| !policy.failed(at(step * 200))));
        assert!(policy.allows(at(9_700)));
        assert!(policy.failed(at(9_800)));
        assert!(!policy.allows(at(9_801)) && !policy.allows(at(10_799)));
        assert!(policy.allows(at(10_800)), "re-armed after a second");
    }

    #[test]
    fn failures_spread_wider_do_not() {
        let mut policy = Policy::new(Storm::default());
        assert!((0..1_000).all(|step| !policy.failed(at(step * 210))));
    }

    #[test]
    fn each_further_storm_doubles_the_time_off_until_it_holds_out() {
        let mut policy = Policy::new(Storm { traps_max: 1, ..Storm::default() });
        let mut now = at(1_000_000);
        for off in [1, 2, 4, 8, 16, 32, 64, 64] {
            assert!(policy.failed(now));
            now = now + Duration::from_secs(off);
            assert!(policy.allows(now) && !policy.allows(now - Duration::from_millis(1)));
        }
        now = now + Duration::from_secs(75);
        assert!(policy.failed(now));
        assert!(policy.allows(now + Duration::from_secs(1)), "it held out, and starts from 1 s");
    }
}
