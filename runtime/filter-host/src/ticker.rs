//! The thread whose ticks end callbacks that run too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// The thread that moves the epoch on 400 times a second while filters run.
///
/// An idle proxy must not wake as often, so after two seconds without a callback
/// the thread sleeps, and the first callback wakes it. What a callback pays is one load of a line
/// that is written at most once a second.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    handle: Thread,
}

#[derive(Default)]
struct Shared {
    activity: AtomicU8,
    stopped: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("penstock-epoch".into())
            .spawn(move || tick(&engine, &ours))?;
        let handle = thread.thread().clone();
        Ok(Ticker { shared, thread: Some(thread), handle })
    }

    #[inline]
    pub(crate) fn touch(&self) {
        if self.shared.activity.load(Ordering::Relaxed) != BUSY {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.shared.activity.swap(BUSY, Ordering::AcqRel) == ASLEEP {
            self.handle.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.handle.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread has nothing to say: its loop can't fail.
            let _ = thread.join();
        }
    }
}

/// The ticker's loop.
fn tick(engine: &wasmtime::Engine, shared: &Shared) {
    shorten_slice();
    let mut ticks = 0_u32;
    while !shared.stopped.load(Ordering::Acquire) {
        // May return early; a tick too many shortens a deadline by one.
        thread::park_timeout(TICK);
        engine.increment_epoch();
        ticks += 1;
        if ticks < TICKS_BEFORE_SLEEP {
            continue;
        }
        ticks = 0;
        let idle =
            shared.activity.compare_exchange(IDLE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if idle.is_err() {
            // Busy since the last look: callbacks after this one say so again.
            shared.activity.store(IDLE, Ordering::Release);
            continue;
        }
        while shared.activity.load(Ordering::Acquire) == ASLEEP
            && !shared.stopped.load(Ordering::Acquire)
        {
            thread::park();
        }
    }
}

/// Asks the kernel to let this thread run as soon as it wakes, before one that loops on the same
/// processor has used up its slice of some 3 ms. On one processor, that brought the end of a loop
/// with a deadline of 5 ms from 11.5 ms after its begin to 5.7.
///
/// Linux 6.12 and later take a slice of a thread's own; earlier ones, whose scheduler lets a
/// thread that slept run at once, pass over it.
fn shorten_slice() {
    // SAFETY: the attributes are plain numbers, for which zeros are a value: the default policy.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_runtime = SLICE.as_nanos() as u64;
    let this_thread = 0;
    // SAFETY: the kernel reads as many bytes of `attributes` as their `size` says.
    let done =
        unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, 0) };
    if done != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the deadline ticker keeps the usual slice");
    }
}

/// The unit of deadlines. A wake-up of the ticker costs about 15 us of some processor (a timer and
/// two switches of threads, in a virtual machine): 1,000 of them a second were a tenth of what
/// filters cost at 70,000 requests a second.
pub(crate) const TICK: Duration = Duration::from_micros(2_500);
/// The shortest slice that the kernel gives.
const SLICE: Duration = Duration::from_micros(100);
/// How long the ticker watches for callbacks before it sleeps: longer than the longest deadline
/// ([`DEADLINE_MAX`]), so that it never sleeps under a callback that still runs.
const TICKS_BEFORE_SLEEP: u32 = 800;
/// The longest deadline that a filter may be given.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_millis(1_500);

/// A callback ran since the ticker last looked.
const BUSY: u8 = 0;
/// None did; the ticker still ticks.
const IDLE: u8 = 1;
/// The ticker sleeps until it is unparked.
const ASLEEP: u8 = 2;
