//! The real clocks. The only place in the data plane that reads them.

use penstock_env::{Time, Unix};

/// Monotonic time and time of day, now.
pub fn read() -> (Time, Unix) {
    let real = clock(libc::CLOCK_REALTIME);
    (monotonic(), Unix { us: real / 1000 })
}

/// Monotonic time, now.
pub fn monotonic() -> Time {
    Time::from_ns(clock(libc::CLOCK_MONOTONIC))
}

/// Nanoseconds that the calling thread has had of a processor. Costs a system call.
pub fn thread_cpu_ns() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is valid for the call; both clocks exist on every Linux, so it can't fail.
    unsafe { libc::clock_gettime(id, &raw mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}
