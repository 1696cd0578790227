//! The filters that a config names, loaded: compiled, checked, and started once.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use penstock_config::{Config, Files};
use penstock_env::{Rng, Time, Unix};
use penstock_filter_host::abi::LogLevel;
use penstock_filter_host::{
    Code, Engine, EngineSettings, FilterHost, Installed, LoadError, World, check_uses, wanted,
};
use penstock_proxy::Snapshot;
use thiserror::Error;

use crate::clock::Clock;

/// Why a config's filter can't be used.
#[derive(Debug, Error)]
#[error("filter.{name}: {problem}")]
pub struct BadFilter {
    /// The filter's name.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Loads filters; the machinery for it is made with the first one.
#[derive(Debug)]
pub(crate) struct Loader {
    host: Option<FilterHost>,
    shards: usize,
    clock: Clock,
}

impl Loader {
    pub(crate) fn new(shards: usize, clock: Clock) -> Loader {
        Loader { host: None, shards, clock }
    }

    /// The filters of `config`, in its order. A version that is as it was in `previous`, its module
    /// included, is the same again, and goes on where it is.
    ///
    /// # Errors
    /// The first that can't be used.
    pub(crate) fn load(
        &mut self,
        config: &Config,
        files: &dyn Files,
        previous: Option<&Snapshot>,
    ) -> Result<Vec<Installed>, BadFilter> {
        let before = previous.map_or(&[][..], |previous| &previous.filters);
        let mut filters = Vec::with_capacity(config.filters.len());
        for (written, wanted) in config.filters.iter().zip(wanted(config)) {
            let name = written.name.to_string();
            let bad = |problem: String| BadFilter { name: name.clone(), problem };
            let read = |path: &Path| {
                let cannot = |error| bad(format!("{} cannot be read: {error}", path.display()));
                files.read(path).map_err(cannot)
            };
            let wasm = read(&written.wasm)?;
            let canary = written.canary.as_ref().and_then(|canary| canary.wasm.as_deref());
            let canary = canary.map(read).transpose()?;
            let previous = before.iter().find(|old| *old.filter().settings().name == name);
            let world: Rc<dyn World> = Rc::new(TrialWorld::new(self.clock));
            let (code, canary) = (Code::Wasm(&wasm), canary.as_deref().map(Code::Wasm));
            let installed = self.host(&bad)?.install(wanted, code, canary, previous, &world);
            let installed = installed.map_err(|error: LoadError| bad(error.to_string()))?;
            check_uses(config, written, &installed).map_err(|error| bad(error.to_string()))?;
            filters.push(installed);
        }
        Ok(filters)
    }

    fn host(&mut self, bad: &impl Fn(String) -> BadFilter) -> Result<&FilterHost, BadFilter> {
        let host = match self.host.take() {
            Some(host) => host,
            None => {
                let engine = Engine::new(EngineSettings::default());
                let engine = engine.map_err(|error| bad(error.to_string()))?;
                let seed = self.clock.started().us;
                FilterHost::new(engine, cache_folder(), self.shards, seed)
            }
        };
        Ok(self.host.insert(host))
    }
}

/// Where compiled modules are kept: the folder that systemd makes for `CacheDirectory=`.
fn cache_folder() -> Option<PathBuf> {
    std::env::var_os("CACHE_DIRECTORY").map(PathBuf::from)
}

/// The world of a filter's first start, on the control thread.
struct TrialWorld {
    clock: Clock,
    rng: Cell<u64>,
}

impl TrialWorld {
    fn new(clock: Clock) -> TrialWorld {
        TrialWorld { clock, rng: Cell::new(clock.started().us ^ clock.now().as_ns()) }
    }
}

impl World for TrialWorld {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn unix(&self) -> Unix {
        self.clock.unix()
    }

    fn random(&self) -> u64 {
        let mut rng = Rng::new(self.rng.get());
        self.rng.set(rng.next_u64());
        rng.next_u64()
    }

    fn cpu_ns(&self) -> Option<u64> {
        None
    }

    fn log_level(&self) -> LogLevel {
        LogLevel::Warn
    }

    fn log(&self, filter: &str, level: LogLevel, message: &str) {
        tracing::warn!(target: "penstock::filter", filter, ?level, "at its first start: {message}");
    }
}
