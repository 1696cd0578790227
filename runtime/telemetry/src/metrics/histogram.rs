//! Log-linear histograms: sixteen equal buckets per power of two, over whole numbers.
//!
//! 0 to 15 have a bucket each; from 16 on, a power of two is cut into sixteen, so a bucket is
//! never wider than 1/16 of the values in it, and its middle never off by more than 1/32 (3.2 %).
//! The last power is 2^29: the range ends at 2^30 (1,074 s in microseconds, 1 GiB in bytes),
//! and what is larger counts in the last bucket. The scheme is HdrHistogram's (Tene, 2012) at
//! its coarsest useful precision: 432 buckets, 3.4 KiB.

use std::ops::Range;

/// Buckets per power of two, as a power of two.
const LINEAR_BITS: u32 = 4;
/// Buckets per power of two.
const LINEAR: usize = 1 << LINEAR_BITS;
/// Values from 2^30 on are counted in the last bucket.
const RANGE_BITS: u32 = 30;

/// Buckets in all: 16 for the numbers below 16, then 16 for each power from 2^4 to 2^29.
pub(crate) const BUCKETS: usize = LINEAR + (RANGE_BITS - LINEAR_BITS) as usize * LINEAR;

/// The bucket that counts `value`.
#[inline]
pub(crate) fn bucket_index(value: u64) -> usize {
    if value < LINEAR as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    if power >= RANGE_BITS {
        return BUCKETS - 1;
    }
    let shift = power - LINEAR_BITS;
    // The top five bits are 16..=31: the leading one says which power, the rest which bucket.
    (shift as usize + 1) * LINEAR + ((value >> shift) as usize - LINEAR)
}

/// The values that `bucket` counts (the last one also counts everything above its range).
pub(crate) fn bucket_range(bucket: usize) -> Range<u64> {
    if bucket < LINEAR {
        return bucket as u64..bucket as u64 + 1;
    }
    let shift = bucket / LINEAR - 1;
    let first = ((LINEAR + bucket % LINEAR) as u64) << shift;
    first..first + (1 << shift)
}

/// A histogram that was read: sums over shards, differences over time, quantiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; BUCKETS], sum: 0 }
    }
}

impl Histogram {
    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_index(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the values, exact.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The value that a share `q` (0.0 to 1.0) of all values does not exceed, off by at most
    /// 3.2 %; 0 when nothing was counted.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let range = bucket_range(bucket);
                return range.start + (range.end - range.start) / 2;
            }
        }
        0
    }

    /// How many values are certain to be at most `bound`: those in buckets that end there or
    /// below. A bound inside a bucket leaves that bucket out, so a count never flatters.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        let whole = match bound.checked_add(1) {
            Some(end) if end < 1 << RANGE_BITS => bucket_index(end),
            _ => BUCKETS - 1,
        };
        self.buckets[..whole].iter().sum()
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to += from;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted since `earlier`, an older reading of the same histogram.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Histogram {
            buckets: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// Adds cells as a [`crate::metrics::Block`] keeps them: the buckets, then the sum.
    pub(crate) fn merge_cells(&mut self, mut cells: impl Iterator<Item = u64>) {
        for bucket in &mut self.buckets {
            *bucket += cells.next().unwrap_or(0);
        }
        self.sum = self.sum.wrapping_add(cells.next().unwrap_or(0));
    }
}
