//! What each filter costs, and the metrics that filters define themselves.
//!
//! A shard writes its own cells with plain stores; a reader on another thread sums over shards.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::abi::MetricType;
use crate::error::TrapCause;

/// A number that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; for the writing shard alone.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // Not `fetch_add`: with one writer a load and a store are enough, and cost no lock prefix.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets; for the writing shard alone.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A log-linear histogram: four buckets to each power of two, so that a bucket is at most a
/// quarter wider than its lower bound.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Cell; Histogram::BUCKETS],
    sum: Cell,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: [const { Cell(AtomicU64::new(0)) }; Histogram::BUCKETS],
            sum: Cell::default(),
        }
    }
}

impl Histogram {
    /// How many buckets there are: 4 for 0 to 3, then 4 for each power of two up to 2^63.
    pub const BUCKETS: usize = 4 + 62 * 4;

    #[inline]
    pub(crate) fn record(&self, value: u64, times: u64) {
        self.buckets[Histogram::index(value)].add(times);
        self.sum.add(value.wrapping_mul(times));
    }

    /// The bucket that a value falls in.
    #[inline]
    pub fn index(value: u64) -> usize {
        if value < 4 {
            return value as usize;
        }
        let power = 63 - value.leading_zeros() as usize;
        let quarter = (value >> (power - 2)) as usize & 3;
        4 + (power - 2) * 4 + quarter
    }

    /// The least value that falls in a bucket.
    pub fn lower_bound(index: usize) -> u64 {
        match index {
            0..4 => index as u64,
            _ => ((4 + (index & 3)) as u64) << ((index - 4) / 4),
        }
    }

    /// Adds this histogram's counts to `into` and answers the sum of its values.
    pub fn collect(&self, into: &mut [u64; Histogram::BUCKETS]) -> u64 {
        for (total, bucket) in into.iter_mut().zip(&self.buckets) {
            *total += bucket.value();
        }
        self.sum.value()
    }
}

/// Where a filter stands on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum FilterState {
    /// It has not been started yet.
    Idle = 0,
    /// It has an instance and serves.
    Ready = 1,
    /// Its last start failed; the next exchange tries again.
    Failed = 2,
    /// It is switched off after too many failures.
    Disabled = 3,
}

/// What one filter did on one shard.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardStats {
    /// Callbacks that were called.
    pub calls: Cell,
    /// Failures, by [`TrapCause`].
    pub failures: [Cell; FAILURE_KINDS],
    /// Instances that were started.
    pub starts: Cell,
    /// Contexts that are open: exchanges and root contexts.
    pub contexts: Cell,
    /// Bytes of linear memory and tables of the instance in use.
    pub memory_bytes: Cell,
    /// Exchanges that went on without the filter, by its policy.
    pub skipped: Cell,
    /// Exchanges that were answered 503, by its policy.
    pub denied: Cell,
    /// Hostcalls refused by a limit: bytes, callouts, shared data.
    pub limits: Cell,
    /// gRPC calls and streams that were begun.
    pub grpc_calls: Cell,
    /// New versions that failed here once too often, and were taken back.
    pub rollbacks: Cell,
    /// Log lines that were dropped.
    pub log_dropped: Cell,
    /// Nanoseconds per callback; one in [`SAMPLE_EVERY`] is measured and counts as that many.
    pub cpu_ns: Histogram,
    state: Cell,
}

impl ShardStats {
    /// Where the filter stands.
    pub fn state(&self) -> FilterState {
        match self.state.value() {
            1 => FilterState::Ready,
            2 => FilterState::Failed,
            3 => FilterState::Disabled,
            _ => FilterState::Idle,
        }
    }

    pub(crate) fn set_state(&self, state: FilterState) {
        self.state.set(state as u64);
    }

    /// Failures of one kind.
    pub fn failures_of(&self, cause: TrapCause) -> u64 {
        self.failures[cause as usize].value()
    }
}

/// How many kinds of failure [`TrapCause`] tells apart.
pub const FAILURE_KINDS: usize = TrapCause::Fuel as usize + 1;
/// One callback in so many has its time taken: two reads of the thread's clock cost
/// as much as a small callback.
pub const SAMPLE_EVERY: u64 = 64;

