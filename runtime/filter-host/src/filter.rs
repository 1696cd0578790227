//! A filter as the process knows it: module, settings, shared data and statistics. What a
//! snapshot carries to the shards.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use penstock_env::Map;

use crate::engine::Engine;
use crate::error::LoadError;
use crate::instance::Instance;
use crate::metrics::{FilterStats, ShardStats};
use crate::module::Module;
use crate::queues::Queues;
use crate::settings::FilterSettings;
use crate::shared::{SharedData, Space};
use crate::trial::{Code, Rollback, Wanted};
use crate::world::World;

/// One filter, ready to be used by every shard.
pub struct Filter {
    pub(crate) settings: Arc<FilterSettings>,
    pub(crate) module: Module,
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Space>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) stats: Arc<FilterStats>,
    /// Which of the two versions' cells in there are this one's ...
    cells: usize,
    /// ... and where they begin.
    first_cell: usize,
}

impl Filter {
    /// How it is configured.
    pub fn settings(&self) -> &FilterSettings {
        &self.settings
    }

    /// Its code.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// What it did so far, on every shard, hot swaps included.
    pub fn stats(&self) -> &Arc<FilterStats> {
        &self.stats
    }

    /// What this version does on each shard. The one that takes its place when it is gone goes on
    /// with these cells.
    pub fn serving(&self) -> &[ShardStats] {
        self.stats.of_version(self.cells)
    }

    /// Where in the statistics this version's cells of a shard are.
    #[inline]
    pub(crate) fn place(&self, shard: usize) -> usize {
        self.first_cell + shard
    }

    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    /// Bytes of shared data that the filters of its `vm_id` hold.
    pub fn shared_bytes(&self) -> usize {
        self.shared.bytes()
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("name", &self.settings.name)
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

/// What filters of all shards and of all configurations have in common; one per process.
#[derive(Debug)]
pub struct FilterHost {
    engine: Engine,
    cache: Option<PathBuf>,
    shards: usize,
    shared: SharedData,
    stats: ArcSwap<Map<Arc<str>, Arc<FilterStats>>>,
}

impl FilterHost {
    /// `cache` is the folder for compiled modules, `shards` how many shards will run filters,
    /// `seed` a random number.
    pub fn new(engine: Engine, cache: Option<PathBuf>, shards: usize, seed: u64) -> FilterHost {
        let shared = SharedData::new(seed, shards);
        FilterHost { engine, cache, shards, shared, stats: ArcSwap::default() }
    }

    /// Makes a filter of a module's bytes: checks its digest, compiles it, checks it against the
    /// ABI, and starts it once to see that it starts. `world` is what that trial sees; its HTTP
    /// calls go nowhere.
    ///
    /// May take a second: for the control thread, not for a shard's.
    ///
    /// # Errors
    /// Whatever is wrong with the module, in its author's terms.
    pub fn load(
        &self,
        wasm: &[u8],
        settings: FilterSettings,
        world: &Rc<dyn World>,
    ) -> Result<Arc<Filter>, LoadError> {
        let wanted = Wanted { settings, canary: None, rollback: Rollback::default() };
        let installed = self.install(wanted, Code::Wasm(wasm), None, None, world)?;
        Ok(Arc::clone(installed.filter()))
    }

    /// Compiles a module, or takes it from the cache.
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        Module::compile(&self.engine, wasm, self.cache.as_deref())
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// Makes a filter of a compiled module, whose digest fits; it counts in the cells of one of two
    /// versions.
    pub(crate) fn load_beside(
        &self,
        module: Module,
        settings: FilterSettings,
        cells: usize,
        world: &Rc<dyn World>,
    ) -> Result<Arc<Filter>, LoadError> {
        let settings = FilterSettings { sha256: None, ..settings };
        let max = settings.memory_bytes_max as u64;
        if module.memory_bytes_min() > max {
            return Err(LoadError::Memory { bytes: module.memory_bytes_min(), max });
        }
        if settings.plugins.len() > PLUGINS_MAX {
            let count = settings.plugins.len();
            return Err(LoadError::Plugins { count, max: PLUGINS_MAX });
        }
        let stats = self.stats(&settings.name);
        let filter = Filter {
            shared: self.shared.space(&settings.vm_id),
            queues: Arc::clone(&self.shared.queues),
            first_cell: stats.first_of(cells),
            stats,
            settings: Arc::new(settings),
            module,
            engine: self.engine.clone(),
            cells,
        };
        // The trial writes the cells of the place after the last shard, which nobody else does.
        Instance::start(&filter, self.shards, world)?;
        Ok(Arc::new(filter))
    }

    /// The statistics under this name; the same again after a reload.
    fn stats(&self, name: &Arc<str>) -> Arc<FilterStats> {
        let fresh = Arc::new(FilterStats::new(name, self.shards));
        self.stats.rcu(|stats| {
            let mut stats = Map::clone(stats);
            stats.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(&fresh));
            stats
        });
        self.stats.load().get(name).map_or(fresh, Arc::clone)
    }
}

/// Configurations of one filter: each is a root context in every shard's instance.
const PLUGINS_MAX: usize = 1_024;
