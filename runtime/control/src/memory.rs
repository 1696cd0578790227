//! Memory that was needed once: where it is much, and the need is over, the kernel gets it back.
//!
//! The allocator keeps what is freed between two pieces that are not, however much it is. Having
//! it look for all of that takes locks that shards may want meanwhile, so it is not done without
//! a reason: when there is far less to do than there was, and else seldom, and ever more seldom
//! where it was in vain.

use std::time::Duration;

use penstock_env::Time;

/// What was seen of the process.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The least that was resident so far.
    lowest_bytes: u64,
    /// The most there was to do since memory was given back last.
    load_max: u64,
    next: Time,
    pause: Duration,
}

impl Memory {
    /// A process at its beginning, with so many bytes resident.
    pub(crate) fn new(resident_bytes: u64) -> Memory {
        let (lowest_bytes, next) = (resident_bytes, Time::default());
        Memory { lowest_bytes, load_max: 0, next, pause: PAUSE_MIN }
    }

    /// Whether memory shall be given back now: so many bytes are resident, and so much is to do.
    pub(crate) fn is_due(&mut self, now: Time, resident_bytes: u64, load: u64) -> bool {
        self.lowest_bytes = self.lowest_bytes.min(resident_bytes);
        self.load_max = self.load_max.max(load);
        let is_much = resident_bytes > self.lowest_bytes + self.lowest_bytes / 4 + SPARE_BYTES;
        let is_over = self.load_max >= LOAD_MIN && load <= self.load_max / 2;
        is_much && (is_over || now >= self.next)
    }

    /// It was, with so much to do; so many bytes were resident before and after.
    pub(crate) fn given_back(&mut self, now: Time, load: u64, before: u64, after: u64) {
        let is_worth_it = before.saturating_sub(after) >= before / 8;
        self.pause = if is_worth_it { PAUSE_MIN } else { (self.pause * 2).min(PAUSE_MAX) };
        self.next = now + self.pause;
        self.load_max = load;
        self.lowest_bytes = self.lowest_bytes.min(after);
    }
}

/// What a process may have beside a quarter of the least it ever had.
const SPARE_BYTES: u64 = 32 << 20;
/// Connections and requests; less than that comes and goes all the time.
const LOAD_MIN: u64 = 64;
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use penstock_env::Time;

    use super::{Memory, PAUSE_MAX, PAUSE_MIN};

    const MIB: u64 = 1 << 20;

    fn at(second: u64) -> Time {
        Time::default() + Duration::from_secs(second)
    }

    #[test]
    fn it_is_given_back_when_the_need_is_over() {
        let mut memory = Memory::new(40 * MIB);
        // Not what is little, however little there is to do.
        assert!(!memory.is_due(at(30), 80 * MIB, 5_000) && !memory.is_due(at(60), 80 * MIB, 0));
        assert!(memory.is_due(at(90), 500 * MIB, 5_000));
        memory.given_back(at(90), 5_000, 500 * MIB, 490 * MIB);
        assert!(!memory.is_due(at(120), 490 * MIB, 5_000));
        // Sooner than it would be otherwise: they are gone.
        assert!(memory.is_due(at(150), 490 * MIB, 10));
        memory.given_back(at(150), 10, 490 * MIB, 50 * MIB);
        assert!(!memory.is_due(at(600), 50 * MIB, 10));
    }

    #[test]
    fn what_is_in_vain_is_done_ever_more_seldom() {
        let (mut memory, mut times) = (Memory::new(40 * MIB), Vec::new());
        for second in (0..40_000).step_by(30) {
            if memory.is_due(at(second), 400 * MIB, 1_000) {
                memory.given_back(at(second), 1_000, 400 * MIB, 399 * MIB);
                times.push(second);
            }
        }
        let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted() && pauses[0] == 2 * PAUSE_MIN.as_secs(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&PAUSE_MAX.as_secs()));
    }
}
