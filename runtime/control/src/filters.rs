//! The filters that a config names, loaded: compiled, checked, and started once.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use penstock_config as config;
use penstock_config::{Config, Files, FindingKind, Flaw};
use penstock_env::{Rng, Time, Unix};
use penstock_filter_host::abi::LogLevel;
use penstock_filter_host::{
    Code, Engine, EngineSettings, FilterHost, Installed, LoadError, TrapCause, Wanted, World,
    check_uses, place_of_plugin, wanted,
};
use penstock_proxy::Snapshot;
use thiserror::Error;

use crate::clock::Clock;

/// Why a config's filter can't be used.
#[derive(Debug, Error)]
#[error("{}: {}", .flaw.path(), .flaw.problem)]
pub struct BadFilter {
    /// The key that is to blame, and what is wrong with it, with what the filter said of that.
    pub flaw: Flaw,
}

impl BadFilter {
    /// A key of the filter's own block, as in `wasm` or `canary.config`.
    fn of_block(name: &str, key: &str, problem: String) -> BadFilter {
        let kind = if key.ends_with("config") { FindingKind::Value } else { FindingKind::File };
        let keys = ["filter", name].into_iter().chain(key.split('.')).map(str::to_owned).collect();
        BadFilter { flaw: Flaw { kind, keys, problem } }
    }

    /// The configuration that a chain gives the filter.
    fn of_use(name: &str, keys: Vec<String>, problem: &str) -> BadFilter {
        let problem = format!("filter `{name}` refuses it: {problem}");
        BadFilter { flaw: Flaw { kind: FindingKind::Value, keys, problem } }
    }
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
        self.load_each(config, files, previous).collect()
    }

    /// The same one by one, past those that can't be used.
    pub(crate) fn load_each<'l>(
        &'l mut self,
        config: &'l Config,
        files: &'l dyn Files,
        previous: Option<&'l Snapshot>,
    ) -> impl Iterator<Item = Result<Installed, BadFilter>> + 'l {
        let before = previous.map_or(&[][..], |previous| &previous.filters);
        let all = config.filters.iter().zip(wanted(config));
        all.map(move |(written, wanted)| {
            let previous = before.iter().find(|old| *old.filter().settings().name == *written.name);
            let installed = self.load_one((config, written), wanted, files, previous)?;
            let used = check_uses(config, written, &installed);
            used.map_err(|error| BadFilter::of_block(&written.name, "wasm", error.to_string()))?;
            Ok(installed)
        })
    }

    fn load_one(
        &mut self,
        (config, written): (&Config, &config::Filter),
        wanted: Wanted,
        files: &dyn Files,
        previous: Option<&Installed>,
    ) -> Result<Installed, BadFilter> {
        let bad = |key, problem| BadFilter::of_block(&written.name, key, problem);
        let read = |path: &Path, key| {
            let cannot = |error| bad(key, format!("{} cannot be read: {error}", path.display()));
            files.read(path).map_err(cannot)
        };
        let wasm = read(&written.wasm, "wasm")?;
        let canary = written.canary.as_ref().and_then(|canary| canary.wasm.as_deref());
        let canary = canary.map(|path| read(path, "canary.wasm")).transpose()?;
        let clock = self.clock;
        let trial = Rc::new(TrialWorld::new(clock));
        let world: Rc<dyn World> = Rc::clone(&trial) as Rc<dyn World>;
        let (code, canary) = (Code::Wasm(&wasm), canary.as_deref().map(Code::Wasm));
        let host = self.host().map_err(|problem| bad("wasm", problem))?;
        let alone = wanted.canary.is_some().then(|| Wanted { canary: None, ..wanted.clone() });
        let error = match host.install(wanted, code, canary, previous, &world) {
            Ok(installed) => return Ok(installed),
            Err(error) => error,
        };
        let problem = trial.told(&error);
        // Where the filter's own version is well, the canary is to blame.
        let of_canary = alone.is_some_and(|alone| {
            let silent: Rc<dyn World> = Rc::new(TrialWorld::new(clock));
            host.install(alone, code, None, previous, &silent).is_ok()
        });
        let plugin = match &error {
            LoadError::Start(trapped) => trapped.plugin,
            _ => None,
        };
        // Whatever it makes of it, it took its own configuration before.
        if let Some(keys) = plugin.and_then(|plugin| place_of_plugin(config, written, plugin)) {
            let problem = if of_canary { format!("its canary: {problem}") } else { problem };
            return Err(BadFilter::of_use(&written.name, keys, &problem));
        }
        let key = match (&error, of_canary) {
            (LoadError::Start(trapped), false) if trapped.cause == TrapCause::Refused => "config",
            (LoadError::Start(trapped), true) if trapped.cause == TrapCause::Refused => {
                "canary.config"
            }
            (_, false) => "wasm",
            (_, true) => "canary.wasm",
        };
        Err(bad(key, problem))
    }

    fn host(&mut self) -> Result<&FilterHost, String> {
        let host = match self.host.take() {
            Some(host) => host,
            None => {
                let engine = Engine::new(EngineSettings::default());
                let engine = engine.map_err(|error| error.to_string())?;
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
    /// What the filter logged first.
    said: RefCell<Vec<String>>,
}

impl TrialWorld {
    fn new(clock: Clock) -> TrialWorld {
        let rng = Cell::new(clock.started().us ^ clock.now().as_ns());
        TrialWorld { clock, rng, said: RefCell::default() }
    }

    /// The error, and what the filter itself said of it.
    fn told(&self, error: &LoadError) -> String {
        let said = self.said.borrow();
        let lines = std::iter::once(error.to_string()).chain(said.iter().cloned());
        lines.collect::<Vec<_>>().join(": ")
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
        let mut said = self.said.borrow_mut();
        if said.len() < SAID_MAX {
            let line: String = message.chars().take(SAID_CHARS_MAX).collect();
            said.push(line.replace(char::is_control, " "));
        }
    }
}

/// Lines of a filter that an error repeats, and letters of each.
const SAID_MAX: usize = 3;
const SAID_CHARS_MAX: usize = 400;
