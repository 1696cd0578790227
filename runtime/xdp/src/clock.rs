//! The clock that the program reads, for who compares with what it has written down.

use penstock_l4::Tick;

/// Now, as the program would have it: `bpf_ktime_get_coarse_ns` is this clock.
pub fn now() -> Tick {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for what the call fills in; this clock is there on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    Tick::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
