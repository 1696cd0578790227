//! What all shards know of an endpoint: requests in flight, latency, totals.
//!
//! The one place where shards share: a pick must see the whole appliance, or every shard's least
//! loaded endpoint would be another's busiest. Counts are exact: an [`InFlight`] takes back what
//! it added however it ends. Latency may lose a sample when two shards finish at once; it is a
//! mean of hundreds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_env::Time;

use crate::health::{EndpointHealth, Version};

/// The load of one endpoint, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointLoad {
    in_flight: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    latency: AtomicU64,
    health: EndpointHealth,
    /// Counted only where an algorithm asks for it: a line that all endpoints' requests share.
    cluster: Option<Arc<ClusterLoad>>,
}

/// The requests in flight of all endpoints of a cluster.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ClusterLoad {
    in_flight: AtomicU32,
}

impl ClusterLoad {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

/// An endpoint's load as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReading {
    /// Requests begun and not ended.
    pub in_flight: u32,
    /// Requests begun, ever.
    pub requests: u64,
    /// Requests that ended by [`crate::Balancer::fail`].
    pub failures: u64,
    /// The mean latency of late; `None` before the first finished request.
    pub latency: Option<Duration>,
}

impl EndpointLoad {
    pub(crate) fn new(cluster: Option<Arc<ClusterLoad>>, version: Arc<Version>) -> Self {
        EndpointLoad { cluster, health: EndpointHealth::new(version), ..EndpointLoad::default() }
    }

    /// Whether it is well.
    pub fn health(&self) -> &EndpointHealth {
        &self.health
    }

    pub(crate) fn counts_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Counts a request as in flight until the guard is finished, failed or dropped.
    #[inline]
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        if let Some(cluster) = &self.cluster {
            cluster.in_flight.fetch_add(1, Relaxed);
        }
        let ejection = self.health.ejection();
        let tries = ejection != 0 && self.health.begin_trial();
        InFlight { load: Arc::clone(self), ejection, tries }
    }

    /// Requests begun and not ended, on all shards.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Everything, for showing.
    pub fn read(&self) -> LoadReading {
        let latency = Latency::unpack(self.latency.load(Relaxed));
        LoadReading {
            in_flight: self.in_flight(),
            requests: self.requests.load(Relaxed),
            failures: self.failures.load(Relaxed),
            latency: latency.map(|latency| Duration::from_secs_f32(latency.mean_us / 1e6)),
        }
    }

    /// The mean latency in microseconds, halved for every [`HALF_LIFE_MS`] that it was not
    /// renewed, so that an endpoint that was once slow is tried again; `None` when unknown.
    #[inline]
    pub(crate) fn latency_us(&self, now: Time) -> Option<f32> {
        let latency = Latency::unpack(self.latency.load(Relaxed))?;
        Some(latency.mean_us * half_life_factor(ms(now).wrapping_sub(latency.at_ms)))
    }

    fn sample(&self, sample: Duration, now: Time) {
        let now_ms = ms(now);
        let sample_us = (sample.as_nanos() as f32 / 1e3).max(MEAN_US_MIN);
        let mean_us = match Latency::unpack(self.latency.load(Relaxed)) {
            None => sample_us,
            Some(Latency { at_ms, mean_us }) => {
                // The share of what is new grows with the time since the last sample (half of
                // it after a half-life), and is at least 1/256 where samples come in swarms.
                let share = 1.0 - half_life_factor(now_ms.wrapping_sub(at_ms));
                mean_us + (sample_us - mean_us) * share.max(1.0 / 256.0)
            }
        };
        self.latency.store(Latency { at_ms: now_ms, mean_us }.pack(), Relaxed);
    }
}

/// A request in flight. However it ends, the count goes down once.
#[derive(Debug)]
#[must_use = "dropping it ends the request"]
pub struct InFlight {
    load: Arc<EndpointLoad>,
    /// Which ejection its endpoint was under when it began; 0 for none.
    ejection: u64,
    /// The endpoint is tried by it.
    tries: bool,
}

impl InFlight {
    /// Ends a request that was answered after `latency`.
    #[inline]
    pub fn finish(self, latency: Duration, now: Time) {
        self.answered(latency, now);
    }

    /// It was answered after `latency`, and goes on from here.
    #[inline]
    pub fn answered(&self, latency: Duration, now: Time) {
        self.load.sample(latency, now);
        self.load.health.succeed(self.ejection, now);
    }

    /// The endpoint can be connected to, which is all that is asked of it, or goes on from here.
    #[inline]
    pub fn connected(&self, now: Time) {
        self.load.health.succeed(self.ejection, now);
    }

    /// Which ejection its endpoint is tried under by it; none where it is not.
    pub(crate) fn trial_of(&self) -> Option<u64> {
        self.tries.then_some(self.ejection)
    }

    /// Ends a request that the endpoint failed, which ejects nobody. Its latency says nothing:
    /// refusing is fast.
    #[inline]
    pub fn fail(self) {
        self.load.failures.fetch_add(1, Relaxed);
    }
}

/// A request that was given up (a downstream gone, a timeout of ours) ends here too.
impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        let before = self.load.in_flight.fetch_sub(1, Relaxed);
        assert!(before > 0, "more requests ended than began");
        if let Some(cluster) = &self.load.cluster {
            cluster.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

/// A mean and its age, in one word so that they are read and written together.
#[derive(Clone, Copy)]
struct Latency {
    /// Milliseconds of the environment's clock, which wrap after 49 days.
    at_ms: u32,
    mean_us: f32,
}

impl Latency {
    fn pack(self) -> u64 {
        u64::from(self.at_ms) << 32 | u64::from(self.mean_us.to_bits())
    }

    fn unpack(word: u64) -> Option<Latency> {
        // A mean is never 0 (see `MEAN_US_MIN`): zeros are the word nobody wrote.
        let mean_us = f32::from_bits(word as u32);
        (mean_us > 0.0).then_some(Latency { at_ms: (word >> 32) as u32, mean_us })
    }
}

fn ms(now: Time) -> u32 {
    (now.as_ns() / 1_000_000) as u32
}

/// About 2^-(elapsed / half-life): exact at whole half-lives, on a straight line between them.
fn half_life_factor(elapsed_ms: u32) -> f32 {
    let (halvings, rest) = (elapsed_ms / HALF_LIFE_MS, elapsed_ms % HALF_LIFE_MS);
    // A float's exponent is biased by 127; from 2^-126 on there is nothing left to halve.
    let power = f32::from_bits((127 - halvings.min(126)) << 23);
    power * (1.0 - rest as f32 / (2 * HALF_LIFE_MS) as f32)
}

/// An endpoint 100 times slower than another is tried again after 33 s.
const HALF_LIFE_MS: u32 = 5_000;

/// No latency is shorter than a nanosecond.
const MEAN_US_MIN: f32 = 1e-3;
