//! How many retries a cluster may have, so that failing endpoints are not asked ever more.
//!
//! A share of the requests of the last ten seconds, and a few a second beside it: a quiet cluster
//! may retry too. Counted for the appliance, over all shards, in buckets of a second; two shards
//! that begin a second at once may lose a count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use penstock_env::Time;

/// The requests and retries of a cluster of late.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RetryBudget {
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    /// Counts a request. Its retries are not requests.
    #[inline]
    pub fn request(&self, now: Time) {
        self.requests.add(now);
    }

    /// Takes a retry out of the budget, which is `share` of the requests; false when it is used up.
    pub fn take(&self, now: Time, share: f64) -> bool {
        let floor = RETRIES_PER_SECOND * SECONDS as u64;
        let max = (self.requests.sum(now) as f64 * share) as u64 + floor;
        let allowed = self.retries.sum(now) < max;
        if allowed {
            self.retries.add(now);
        }
        allowed
    }
}

/// Counts of the last seconds.
#[derive(Debug, Default)]
struct Window([AtomicU64; SECONDS]);

impl Window {
    fn add(&self, now: Time) {
        let second = second(now);
        let bucket = &self.0[second as usize % SECONDS];
        let known = bucket.load(Relaxed);
        if known >> 32 == u64::from(second) {
            bucket.fetch_add(1, Relaxed);
        } else {
            bucket.store(u64::from(second) << 32 | 1, Relaxed);
        }
    }

    fn sum(&self, now: Time) -> u64 {
        let second = second(now);
        let of_late = |word: u64| second.wrapping_sub((word >> 32) as u32) < SECONDS as u32;
        let words = self.0.iter().map(|bucket| bucket.load(Relaxed));
        words.filter(|&word| of_late(word)).map(|word| word & u64::from(u32::MAX)).sum()
    }
}

/// The second that a bucket is of; its upper half. They wrap after 136 years.
fn second(now: Time) -> u32 {
    (now.as_ns() / 1_000_000_000) as u32
}

const SECONDS: usize = 10;
/// What a cluster without any requests of late may retry.
const RETRIES_PER_SECOND: u64 = 10;

#[cfg(test)]
mod tests {
    use penstock_env::Time;

    use super::RetryBudget;

    fn at(ms: u64) -> Time {
        Time::from_ns(ms * 1_000_000)
    }

    fn take_all(budget: &RetryBudget, now: Time, share: f64) -> usize {
        (0..10_000).take_while(|_| budget.take(now, share)).count()
    }

    #[test]
    fn a_quiet_cluster_has_ten_a_second() {
        let budget = RetryBudget::default();
        assert_eq!(take_all(&budget, at(0), 0.2), 100);
        assert_eq!(take_all(&budget, at(9_999), 0.2), 0, "they are of the last ten seconds");
        assert_eq!(take_all(&budget, at(10_000), 0.2), 100);
    }

    #[test]
    fn a_busy_one_has_a_share_of_its_requests_beside_them() {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|ms| budget.request(at(ms)));
        assert_eq!(take_all(&budget, at(9_999), 0.2), 2_000 + 100);
        // Half of the requests are older than ten seconds, and no retry is.
        assert_eq!(take_all(&budget, at(14_999), 0.2), 0);
        assert_eq!(take_all(&budget, at(19_999), 0.2), 100);
    }

    #[test]
    fn a_share_of_nothing_leaves_the_few() {
        let budget = RetryBudget::default();
        (0..1_000).for_each(|ms| budget.request(at(ms)));
        assert_eq!(take_all(&budget, at(1_000), 0.0), 100);
    }
}
