//! One shard's cells of one instance: written by that shard alone, read by anyone.
//!
//! A single writer needs no read-modify-write: a relaxed load, an addition and a relaxed store
//! are what the compiler makes of a plain variable. Should two threads ever write one block,
//! counts get lost and nothing worse.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::{BUCKETS, Histogram, bucket_index};
use super::schema::{CounterId, GaugeId, HistogramId};

/// Cells that no other shard's cells share a cache line with.
///
/// Ids must come from the schema that the block was made for; any other id counts in the wrong
/// place, or panics where there is no such place.
#[derive(Debug)]
pub struct Block {
    lines: Box<[Line]>,
}

/// Two cache lines: the prefetcher of x86 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; CELLS]);

/// Cells of 8 bytes in a line of 128.
const CELLS: usize = 16;

impl Block {
    /// A block of `cell_count` zeros.
    pub(crate) fn new(cell_count: u32) -> Self {
        let count = (cell_count as usize).div_ceil(CELLS);
        Block { lines: (0..count).map(|_| Line::default()).collect() }
    }

    /// Adds one. Only the shard that owns the block may write it.
    #[inline]
    pub fn increment(&self, id: CounterId) {
        self.add(id, 1);
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, id: CounterId, count: u64) {
        self.change(id.0 as usize, count);
    }

    /// Moves a gauge by `by`, up or down.
    #[inline]
    pub fn shift(&self, id: GaugeId, by: i64) {
        // Two's complement: adding the bits of -1 takes one away.
        self.change(id.0 as usize, by as u64);
    }

    /// Sets a gauge's share of this shard.
    #[inline]
    pub fn set(&self, id: GaugeId, value: i64) {
        self.cell(id.0 as usize).store(value as u64, Relaxed);
    }

    /// Counts `value` (whole microseconds where the unit is time).
    #[inline]
    pub fn record(&self, id: HistogramId, value: u64) {
        let first = id.0 as usize;
        self.change(first + bucket_index(value), 1);
        self.change(first + BUCKETS, value);
    }

    /// What a counter stands at.
    pub fn counter(&self, id: CounterId) -> u64 {
        self.value(id.0)
    }

    /// What a gauge stands at on this shard.
    pub fn gauge(&self, id: GaugeId) -> i64 {
        self.value(id.0) as i64
    }

    /// The value of the cell at `index`.
    pub(crate) fn value(&self, index: u32) -> u64 {
        self.cell(index as usize).load(Relaxed)
    }

    /// Adds a histogram's cells to `sum`.
    pub(crate) fn merge_into(&self, id: HistogramId, sum: &mut Histogram) {
        let first = id.0;
        sum.merge_cells((first..=first + BUCKETS as u32).map(|index| self.value(index)));
    }

    #[inline]
    fn change(&self, index: usize, by: u64) {
        let cell = self.cell(index);
        cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
    }

    #[inline]
    fn cell(&self, index: usize) -> &AtomicU64 {
        &self.lines[index / CELLS].0[index % CELLS]
    }
}
