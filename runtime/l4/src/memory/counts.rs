//! Counters of one lane: it adds to them, and any thread may read them meanwhile.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use super::Limits;
use crate::value::Counters;
use crate::{CAUSE_COUNT, Count, Subject};

/// Counters of VIPs and backends, written by one thread.
pub struct Counts {
    vips: Box<[Row]>,
    backends: Box<[Row]>,
}

/// [`Counters`] that can be read while they are written.
#[derive(Default)]
struct Row {
    packets: AtomicU64,
    bytes: AtomicU64,
    return_packets: AtomicU64,
    return_bytes: AtomicU64,
    causes: [AtomicU64; CAUSE_COUNT],
}

impl Counts {
    pub(super) fn new(limits: &Limits) -> Self {
        Counts {
            vips: (0..=limits.vips_max).map(|_| Row::default()).collect(),
            backends: (0..limits.backends_max).map(|_| Row::default()).collect(),
        }
    }

    /// The counts so far; nothing when there is no such VIP or backend.
    pub fn of(&self, subject: Subject) -> Option<Counters> {
        let row = self.row(subject)?;
        Some(Counters {
            packets: row.packets.load(Relaxed),
            bytes: row.bytes.load(Relaxed),
            return_packets: row.return_packets.load(Relaxed),
            return_bytes: row.return_bytes.load(Relaxed),
            causes: core::array::from_fn(|at| row.causes[at].load(Relaxed)),
        })
    }

    pub(super) fn add(&self, subject: Subject, count: Count) {
        let Some(row) = self.row(subject) else { return };
        match count {
            Count::Forward(bytes) => {
                add(&row.packets, 1);
                add(&row.bytes, bytes);
            }
            Count::Return(bytes) => {
                add(&row.return_packets, 1);
                add(&row.return_bytes, bytes);
            }
            Count::Cause(cause) => add(&row.causes[cause as usize], 1),
        }
    }

    fn row(&self, subject: Subject) -> Option<&Row> {
        match subject {
            Subject::Vip(number) => self.vips.get(usize::from(number)),
            Subject::Backend(index) => self.backends.get(index as usize),
        }
    }
}

/// There is one writer: nothing is lost between the load and the store, and no bus is locked.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}
