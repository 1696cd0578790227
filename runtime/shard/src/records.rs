//! Records from a shard to one reading thread: a single-producer ring of plain values.
//!
//! A push is a copy and two loads. It costs a system call only when the reader has nothing to
//! do: one that reads rests a few milliseconds in between, so that it is woken by hundreds of
//! records at a time, not by each. Not for messages to a shard: that is the mailbox.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::Duration;

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

/// How long the reader lets records gather. At 100,000 a second and shard these are 500.
const REST: Duration = Duration::from_millis(5);
/// How long it sleeps when there is nothing: a wake-up lost in a race comes this late.
const SLEEP: Duration = Duration::from_secs(1);
/// A sender looks this often whether its ring runs full while the reader rests.
const LOOK_EVERY: u32 = 64;

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
    /// Waits for records, on the reading thread: a short rest after records were `found`, else
    /// until some arrive, [`Bell::ring`] is called or a second is over.
    pub fn wait(&self, found: bool) {
        if self.reader.set(thread::current()).is_ok() {
            // The first time somebody may have rung for a thread that was not known yet.
            return;
        }
        let (state, time) = if found { (RESTING, REST) } else { (SLEEPING, SLEEP) };
        self.state.store(state, Relaxed);
        thread::park_timeout(time);
        self.state.store(READING, Relaxed);
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
}

/// The reading thread's end of a ring.
pub struct RecordReader<T> {
    ring: HeapCons<T>,
}

/// A ring of `capacity` records to the reader that `bell` wakes.
pub fn records<T: Copy + Send>(
    capacity: usize,
    bell: &Arc<Bell>,
) -> (RecordSender<T>, RecordReader<T>) {
    let (producer, consumer) = HeapRb::new(capacity).split();
    let sender = RecordSender { ring: producer, bell: Arc::clone(bell), pushes: 0 };
    (sender, RecordReader { ring: consumer })
}

impl<T: Copy> RecordSender<T> {
    /// Takes a copy of `record`; false when there was no room.
    #[inline]
    pub fn push(&mut self, record: &T) -> bool {
        let pushed = self.ring.try_push(*record).is_ok();
        self.pushes = self.pushes.wrapping_add(1);
        let wanted = match self.bell.state.load(Relaxed) {
            SLEEPING => true,
            RESTING if self.pushes.is_multiple_of(LOOK_EVERY) => {
                self.ring.vacant_len() < self.ring.occupied_len()
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
    /// The next record.
    pub fn take(&mut self) -> Option<T> {
        self.ring.try_pop()
    }

    /// Whether the sender is gone; what it sent can still be taken.
    pub fn is_orphaned(&self) -> bool {
        !self.ring.write_is_held()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::{Bell, records};

    #[test]
    fn a_full_ring_refuses_and_goes_on_when_it_was_read() {
        let (mut sender, mut reader) = records(2, &Arc::default());
        assert_eq!((sender.push(&1), sender.push(&2), sender.push(&3)), (true, true, false));
        assert_eq!(reader.take(), Some(1));
        assert!(sender.push(&4));
        assert!(!reader.is_orphaned());
        drop(sender);
        assert_eq!((reader.take(), reader.take(), reader.take()), (Some(2), Some(4), None));
        assert!(reader.is_orphaned());
    }

    #[test]
    fn every_record_arrives_whether_the_reader_sleeps_or_not() {
        const COUNT: u64 = 100_000;
        let bell = Arc::new(Bell::default());
        let (mut sender, mut reader) = records(256, &bell);
        let reading = thread::spawn(move || {
            let (mut sum, mut count) = (0, 0);
            while count < COUNT {
                let before = count;
                while let Some(record) = reader.take() {
                    sum += record;
                    count += 1;
                }
                bell.wait(count > before);
            }
            sum
        });
        for number in 0..COUNT {
            while !sender.push(&number) {
                thread::yield_now();
            }
        }
        assert_eq!(reading.join().expect("read"), COUNT * (COUNT - 1) / 2);
    }
}
