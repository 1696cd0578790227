//! Ejection: an endpoint that fails requests gets none for a while.
//!
//! Three failed connects in a row, three answers in a row that say it can't serve or don't come in
//! time, or less than half of the requests of ten seconds served: a rule for clusters of a few
//! hosts, where a share of their mean would be no measure. Half of them may be out at a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_config::Outlier;
use penstock_env::{Rng, Time};

use super::{EndpointHealth, HealthState};
use crate::load::{EndpointLoad, InFlight};
use crate::{Balancer, EndpointId};

/// How an endpoint failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It could not be connected to.
    Connect,
    /// It answered that it can't serve: 502, 503, 504, UNAVAILABLE; or not in its time.
    Answer,
    /// It broke off, or made no sense.
    Other,
}

impl Balancer {
    /// Ends a request that the endpoint failed; whether it is ejected for it.
    pub fn fail(
        &self,
        id: EndpointId,
        in_flight: InFlight,
        fault: Fault,
        outlier: &Outlier,
        now: Time,
        rng: &mut Rng,
    ) -> bool {
        let trial = in_flight.trial_of();
        in_flight.fail();
        let load = self.endpoint(id).load();
        let health = load.health();
        if outlier.consecutive_errors == 0 {
            return false;
        }
        let is_out = match health.is_ejected() {
            // The one that tried it. Those that were under way, or had no other endpoint left, say
            // nothing new.
            true => trial == Some(health.ejection()),
            false => {
                let fails = health.is_outlier(fault, load, outlier, now);
                let may = fails && self.may_eject(id, outlier);
                if fails && !may {
                    health.failing.store(true, Relaxed);
                }
                may
            }
        };
        if is_out {
            health.eject(outlier, now, rng);
        }
        is_out
    }

    /// Whether one more may be out: others have to be there for its requests.
    pub(super) fn may_eject(&self, id: EndpointId, outlier: &Outlier) -> bool {
        let (mut all, mut ejected, mut others_up) = (0, 0, 0);
        for (index, endpoint) in self.endpoints().iter().enumerate() {
            if endpoint.weight() == 0 {
                continue;
            }
            all += 1;
            match endpoint.load().health().state() {
                // One that fails as well is still where requests can go.
                HealthState::Up | HealthState::Failing => {
                    others_up += usize::from(index != id.index());
                }
                HealthState::Ejected | HealthState::Resting => ejected += 1,
                HealthState::Down => {}
            }
        }
        let max = (all as f64 * outlier.max_ejected.as_f64()) as usize;
        others_up > 0 && ejected < max.max(1)
    }
}

impl EndpointHealth {
    fn is_outlier(&self, fault: Fault, load: &EndpointLoad, outlier: &Outlier, now: Time) -> bool {
        let in_a_row = match fault {
            Fault::Connect => self.connect_errors.fetch_add(1, Relaxed) + 1,
            Fault::Answer => self.bad_answers.fetch_add(1, Relaxed) + 1,
            Fault::Other => 0,
        };
        // Both are asked: the rate's look begins with the first failure.
        let mostly = self.rate.is_bad(load, now);
        in_a_row >= outlier.consecutive_errors || mostly
    }

    /// Ejects it for as long as the config says, twice as long each time soon after another.
    fn eject(&self, outlier: &Outlier, now: Time, rng: &mut Rng) {
        let readmitted = Time::from_ns(self.readmitted_at.load(Relaxed));
        let was_well = !self.is_ejected() && now.since(readmitted) > FORGOTTEN_AFTER;
        let before = if was_well { 0 } else { self.in_a_row.load(Relaxed) };
        let doubled = outlier.eject_for.saturating_mul(1 << before.min(DOUBLINGS_MAX));
        let whole = doubled.min(outlier.eject_for_max.max(outlier.eject_for));
        // Those that fell together shall not be tried together.
        let until = now + whole.mul_f64(0.8 + 0.4 * rng.unit());
        self.in_a_row.store(before.saturating_add(1), Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.connect_errors.store(0, Relaxed);
        self.bad_answers.store(0, Relaxed);
        self.rate.forget();
        self.trial.store(false, Relaxed);
        self.failing.store(false, Relaxed);
        self.ejected_until.store(until.as_ns().max(1), Relaxed);
        self.version.change();
    }
}

/// Where an endpoint's counts stood when a look at its rate of success began. That is with a
/// failure: requests that succeed cost nothing.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// In nanoseconds; 0 where there is no look.
    since: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Rate {
    /// Whether less than half of the requests of late succeeded, of enough of them.
    fn is_bad(&self, load: &EndpointLoad, now: Time) -> bool {
        let reading = load.read();
        let ended = reading.requests.saturating_sub(u64::from(reading.in_flight));
        let since = self.since.load(Relaxed);
        if since == 0 || now.since(Time::from_ns(since)) > RATE_WINDOW {
            self.since.store(now.as_ns().max(1), Relaxed);
            // The failure that this is about is the first of them.
            self.requests.store(ended.saturating_sub(1), Relaxed);
            self.failures.store(reading.failures.saturating_sub(1), Relaxed);
            return false;
        }
        let ended = ended.saturating_sub(self.requests.load(Relaxed));
        let failed = reading.failures.saturating_sub(self.failures.load(Relaxed));
        ended >= RATE_REQUESTS_MIN && failed * 2 > ended
    }

    fn forget(&self) {
        self.since.store(0, Relaxed);
    }
}

const RATE_WINDOW: Duration = Duration::from_secs(10);
const RATE_REQUESTS_MIN: u64 = 20;
/// More would be over any limit of the config: 2^16 times a second is 18 hours.
const DOUBLINGS_MAX: u32 = 16;
/// One that was well for as long begins with the shortest ejection again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
