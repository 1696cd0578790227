//! A new version of a filter beside the one of before: who gets it, and when it is taken back.
//!
//! A trial is shared by all shards. Each counts in cells of its own; the one on which a failure is
//! one too many sets the verdict, and the others see it at their next request.

mod install;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use penstock_env::Time;

use crate::filter::Filter;
use crate::metrics::Cell;
pub use install::{Code, Wanted};

/// What a Snapshot carries of a filter: the version that its config names, and while another is
/// beside it, their trial.
#[derive(Clone, Debug)]
pub struct Installed {
    filter: Arc<Filter>,
    trial: Option<Arc<Trial>>,
}

impl From<Arc<Filter>> for Installed {
    fn from(filter: Arc<Filter>) -> Installed {
        Installed { filter, trial: None }
    }
}

impl Installed {
    pub(crate) fn on_trial(filter: Arc<Filter>, trial: Arc<Trial>) -> Installed {
        Installed { filter, trial: Some(trial) }
    }

    /// The version that the config names as the filter's own.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// Two versions beside each other, or what became of them.
    pub fn trial(&self) -> Option<&Arc<Trial>> {
        self.trial.as_ref()
    }

    /// The version that has proved itself: where requests go if the other is taken back.
    pub fn stable(&self) -> &Arc<Filter> {
        match &self.trial {
            Some(trial) if trial.stage() != Stage::Passed => &trial.stable,
            Some(trial) => &trial.candidate,
            None => &self.filter,
        }
    }

    /// The version that requests get, or most of them.
    pub fn in_use(&self) -> &Arc<Filter> {
        match self.candidate() {
            Some(trial) if trial.kind != TrialKind::Canary => &trial.candidate,
            _ => self.stable(),
        }
    }

    /// The version that is still to prove itself, while requests go to it.
    pub(crate) fn candidate(&self) -> Option<&Arc<Trial>> {
        self.trial.as_ref().filter(|trial| trial.stage() == Stage::Running)
    }
}

/// When a version is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// At least so many failures, 0 for never ...
    pub failures_min: u32,
    /// ... which are at least so many in 10,000 of the requests that it got ...
    pub rate: u32,
    /// ... within this time.
    pub window: Duration,
    /// How long a version is watched that replaced another; a canary always is.
    pub probation: Duration,
}

impl Default for Rollback {
    fn default() -> Rollback {
        Rollback {
            failures_min: 5,
            rate: WHOLE / 100,
            window: Duration::from_secs(60),
            probation: Duration::from_secs(600),
        }
    }
}

/// How a version came to be on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// It gets a share of the requests, for as long as the config says so.
    Canary,
    /// A reload put it in the other's place.
    Swap,
    /// A reload did, after it was the canary.
    Promotion,
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The candidate gets its share.
    Running,
    /// It failed, and gets nothing any more.
    TakenBack,
    /// It held out, and gets everything.
    Passed,
}

/// Two versions of a filter, one of which is to prove itself.
#[derive(Debug)]
pub struct Trial {
    /// The one of before.
    pub stable: Arc<Filter>,
    /// The new one.
    pub candidate: Arc<Filter>,
    /// How that came to be.
    pub kind: TrialKind,
    /// Of 10,000 requests, how many the candidate gets.
    pub share: u32,
    /// When it is taken back.
    pub rollback: Rollback,
    stage: AtomicU8,
    /// When the probation ends, in nanoseconds of the shards' clock; 0 before the first request.
    ends_ns: AtomicU64,
    shards: Box<[ShardTrial]>,
}

/// Which of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one of before.
    Stable,
    /// The new one.
    Candidate,
}

/// What one shard counts.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardTrial {
    requests: [Cell; 2],
    failures: [Cell; 2],
    slices: [Slice; SLICES],
}

/// What became of the candidate in an eighth of the window.
#[derive(Debug, Default)]
struct Slice {
    /// Which of all since the clock's zero, plus one.
    number: Cell,
    requests: Cell,
    failures: Cell,
}

impl Trial {
    pub(crate) fn new(
        (stable, candidate): (&Arc<Filter>, &Arc<Filter>),
        kind: TrialKind,
        share: u32,
        rollback: Rollback,
        shards: usize,
    ) -> Trial {
        Trial {
            stable: Arc::clone(stable),
            candidate: Arc::clone(candidate),
            kind,
            share,
            rollback,
            stage: AtomicU8::new(Stage::Running as u8),
            ends_ns: AtomicU64::new(0),
            shards: (0..shards).map(|_| ShardTrial::default()).collect(),
        }
    }

