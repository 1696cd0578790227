//! Records from a shard to one reading thread: a single-producer ring of plain values.
//!
//! A record is filled in where it lies in the ring, over one of the past. It costs a system call
//! only when the reader had nothing to do, or when hundreds have gathered: one that reads rests
//! in between, so that it is not woken by each. Not for messages to a shard: that is the mailbox.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::Duration;

use ringbuf::traits::{Consumer, Observer, Producer, Raw, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

/// How long the reader lets records gather, unless there are [`GATHERED`] of them before.
const REST: Duration = Duration::from_millis(100);
/// So many in one ring end the reader's rest: 8.5 ms at 60,000 a second. With more, waking it
/// would hardly cost a record less, but the first of them leave the caches before they are read.
const GATHERED: usize = 512;
/// How long it sleeps when there is nothing.
const SLEEP: Duration = Duration::from_secs(1);
/// A sender looks this often how many have gathered while the reader rests.
const LOOK_EVERY: u32 = 64;

/// Room is given back to a sender after this many records were read.
const BATCH: usize = 64;

const READING: u8 = 0;
const RESTING: u8 = 1;
const SLEEPING: u8 = 2;

/// Wakes the thread that reads records; one for all of its rings.
#[derive(Debug, Default)]
pub struct Bell {
    state: AtomicU8,
    reader: OnceLock<Thread>,
}

impl Bell {
    /// Waits for records, on the reading thread: a rest of at most 100 ms after records were
    /// `found`, else until some arrive; [`Bell::ring`] ends either, and so does a second.
    pub fn wait(&self, found: bool) {
        if self.reader.set(thread::current()).is_ok() {
            // The first time somebody may have rung for a thread that was not known yet.
            return;
        }
        if found {
            self.state.store(RESTING, Relaxed);
            thread::park_timeout(REST);
            self.state.store(READING, Relaxed);
            return;
        }
        // A sender may not see yet that the reader falls asleep, nor the reader its record. So the
        // first sleep is short; and it goes on as one, without a moment in which nobody rings.
        let asleep = self.state.swap(SLEEPING, Relaxed) == SLEEPING;
        thread::park_timeout(if asleep { SLEEP } else { REST });
    }

    /// Wakes the reader.
    pub fn ring(&self) {
        self.state.store(READING, Relaxed);
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

/// The shard's end of a ring.
pub struct RecordSender<T> {
    ring: HeapProd<T>,
    bell: Arc<Bell>,
    pushes: u32,
    /// So many in the ring end the reader's rest.
    gathered: usize,
}

/// The reading thread's end of a ring.
pub struct RecordReader<T> {
    ring: HeapCons<T>,
}

/// A ring of `capacity` records to the reader that `bell` wakes. Its memory is written once here,
/// with `empty`.
pub fn records<T: Copy + Send>(
    capacity: usize,
    empty: T,
    bell: &Arc<Bell>,
) -> (RecordSender<T>, RecordReader<T>) {
    let (mut producer, mut consumer) = HeapRb::new(capacity).split();
    producer.push_iter(std::iter::repeat_n(empty, capacity));
    consumer.skip(capacity);
    let gathered = GATHERED.min(capacity.div_ceil(2));
    let sender = RecordSender { ring: producer, bell: Arc::clone(bell), pushes: 0, gathered };
    (sender, RecordReader { ring: consumer })
}

impl<T: Copy> RecordSender<T> {
    /// Lets `fill` write a record in the ring, over one of the past or the empty one; false, and
    /// `fill` is not called, when there was no room.
    #[inline]
    pub fn push(&mut self, fill: impl FnOnce(&mut T)) -> bool {
        let pushed = match self.ring.vacant_slices_mut().0.first_mut() {
            None => false,
            Some(slot) => {
                // SAFETY: `records` wrote every slot of the ring once. What was taken from it
                // since was copied or borrowed, never moved out: `T` is `Copy`.
                fill(unsafe { slot.assume_init_mut() });
                // SAFETY: the first vacant slot holds a record, and the borrow of it has ended.
                unsafe { self.ring.advance_write_index(1) };
                true
            }
        };
        self.pushes = self.pushes.wrapping_add(1);
        let wanted = match self.bell.state.load(Relaxed) {
            SLEEPING => true,
            RESTING if self.pushes.is_multiple_of(LOOK_EVERY) => {
                self.ring.occupied_len() >= self.gathered
            }
            _ => false,
        };
        if wanted {
            self.bell.ring();
        }
        pushed
    }
}

impl<T: Copy> RecordReader<T> {
    /// Shows all records to `each`, where they lie; how many they were.
    pub fn read(&mut self, mut each: impl FnMut(&T)) -> usize {
        let mut count = 0;
        loop {
            let batch = self.ring.as_slices().0;
            // Room is given back on the way: a full ring must not lose what comes meanwhile.
            let batch = &batch[..batch.len().min(BATCH)];
            if batch.is_empty() {
                return count;
            }
            batch.iter().for_each(&mut each);
            count += self.ring.skip(batch.len());
        }
    }

    /// Whether the sender is gone; what it sent can still be read.
    pub fn is_orphaned(&self) -> bool {
        !self.ring.write_is_held()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::{Bell, RecordReader, RecordSender, records};

    fn push<T: Copy>(sender: &mut RecordSender<T>, value: T) -> bool {
        sender.push(|record| *record = value)
    }

    fn all(reader: &mut RecordReader<i32>) -> Vec<i32> {
        let mut all = Vec::new();
        let count = reader.read(|&record| all.push(record));
        assert_eq!(count, all.len());
        all
    }

    #[test]
    fn a_full_ring_refuses_and_goes_on_when_it_was_read() {
        let (mut sender, mut reader) = records(2, 0, &Arc::default());
        assert_eq!(all(&mut reader), [], "the empty record is no record");
        assert!(push(&mut sender, 1) && push(&mut sender, 2));
        assert!(!sender.push(|_| panic!("called without room")));
        assert_eq!(all(&mut reader), [1, 2]);
        assert!(push(&mut sender, 3));
        assert!(!reader.is_orphaned());
        drop(sender);
        assert!(reader.is_orphaned());
        assert_eq!((all(&mut reader), all(&mut reader)), (vec![3], vec![]));
    }

    #[test]
    fn a_record_is_filled_in_over_one_of_the_past() {
        let (mut sender, mut reader) = records(3, [0, 0], &Arc::default());
        for number in 1..=7 {
            assert!(sender.push(|record| record[0] = number));
            assert!(sender.push(|record| record[1] += number));
            assert_eq!(reader.read(|_| ()), 2);
        }
        // The third slot was written by the pushes 3, 6, 9 and 12: [2, 0], [2, 3], [5, 3], [5, 9].
        assert!(sender.push(|_| ()));
        let mut last = [0, 0];
        reader.read(|&record| last = record);
        assert_eq!(last, [5, 9]);
    }

    #[test]
    fn every_record_arrives_whether_the_reader_sleeps_or_not() {
        const COUNT: u64 = 100_000;
        let bell = Arc::new(Bell::default());
        let (mut sender, mut reader) = records(256, 0, &bell);
        let reading = thread::spawn(move || {
            let (mut sum, mut count) = (0, 0);
            while count < COUNT as usize {
                let found = reader.read(|record| sum += record);
                count += found;
                bell.wait(found > 0);
            }
            sum
        });
        for number in 0..COUNT {
            while !push(&mut sender, number) {
                thread::yield_now();
            }
        }
        assert_eq!(reading.join().expect("read"), COUNT * (COUNT - 1) / 2);
    }
}
