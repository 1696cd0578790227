//! Memory that is free, but still the process's.

/// Has the allocator give back to the kernel what it holds of free pages. Takes a lock of each
/// thread's heap, one after the other, for as long as it is looked through.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time and by any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::give_memory_back;

    fn resident_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("it is there");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("a number") * 4096
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_lies_between_pieces_that_are_used_is_given_back() {
        // Of each pair one stays: nothing at the end of the heap is free.
        let mut pieces: Vec<Vec<u8>> = (0..2_000).map(|_| vec![1; 32 << 10]).collect();
        for piece in pieces.iter_mut().step_by(2) {
            *piece = Vec::new();
        }
        let before = resident_bytes();
        give_memory_back();
        let after = resident_bytes();
        // A thousand times 32 KiB, less the pages at both ends. Other tests run beside.
        assert!(before > after + (16 << 20), "{before} {after}");
        assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 1_000 * (32 << 10));
    }
}
