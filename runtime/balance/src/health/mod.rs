//! Who is well: what checks and requests say of each endpoint, and who is picked by it.
//!
//! Verdicts hang on the endpoints, are kept over reloads and shared by all shards. Three sources
//! have one each: checks (`probe` has their thresholds), the outcomes of requests, by which
//! `outlier` ejects an endpoint for a while, and the endpoint, which may ask for a `rest`. A shard
//! keeps a `view` of them, made anew whenever anything changed, so that a pick sees one state
//! throughout.

mod outlier;
mod probe;
mod rest;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use penstock_env::Time;

pub use outlier::Fault;
pub use probe::Probe;
pub use view::View;

/// The verdicts on one endpoint.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointHealth {
    /// Checks say that it is down.
    down: AtomicBool,
    /// Until when it is ejected, in nanoseconds; 0 if it is not. Then it waits for a request that
    /// tries it.
    ejected_until: AtomicU64,
    /// Until when it wants no requests, in nanoseconds; 0 if it does. Then the next pick ends it.
    rests_until: AtomicU64,
    /// The next request that begins is the one that tries it.
    trial: AtomicBool,
    /// It would be ejected, could others have its requests.
    failing: AtomicBool,
    /// Ejections, each soon after the one before.
    in_a_row: AtomicU32,
    readmitted_at: AtomicU64,
    ejections: AtomicU64,
    connect_errors: AtomicU32,
    bad_answers: AtomicU32,
    rate: outlier::Rate,
    version: Arc<Version>,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Requests are welcome.
    Up,
    /// It fails requests, and gets them all the same: nobody is there who could have them instead.
    Failing,
    /// Checks found it down.
    Down,
    /// It failed requests, and gets none for now.
    Ejected,
    /// It asked for a pause, and has it.
    Resting,
}

impl HealthState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            HealthState::Up => "up",
            HealthState::Failing => "failing",
            HealthState::Down => "down",
            HealthState::Ejected => "ejected",
            HealthState::Resting => "resting",
        }
    }
}

impl HealthState {
    /// Whether it gets requests while others are well.
    pub fn is_picked(self) -> bool {
        matches!(self, HealthState::Up | HealthState::Failing)
    }
}

impl EndpointHealth {
    pub(crate) fn new(version: Arc<Version>) -> EndpointHealth {
        EndpointHealth { version, ..EndpointHealth::default() }
    }

    /// What is known of it.
    pub fn state(&self) -> HealthState {
        match (self.down.load(Relaxed), self.is_ejected()) {
            (true, _) => HealthState::Down,
            (false, true) => HealthState::Ejected,
            (false, false) if self.rests_until.load(Relaxed) != 0 => HealthState::Resting,
            (false, false) if self.failing.load(Relaxed) => HealthState::Failing,
            (false, false) => HealthState::Up,
        }
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Takes the verdict of checks.
    pub fn set_probed(&self, up: bool) {
        if self.down.swap(!up, Relaxed) == up {
            self.version.change();
        }
    }

    /// Whether it gets no requests until one has tried it.
    #[inline]
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Relaxed) != 0
    }

    /// Which ejection it is under; 0 if it is under none.
    #[inline]
    pub(crate) fn ejection(&self) -> u64 {
        if self.is_ejected() { self.ejections() } else { 0 }
    }

    /// A request begins while it is ejected: whether that is the one that tries it. Others come,
    /// too: those that all who are well have failed, and everybody's where too few are well.
    #[cold]
    pub(crate) fn begin_trial(&self) -> bool {
        self.trial.swap(false, Relaxed)
    }

    /// A request ended well that began under this ejection, which readmits the endpoint; or under
    /// none.
    #[inline]
    pub(crate) fn succeed(&self, ejection: u64, now: Time) {
        // In the common case nothing is written, and the line stays with all shards.
        for count in [&self.connect_errors, &self.bad_answers] {
            if count.load(Relaxed) != 0 {
                count.store(0, Relaxed);
            }
        }
        if self.failing.load(Relaxed) {
            self.failing.store(false, Relaxed);
        }
        let tried = ejection != 0 && ejection == self.ejection();
        if tried && self.ejected_until.swap(0, Relaxed) != 0 {
            self.readmitted_at.store(now.as_ns(), Relaxed);
            self.version.change();
        }
    }
}

/// Goes up with every change of a verdict on an endpoint of a cluster.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Version(AtomicU64);

impl Version {
    fn change(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    #[inline]
    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests;