/// What one filter did on all shards, and the metrics it defined. Outlives hot swaps.
#[derive(Debug)]
pub struct FilterStats {
    /// The filter's name.
    pub name: Arc<str>,
    /// Of each of two versions that can be beside each other: one for each shard, and one for the
    /// trial starts of the control thread.
    pub shards: Box<[ShardStats]>,
    count: usize,
    /// The filter's own metrics; slots are taken from the front.
    defined: Box<[OnceLock<Defined>]>,
}

/// A metric that a filter defined.
#[derive(Debug)]
pub struct Defined {
    /// The name it gave.
    pub name: Box<[u8]>,
    /// What it counts.
    pub kind: MetricType,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Counter(Box<[PaddedCell]>),
    // Set as often as added to, so there is one for the appliance: the last writer wins.
    Gauge(AtomicI64),
    Histogram(Box<[OnceLock<Box<Histogram>>]>),
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct PaddedCell(Cell);

/// Why a call for a metric is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricError {
    /// No metric has this id.
    NotFound,
    /// The metric can't do that: counters don't go down, histograms have no value.
    Unfit,
    /// There are as many metrics as the host keeps.
    Full,
}

impl FilterStats {
    /// All zero, for this many shards.
    pub fn new(name: &Arc<str>, shards: usize) -> FilterStats {
        FilterStats {
            name: Arc::clone(name),
            shards: (0..VERSIONS * (shards + 1)).map(|_| ShardStats::default()).collect(),
            count: shards,
            defined: (0..METRICS_MAX).map(|_| OnceLock::new()).collect(),
        }
    }

    /// What a version did on the shards.
    pub(crate) fn of_version(&self, version: usize) -> &[ShardStats] {
        &self.shards[self.first_of(version)..][..self.count]
    }

    /// Where a version's cells begin; behind those of shards is that of trial starts.
    pub(crate) fn first_of(&self, version: usize) -> usize {
        version * (self.count + 1)
    }

    /// What both versions did on the shards, trial starts aside.
    pub fn serving(&self) -> impl Iterator<Item = &ShardStats> {
        (0..VERSIONS).flat_map(|version| self.of_version(version))
    }

    /// The metrics that the filter defined, in the order of their ids.
    pub fn defined(&self) -> impl Iterator<Item = &Defined> {
        self.defined.iter().map_while(OnceLock::get)
    }

    /// The id for this name: the same on every shard and after every restart.
    pub(crate) fn define(&self, kind: MetricType, name: &[u8]) -> Result<u32, MetricError> {
        for (index, slot) in self.defined.iter().enumerate() {
            let taken = slot.get_or_init(|| Defined::new(kind, name, self.count + 1));
            if *taken.name == *name {
                return if taken.kind == kind { Ok(index as u32) } else { Err(MetricError::Unfit) };
            }
        }
        Err(MetricError::Full)
    }

    fn find(&self, id: u32) -> Result<&Defined, MetricError> {
        self.defined.get(id as usize).and_then(OnceLock::get).ok_or(MetricError::NotFound)
    }

    pub(crate) fn increment(&self, shard: usize, id: u32, delta: i64) -> Result<(), MetricError> {
        match &self.find(id)?.cells {
            // Envoy refuses an increment by nothing too; filters written for it know.
            Cells::Counter(cells) => match u64::try_from(delta) {
                Ok(more @ 1..) => cells[shard].0.add(more),
                _ => return Err(MetricError::Unfit),
            },
            Cells::Gauge(gauge) => {
                gauge.fetch_add(delta, Ordering::Relaxed);
            }
            Cells::Histogram(_) => return Err(MetricError::Unfit),
        }
        Ok(())
    }

    pub(crate) fn record(&self, shard: usize, id: u32, value: u64) -> Result<(), MetricError> {
        match &self.find(id)?.cells {
            // As in Envoy: a counter takes a record as an increment.
            Cells::Counter(cells) => cells[shard].0.add(value),
            Cells::Gauge(gauge) => gauge.store(value as i64, Ordering::Relaxed),
            Cells::Histogram(shards) => {
                shards[shard].get_or_init(Box::default).record(value, 1);
            }
        }
        Ok(())
    }

    pub(crate) fn value(&self, id: u32) -> Result<u64, MetricError> {
        self.find(id)?.value().ok_or(MetricError::Unfit)
    }
}

