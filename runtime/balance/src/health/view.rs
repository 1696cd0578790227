//! Who may be picked, as one shard sees it between two changes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use penstock_env::Time;

use super::HealthState;
use crate::{Balancer, EndpointId, UsableSet};

/// A shard's view of a cluster's health. It belongs to one balancer.
#[derive(Debug)]
pub struct View {
    usable: UsableSet,
    /// The version that it was made from; none before the first look.
    version: Option<u64>,
    /// When the next ejected endpoint may be tried, or the next rest ends.
    trial_at: Time,
    panics: bool,
}

impl View {
    /// Before the first look.
    pub fn new(balancer: &Balancer) -> View {
        let usable = UsableSet::none(balancer.endpoints().len());
        View { usable, version: None, trial_at: Time::NEVER, panics: false }
    }

    /// Who may be picked.
    #[inline]
    pub fn usable(&self) -> &UsableSet {
        &self.usable
    }

    /// Whether so few are well that all are tried.
    pub fn panics(&self) -> bool {
        self.panics
    }
}

impl Balancer {
    /// Brings `view` up to date, in which nobody is usable who is not in `base`.
    #[inline]
    pub fn look(&self, view: &mut View, base: &UsableSet, now: Time) {
        let none = self.look_for_trial(view, base, |_| false, now);
        debug_assert!(none.is_none(), "nobody may be tried");
    }

    /// The same. Gives an endpoint that was ejected and that this request is to try, if there is
    /// one that it `may`: no other does for a while.
    #[inline]
    pub fn look_for_trial(
        &self,
        view: &mut View,
        base: &UsableSet,
        may: impl Fn(EndpointId) -> bool,
        now: Time,
    ) -> Option<EndpointId> {
        if view.version == Some(self.version.value()) && now < view.trial_at {
            return None;
        }
        self.look_anew(view, base, &may, now)
    }

    #[cold]
    fn look_anew(
        &self,
        view: &mut View,
        base: &UsableSet,
        may: &dyn Fn(EndpointId) -> bool,
        now: Time,
    ) -> Option<EndpointId> {
        if view.version != Some(self.version.value()) {
            self.refresh(view, base);
        }
        if now < view.trial_at {
            return None;
        }
        for endpoint in self.endpoints() {
            endpoint.load().health().end_rest(now);
        }
        let ids = (0..self.endpoints().len()).map(EndpointId::new);
        let found = ids.filter(|&id| base.contains(id) && may(id)).find(|&id| {
            let endpoint = self.endpoint(id);
            endpoint.weight() > 0 && endpoint.load().health().take_trial(now)
        });
        self.refresh(view, base);
        found
    }

    fn refresh(&self, view: &mut View, base: &UsableSet) {
        view.version = Some(self.version.value());
        view.trial_at = Time::NEVER;
        let (mut all, mut up) = (0, 0);
        for (index, endpoint) in self.endpoints().iter().enumerate() {
            let (id, health) = (EndpointId::new(index), endpoint.load().health());
            let state = health.state();
            view.usable.set(id, base.contains(id) && state.is_picked());
            if endpoint.weight() == 0 || !base.contains(id) {
                continue;
            }
            all += 1;
            up += usize::from(state.is_picked());
            let due = match state {
                HealthState::Ejected => health.ejected_until.load(Relaxed),
                HealthState::Resting => health.rests_until.load(Relaxed),
                HealthState::Up | HealthState::Failing | HealthState::Down => continue,
            };
            // 0: it has ended just now, and the version says so.
            view.trial_at = view.trial_at.min(Time::from_ns(due));
        }
        // With two hosts or one, those that are well are enough, as long as there is one.
        view.panics = up == 0 || (all > SMALL && up * 100 < all * PANIC_PERCENT);
        if view.panics {
            view.usable.clone_from(base);
        }
    }
}

impl super::EndpointHealth {
    /// Whether this request is the one that tries it.
    fn take_trial(&self, now: Time) -> bool {
        let until = self.ejected_until.load(Relaxed);
        let is_due = until != 0 && until <= now.as_ns() && self.state() == HealthState::Ejected;
        let next = (now + TRIAL_WAIT).as_ns();
        let is_ours = || self.ejected_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok();
        let taken = is_due && is_ours();
        if taken {
            self.trial.store(true, Relaxed);
            self.version.change();
        }
        taken
    }
}

/// How long the outcome of a trial is waited for before another request tries.
const TRIAL_WAIT: Duration = Duration::from_secs(5);
/// Clusters up to this many hosts don't panic while one is well.
const SMALL: usize = 2;
/// Below this many of a hundred that are well, all are tried: the others would fall, too.
const PANIC_PERCENT: usize = 30;
