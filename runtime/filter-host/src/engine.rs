//! The compiler and its settings, and the thread whose ticks end callbacks that run too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::{Config, Linker, OptLevel, Strategy};

use crate::hostcalls;
use crate::state::State;

/// One per process; cheap to clone. Modules are compiled for it, instances run under it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// How an [`Engine`] interrupts filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Run the ticker, so that deadlines are kept. A simulation runs without: its traps must not
    /// hang on a wall clock.
    pub deadlines: bool,
    /// Count fuel, and end a callback that uses more than this: repeatable costs for tests, at the
    /// price of slower code.
    pub fuel_max: Option<u64>,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings { deadlines: true, fuel_max: None }
    }
}

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    settings: EngineSettings,
    ticker: Option<Ticker>,
}

impl Engine {
    /// Builds the engine and starts its ticker.
    ///
    /// # Errors
    /// When this machine can't run compiled WebAssembly, or has no thread to give.
    pub fn new(settings: EngineSettings) -> Result<Engine, EngineError> {
        let mut config = Config::new();
        config
            .strategy(Strategy::Cranelift)
            .cranelift_opt_level(OptLevel::Speed)
            .epoch_interruption(true)
            .consume_fuel(settings.fuel_max.is_some())
            .wasm_memory64(false)
            .wasm_multi_memory(false)
            .max_wasm_stack(STACK_BYTES_MAX)
            .memory_init_cow(true);
        let failed = |error: wasmtime::Error| EngineError { reason: format!("{error:#}") };
        let engine = wasmtime::Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        hostcalls::link(&mut linker).map_err(failed)?;
        let ticker = match settings.deadlines {
            true => Some(Ticker::start(engine.clone()).map_err(|error| EngineError {
                reason: format!("no thread for the deadline ticker: {error}"),
            })?),
            false => None,
        };
        Ok(Engine { inner: Arc::new(Inner { engine, linker, settings, ticker }) })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.inner.linker
    }

    pub(crate) fn settings(&self) -> EngineSettings {
        self.inner.settings
    }

    /// To be called before each callback: makes sure that the ticker runs.
    #[inline]
    pub(crate) fn touch(&self) {
        if let Some(ticker) = &self.inner.ticker {
            ticker.touch();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The engine can't be built on this machine.
#[derive(Debug, thiserror::Error)]
#[error("no WebAssembly on this machine: {reason}")]
pub struct EngineError {
    /// What wasmtime or the kernel said.
    pub reason: String,
}

/// The thread that moves the epoch on 400 times a second while filters run.
///
/// An idle proxy must not wake as often, so after two seconds without a callback
/// the thread sleeps, and the first callback wakes it. What a callback pays is one load of a line
/// that is written at most once a second.
struct Ticker {
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
    fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("penstock-epoch".into())
            .spawn(move || tick(&engine, &ours))?;
        let handle = thread.thread().clone();
        Ok(Ticker { shared, thread: Some(thread), handle })
    }

    #[inline]
    fn touch(&self) {
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

/// The unit of deadlines. A wake-up of the ticker costs about 15 us of some processor (a timer and
/// two switches of threads, in a virtual machine): 1,000 of them a second were a tenth of what
/// filters cost at 70,000 requests a second.
pub(crate) const TICK: Duration = Duration::from_micros(2_500);
/// How long the ticker watches for callbacks before it sleeps: longer than the longest deadline
/// ([`DEADLINE_MAX`]), so that it never sleeps under a callback that still runs.
const TICKS_BEFORE_SLEEP: u32 = 800;
/// The longest deadline that a filter may be given.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_millis(1_500);
/// Native stack that a filter may use; shards have 2 MiB.
const STACK_BYTES_MAX: usize = 512 << 10;

/// A callback ran since the ticker last looked.
const BUSY: u8 = 0;
/// None did; the ticker still ticks.
const IDLE: u8 = 1;
/// The ticker sleeps until it is unparked.
const ASLEEP: u8 = 2;