impl Defined {
    fn new(kind: MetricType, name: &[u8], shards: usize) -> Defined {
        let cells = match kind {
            MetricType::Counter => {
                Cells::Counter((0..shards).map(|_| PaddedCell::default()).collect())
            }
            MetricType::Gauge => Cells::Gauge(AtomicI64::new(0)),
            MetricType::Histogram => {
                Cells::Histogram((0..shards).map(|_| OnceLock::new()).collect())
            }
        };
        Defined { name: name.into(), kind, cells }
    }

    /// The sum over all shards; `None` for a histogram. A gauge below zero is its two's
    /// complement, which is how the filter wrote it.
    pub fn value(&self) -> Option<u64> {
        match &self.cells {
            Cells::Counter(cells) => Some(cells.iter().map(|cell| cell.0.value()).sum()),
            Cells::Gauge(gauge) => Some(gauge.load(Ordering::Relaxed) as u64),
            Cells::Histogram(_) => None,
        }
    }

    /// Adds the counts of all shards to `into` and answers the sum of the values; `None` when
    /// this is no histogram.
    pub fn collect(&self, into: &mut [u64; Histogram::BUCKETS]) -> Option<u64> {
        match &self.cells {
            Cells::Histogram(shards) => Some(
                shards
                    .iter()
                    .filter_map(OnceLock::get)
                    .fold(0, |sum, shard| sum.wrapping_add(shard.collect(into))),
            ),
            Cells::Counter(_) | Cells::Gauge(_) => None,
        }
    }
}

/// Versions of a filter that serve at once.
const VERSIONS: usize = 2;
/// Metrics that one filter may define.
const METRICS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::{FilterStats, Histogram, MetricError, MetricType};

    #[test]
    fn a_bucket_is_found_by_its_lower_bound() {
        for index in 0..Histogram::BUCKETS {
            let bound = Histogram::lower_bound(index);
            assert_eq!(Histogram::index(bound), index);
            if bound > 0 {
                assert_eq!(Histogram::index(bound - 1), index - 1);
            }
        }
        assert_eq!(Histogram::index(u64::MAX), Histogram::BUCKETS - 1);
    }

    #[test]
    fn ids_are_stable_and_kinds_kept() {
        let stats = FilterStats::new(&"f".into(), 2);
        let counter = stats.define(MetricType::Counter, b"hits").expect("there is room");
        let gauge = stats.define(MetricType::Gauge, b"open").expect("there is room");
        let histogram = stats.define(MetricType::Histogram, b"bytes").expect("there is room");
        assert_eq!(stats.define(MetricType::Counter, b"hits"), Ok(counter));
        assert_eq!(stats.define(MetricType::Gauge, b"hits"), Err(MetricError::Unfit));
        assert_eq!(stats.increment(0, counter, 3), Ok(()));
        assert_eq!(stats.record(1, counter, 4), Ok(()));
        assert_eq!(stats.increment(0, counter, -1), Err(MetricError::Unfit));
        assert_eq!(stats.increment(0, counter, 0), Err(MetricError::Unfit));
        assert_eq!(stats.value(counter), Ok(7));
        assert_eq!(stats.increment(1, gauge, -2), Ok(()));
        assert_eq!(stats.value(gauge), Ok(-2_i64 as u64));
        assert_eq!(stats.record(0, gauge, 9), Ok(()));
        assert_eq!(stats.value(gauge), Ok(9));
        assert_eq!(stats.record(1, histogram, 100), Ok(()));
        assert_eq!(stats.value(histogram), Err(MetricError::Unfit));
        assert_eq!(stats.increment(0, histogram, 1), Err(MetricError::Unfit));
        assert_eq!(stats.value(99), Err(MetricError::NotFound));
        let mut counts = [0; Histogram::BUCKETS];
        let defined = stats.defined().nth(2).expect("the third");
        assert_eq!((defined.collect(&mut counts), counts[Histogram::index(100)]), (Some(100), 1));
    }

    #[test]
    fn there_is_an_end_to_metrics() {
        let stats = FilterStats::new(&"f".into(), 1);
        let name = |index: u32| index.to_le_bytes();
        assert!((0..256).all(|index| stats.define(MetricType::Gauge, &name(index)) == Ok(index)));
        assert_eq!(stats.define(MetricType::Gauge, &name(256)), Err(MetricError::Full));
    }
}
