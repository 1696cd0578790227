//! The compiler and its settings.

use std::sync::Arc;

use wasmtime::{Config, Linker, OptLevel, Strategy};

use crate::hostcalls;
use crate::state::State;
use crate::ticker::Ticker;

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

/// Native stack that a filter may use; shards have 2 MiB.
const STACK_BYTES_MAX: usize = 512 << 10;
