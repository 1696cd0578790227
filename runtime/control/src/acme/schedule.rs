//! When a certificate is ordered: pure arithmetic, in seconds since 1970.

use penstock_env::Rng;
use penstock_tls::Validity;

/// The first pause after a failure. Doubled by each: the sixth try is an hour after the first,
/// since Let's Encrypt allows five failures per host and hour.
const PAUSE_SECONDS_MIN: i64 = 120;
const PAUSE_SECONDS_MAX: i64 = 6 * 3_600;

/// When a certificate is to be renewed: once two thirds of its time are over, or up to a tenth of
/// the rest earlier, so that appliances that began together don't ask together.
pub(super) fn renewal(validity: Validity, rng: &mut Rng) -> i64 {
    let life = (validity.not_after - validity.not_before).max(0);
    validity.not_before + life * 2 / 3 - below(rng, life / 30)
}

/// When to try again after so many failures in a row, at least one.
pub(super) fn retry(now: i64, failures: u32, rng: &mut Rng) -> i64 {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (PAUSE_SECONDS_MIN << doublings).min(PAUSE_SECONDS_MAX);
    now + pause + below(rng, pause / 4)
}

fn below(rng: &mut Rng, bound: i64) -> i64 {
    i64::from(rng.below(u32::try_from(bound).unwrap_or(u32::MAX).max(1)))
}

#[cfg(test)]
mod tests {
    use penstock_env::Rng;
    use penstock_tls::Validity;

    use super::{PAUSE_SECONDS_MAX, renewal, retry};

    #[test]
    fn a_renewal_leaves_a_third_of_the_time_and_a_tenth_of_that_to_chance() {
        let mut rng = Rng::new(1);
        let day = 86_400;
        let validity = Validity { not_before: 1_000, not_after: 1_000 + 90 * day };
        for _ in 0..1_000 {
            let at = renewal(validity, &mut rng) - 1_000;
            assert!((57 * day..=60 * day).contains(&at), "{at}");
        }
        assert_eq!(renewal(Validity { not_before: 5, not_after: 5 }, &mut rng), 5);
    }

    #[test]
    fn failures_are_tried_again_ever_later_with_a_longest_pause() {
        let mut rng = Rng::new(2);
        for (failures, pause) in [(1, 120), (2, 240), (3, 480), (6, 3_840)] {
            let at = retry(0, failures, &mut rng);
            assert!((pause..pause * 5 / 4).contains(&at), "{failures}: {at}");
        }
        let last = retry(0, u32::MAX, &mut rng);
        assert!((PAUSE_SECONDS_MAX..PAUSE_SECONDS_MAX * 5 / 4).contains(&last));
    }
}
