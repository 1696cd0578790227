//! Memory that is about to be used, asked for ahead of time.
//!
//! A pass over the completions names a few dozen sockets and tasks, none of which was touched
//! since hundreds of others were: each first touch would wait for the cache. So the pump asks for
//! all of a pass at once, and then works through it (the way packet processors do it with their
//! vectors of packets). A hint may be stale: a prefetch of memory that is gone does nothing.

/// Where a task's state is, as far as it is worth fetching.
///
/// In one word, of which every socket has one: addresses of processes have at most 56 bits, above
/// which is the number of lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TaskMemory(u64);

/// Bytes of a cache line, on every processor that we run on but Apple's (128).
const LINE_BYTES: usize = 64;
/// Of a large task most is for what rarely happens.
const LINES_MAX: usize = 64;
const ADDRESS_BITS: u32 = 56;

impl TaskMemory {
    /// Where `task` lives until it ends.
    pub(crate) fn of<T>(task: *const T) -> TaskMemory {
        let lines = size_of::<T>().div_ceil(LINE_BYTES).min(LINES_MAX);
        TaskMemory::at(task as usize, lines)
    }

    fn at(address: usize, lines: usize) -> TaskMemory {
        TaskMemory(address as u64 & ((1 << ADDRESS_BITS) - 1) | (lines as u64) << ADDRESS_BITS)
    }

    fn lines(self) -> usize {
        (self.0 >> ADDRESS_BITS) as usize
    }

    /// Asks for it.
    #[inline]
    pub(crate) fn prefetch(self) {
        let address = (self.0 & ((1 << ADDRESS_BITS) - 1)) as usize;
        for line in 0..self.lines() {
            prefetch(address.wrapping_add(line * LINE_BYTES) as *const u8);
        }
    }
}

/// Asks for everything of a value.
#[inline]
pub(crate) fn prefetch_value<T>(value: *const T) {
    for line in 0..size_of::<T>().div_ceil(LINE_BYTES) {
        prefetch(value.cast::<u8>().wrapping_add(line * LINE_BYTES));
    }
}

/// Asks for the cache line at `address`.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing: it may be given any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch reads nothing: it may be given any address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES, LINES_MAX, TaskMemory, prefetch};

    #[test]
    fn an_address_that_is_not_there_is_asked_for_in_vain() {
        for address in [0, 1, usize::MAX, usize::MAX / 2] {
            prefetch(address as *const u8);
        }
        TaskMemory::at(usize::MAX, LINES_MAX).prefetch();
    }

    #[test]
    fn a_task_is_asked_for_line_by_line_up_to_a_limit() {
        assert_eq!(TaskMemory::of(&[0_u8; LINE_BYTES + 1]).lines(), 2);
        assert_eq!(TaskMemory::of(&()).lines(), 0);
        assert_eq!(TaskMemory::of(&[0_u8; LINE_BYTES * LINES_MAX * 2]).lines(), LINES_MAX);
    }
}