    /// One of the two.
    pub fn version(&self, role: Role) -> &Arc<Filter> {
        match role {
            Role::Stable => &self.stable,
            Role::Candidate => &self.candidate,
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Running,
            1 => Stage::TakenBack,
            _ => Stage::Passed,
        }
    }

    /// Requests that a version got since the trial began.
    pub fn requests(&self, role: Role) -> u64 {
        self.shards.iter().map(|shard| shard.requests[role as usize].value()).sum()
    }

    /// How often a version failed since then: on requests, and by itself.
    pub fn failures(&self, role: Role) -> u64 {
        self.shards.iter().map(|shard| shard.failures[role as usize].value()).sum()
    }

    /// Of 10,000 requests, how many a version gets now.
    pub fn share_of(&self, role: Role) -> u32 {
        let candidate = match self.stage() {
            Stage::Running => self.share,
            Stage::TakenBack => 0,
            Stage::Passed => WHOLE,
        };
        match role {
            Role::Stable => WHOLE - candidate,
            Role::Candidate => candidate,
        }
    }

    /// The version for a request on this shard; `None` when the trial is over. `random` decides.
    pub(crate) fn choose(
        &self,
        shard: usize,
        now: Time,
        random: impl FnOnce() -> u64,
    ) -> Option<Role> {
        if self.stage() != Stage::Running || self.is_over(now) {
            return None;
        }
        let mine = &self.shards[shard];
        // 2^64 is no multiple of 10,000: off by less than one in 10^15.
        let falls_in = || random() % u64::from(WHOLE) < u64::from(self.share);
        let role = match self.share == WHOLE || falls_in() {
            true => Role::Candidate,
            false => Role::Stable,
        };
        mine.requests[role as usize].add(1);
        if role == Role::Candidate {
            mine.slice(self.slice_at(now)).requests.add(1);
        }
        Some(role)
    }

    /// Takes note that a version failed on this shard; true when that took it back.
    pub(crate) fn failed(&self, filter: &Arc<Filter>, shard: usize, now: Time) -> bool {
        let mine = &self.shards[shard];
        if Arc::ptr_eq(filter, &self.stable) {
            mine.failures[Role::Stable as usize].add(1);
            return false;
        }
        mine.failures[Role::Candidate as usize].add(1);
        let at = self.slice_at(now);
        mine.slice(at).failures.add(1);
        let (requests, failures) = self.window(at);
        let rollback = &self.rollback;
        let enough = rollback.failures_min > 0 && failures >= u64::from(rollback.failures_min);
        let often = failures * u64::from(WHOLE) >= requests * u64::from(rollback.rate);
        enough && often && self.end(Stage::TakenBack)
    }

    /// The candidate's requests and failures of the window that ends with this slice. Other shards
    /// may be at work on theirs: what is missed is a request or two.
    pub(crate) fn window(&self, last: u64) -> (u64, u64) {
        let all = self.shards.iter().flat_map(|shard| &shard.slices);
        let within = all.filter(|slice| slice.number.value() + (SLICES as u64) > last);
        within.fold((0, 0), |(requests, failures), slice| {
            (requests + slice.requests.value(), failures + slice.failures.value())
        })
    }

    /// The number of the slice that this time is in.
    pub(crate) fn slice_at(&self, now: Time) -> u64 {
        let slice_ns = self.rollback.window.as_nanos() as u64 / SLICES as u64;
        now.as_ns() / slice_ns.max(1) + 1
    }

    /// Whether the probation is over; it begins with the first request.
    fn is_over(&self, now: Time) -> bool {
        if self.kind == TrialKind::Canary {
            return false;
        }
        match self.ends_ns.load(Ordering::Relaxed) {
            0 => {
                let ends = (now + self.rollback.probation).as_ns();
                // Another shard may have been first, with about the same.
                let _ =
                    self.ends_ns.compare_exchange(0, ends, Ordering::Relaxed, Ordering::Relaxed);
                false
            }
            ends if now.as_ns() < ends => false,
            _ => {
                self.end(Stage::Passed);
                true
            }
        }
    }

    /// Ends it, unless it has ended: whether this did.
    fn end(&self, stage: Stage) -> bool {
        let running = Stage::Running as u8;
        let (stage, relaxed) = (stage as u8, Ordering::Relaxed);
        self.stage.compare_exchange(running, stage, relaxed, relaxed).is_ok()
    }
}

impl ShardTrial {
    fn slice(&self, number: u64) -> &Slice {
        let slice = &self.slices[number as usize % SLICES];
        if slice.number.value() != number {
            slice.requests.set(0);
            slice.failures.set(0);
            slice.number.set(number);
        }
        slice
    }
}

/// All requests.
pub(crate) const WHOLE: u32 = 10_000;
/// What a window moves on by is this part of it.
const SLICES: usize = 8;
