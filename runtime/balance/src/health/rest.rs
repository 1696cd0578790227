//! Rests: an endpoint that asks to be left alone for a while is.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use penstock_config::Outlier;
use penstock_env::Time;

use super::EndpointHealth;
use crate::{Balancer, EndpointId};

impl Balancer {
    /// Gives the endpoint no new requests for as long as it asks, if that may be: others have to be
    /// there for them, as for those of an ejected one. Whether it rests now.
    pub fn rest(&self, id: EndpointId, asked: Duration, outlier: &Outlier, now: Time) -> bool {
        let wait = asked.min(outlier.retry_after_max);
        let health = self.endpoint(id).load().health();
        if wait.is_zero() || (!health.is_resting() && !self.may_eject(id, outlier)) {
            return health.is_resting();
        }
        let until = now + wait;
        let before = Time::from_ns(health.rests_until.fetch_max(until.as_ns().max(1), Relaxed));
        // All that it answers in the meantime says the same: shards need not look for each.
        if before == Time::from_ns(0) || until > before + STEP {
            health.version.change();
        }
        true
    }
}

impl EndpointHealth {
    fn is_resting(&self) -> bool {
        self.rests_until.load(Relaxed) != 0
    }

    /// Ends a rest whose time has come.
    pub(super) fn end_rest(&self, now: Time) {
        let until = self.rests_until.load(Relaxed);
        let is_over = until != 0 && until <= now.as_ns();
        if is_over && self.rests_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok() {
            self.version.change();
        }
    }
}

/// A rest that is longer by less is none that others have to know of.
const STEP: Duration = Duration::from_secs(1);
