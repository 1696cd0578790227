//! What the control thread owns: the config in force, its Snapshot, the metrics, the shards.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use penstock_config::{Config, Count, Findings};
use penstock_env::{Time, Unix};
use penstock_proxy::{Capacity, Schemas, Snapshot, SnapshotError};
use penstock_telemetry::metrics::{Registry, RegistryLimits};
use thiserror::Error;

use crate::acme::Acme;
use crate::bgp::Announcer;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::ending::Ending;
use crate::filters::Loader;
use crate::health::HealthWatch;
use crate::layer4::Layer4;
use crate::memory::Memory;
use crate::pulse::Pulse;
use crate::reload::Reloads;
use crate::tls::{Renewal, TlsLoader};
use crate::{
    Alarm, BadFilter, BadPlan, BadTls, Datapaths, DiskFiles, Shards, ShardsError, Source, process,
};

/// How often metrics that nobody uses any more are looked for.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// A shard that ended is started again this long after it was last started: at once, unless it
/// dies as soon as it lives.
const RESTART_EVERY: Duration = Duration::from_secs(1);

/// Why the process can't begin to serve.
#[derive(Debug, Error)]
pub enum BootError {
    /// The config can't be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The config's file.
        path: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The config has mistakes.
    #[error("{0}")]
    Findings(Box<Findings>),
    /// A filter can't be used.
    #[error("{0}")]
    Filter(#[from] BadFilter),
    /// A certificate can't be used.
    #[error("{0}")]
    Tls(#[from] BadTls),
    /// The config asks for what can't be.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// The shards did not start.
    #[error("{0}")]
    Shards(#[from] ShardsError),
    /// Packets can't be passed on.
    #[error("{0}")]
    Layer4(#[from] BadPlan),
}

/// The config in force, what was made of it, and who serves from it.
pub struct Control {
    pub(crate) source: Source,
    pub(crate) files: DiskFiles,
    pub(crate) clock: Clock,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) registry: Registry,
    pub(crate) capacity: Arc<Capacity>,
    /// Makes the parts of a Snapshot that come from files, out of those of before where they can
    /// go on.
    pub(crate) loader: Loader,
    pub(crate) tls: TlsLoader,
    /// When the files of certificates are looked at again.
    pub(crate) renewal: Renewal,
    pub(crate) acme: Acme,
    pub(crate) layer4: Layer4,
    /// What routers were told over BGP.
    pub(crate) announcer: Announcer,
    pub(crate) shards: Box<dyn Shards>,
    /// Rings when a shard has ended.
    pub(crate) alarm: Alarm,
    pub(crate) reloads: Reloads,
    pub(crate) pulse: Pulse,
    /// What was told of endpoints' health, whose verdicts lie in the Snapshot.
    pub(crate) health: HealthWatch,
    pub(crate) checks: Checks,
    pub(crate) ending: Ending,
    /// By shard.
    pub(crate) shard_states: Vec<ShardState>,
    /// Shards to start again, and when.
    pub(crate) restarts: VecDeque<(Time, usize)>,
    next_sweep: Time,
    memory: Memory,
}

/// How a shard fares: its history over restarts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardState {
    pub(crate) running: bool,
    pub(crate) restarts: u64,
    started: Time,
}

/// A config that was read and checked, before anything runs.
pub struct Boot {
    source: Source,
    config: Arc<Config>,
}

impl Boot {
    /// Reads and checks the config.
    ///
    /// # Errors
    /// It can't be read, or it has mistakes.
    pub fn read(source: Source) -> Result<Boot, BootError> {
        let path = source.path().display().to_string();
        let text =
            source.read().map_err(|error| BootError::Unreadable { path: path.clone(), error })?;
        let config = Config::parse(&path, &text, &source.files())
            .map_err(|findings| BootError::Findings(Box::new(findings)))?;
        Ok(Boot { source, config: Arc::new(config) })
    }

    /// The config.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The files that the config names.
    pub fn files(&self) -> DiskFiles {
        self.source.files()
    }

    /// How many shards the config asks for.
    pub fn shard_count(&self) -> usize {
        match self.config.runtime.shards {
            Count::Auto => available_parallelism().map_or(1, NonZero::get),
            Count::Exactly(count) => count as usize,
        }
    }

    /// Builds the first Snapshot and has `start` run shards on it, then has one of `datapaths`
    /// pass packets on where services ask for it. `capacity` is what the machine has room for.
    ///
    /// # Errors
    /// The config asks for what can't be, or the shards or the datapath did not start.
    pub fn start<S: Shards + 'static>(
        self,
        capacity: Arc<Capacity>,
        datapaths: Box<dyn Datapaths>,
        start: impl FnOnce(&Arc<Snapshot>, &Arc<Schemas>, &Alarm) -> Result<S, ShardsError>,
    ) -> Result<Control, BootError> {
        let (count, Boot { source, config }) = (self.shard_count(), self);
        let series_max = config.observe.series_max as usize;
        let limits = RegistryLimits { series_max, ..RegistryLimits::default() };
        let mut registry = Registry::new(count, limits);
        let schemas = Arc::new(Schemas::declare(&mut registry));
        let (alarm, clock) = (Alarm::default(), Clock::start());
        let mut loader = Loader::new(count, clock);
        let filters = loader.load(&config, &source.files(), None)?;
        let (mut tls, mut renewal) = (TlsLoader::default(), Renewal::default());
        renewal.note(&config, &source.files());
        let loaded = tls.load(&config, &source.files(), clock.started(), false)?;
        let parts = loaded.parts.clone();
        tls.keep(loaded);
        let snapshot = Snapshot::build(
            Arc::clone(&config),
            filters,
            parts,
            None,
            &schemas,
            &mut registry,
            &capacity,
        )?;
        let snapshot = Arc::new(snapshot);
        let shards = Box::new(start(&snapshot, &schemas, &alarm)?);
        let mut layer4 = Layer4::new(datapaths);
        layer4.apply(&config, &[], &snapshot.seed)?;
        layer4.settle();
        for (cluster, address) in std::mem::take(&mut layer4.found_down) {
            let endpoints = snapshot.clusters[cluster].balancer.endpoints().iter();
            let found = endpoints.filter(|endpoint| *endpoint.address() == address);
            found.for_each(|endpoint| endpoint.load().health().set_probed(false));
        }
        let state = ShardState { running: true, restarts: 0, started: clock.now() };
        Ok(Control {
            files: source.files(),
            source,
            clock,
            snapshot,
            schemas,
            registry,
            capacity,
            loader,
            tls,
            renewal,
            acme: Acme::new(clock.started().us),
            layer4,
            announcer: Announcer::default(),
            shards,
            alarm,
            reloads: Reloads::new(config),
            pulse: Pulse::default(),
            health: HealthWatch::default(),
            checks: Checks::default(),
            ending: Ending::default(),
            shard_states: vec![state; count],
            restarts: VecDeque::new(),
            next_sweep: clock.now() + SWEEP_EVERY,
            memory: Memory::new(process::resident_bytes()),
        })
    }
}

impl Control {
    /// The Snapshot in force.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The files that configs name.
    pub fn files(&self) -> DiskFiles {
        self.files.clone()
    }

    /// Whether requests are welcome: every shard runs, packets are passed on where they are to be,
    /// and no drain has begun.
    pub fn is_ready(&self) -> bool {
        let all_run = self.shard_states.iter().all(|state| state.running);
        self.ending.is_serving() && all_run && !self.layer4.is_out()
    }

    /// Time of day.
    pub(crate) fn unix(&self) -> Unix {
        self.clock.unix()
    }

    /// Where is being listened.
    pub fn listening(&self) -> Vec<crate::Listening> {
        self.shards.listening()
    }

    /// Opens the access log anew, after a rotation moved the file.
    pub fn reopen_log(&mut self) {
        tracing::info!("opening the access log anew");
        self.shards.reopen_log();
    }

    /// When there is next something to do that nobody asks for.
    pub(crate) fn next_time(&self) -> Time {
        let restart = self.restarts.iter().map(|(at, _)| *at).min();
        let ending = self.ending.leaves_at().or(self.ending.deadline());
        let next = self.next_sweep.min(self.renewal.next_look).min(self.health.next_look);
        let next = next.min(self.layer4.next_look()).min(self.layer4.next_care());
        restart.into_iter().chain(ending).fold(next, Time::min)
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self) {
        let now = self.clock.now();
        if now >= self.next_sweep {
            self.registry.sweep(now);
            self.layer4.tend(now);
            self.look_after_memory(now);
            self.next_sweep = now + SWEEP_EVERY;
        }
        if now >= self.renewal.next_look {
            self.look_at_certificates();
        }
        if now >= self.health.next_look {
            self.look_at_health();
        }
        self.layer4.find_ways(now);
        self.layer4.count(now);
        self.look_after_datapath();
        while let Some(at) = self.restarts.iter().position(|(due, _)| *due <= now) {
            if let Some((_, index)) = self.restarts.remove(at) {
                self.restart(index, now);
            }
        }
        if self.ending.leaves_at().is_some_and(|at| now >= at) {
            self.begin_drain();
        }
        if self.ending.deadline().is_some_and(|deadline| now >= deadline) {
            tracing::warn!("the longest time to drain is over");
            self.stop();
        }
    }

    /// Has memory that nobody needs any more given back.
    fn look_after_memory(&mut self, now: Time) {
        let Snapshot { process, clusters, .. } = &*self.snapshot;
        let connections = process.gauge(self.schemas.process.connections).unsigned_abs();
        let requests = clusters.iter().map(|cluster| u64::from(cluster.in_use.requests()));
        let (load, before) = (connections + requests.sum::<u64>(), process::resident_bytes());
        if self.memory.is_due(now, before, load) {
            self.shards.give_memory_back();
            let after = process::resident_bytes();
            self.memory.given_back(now, load, before, after);
            tracing::debug!(before, after, "free memory was given back");
        }
    }

    /// Looks after shards that ended: one that was not told to is started again.
    pub(crate) fn tend_shards(&mut self) {
        for crate::Ended { index, error } in self.shards.ended() {
            let state = &mut self.shard_states[index];
            state.running = false;
            match error {
                None => tracing::debug!(shard = index, "ended"),
                Some(error) if !self.ending.is_serving() => {
                    self.ending.note_failure();
                    tracing::error!(shard = index, error, "ended by itself while draining");
                }
                Some(error) => {
                    tracing::error!(shard = index, error, "ended by itself; starting it again");
                    let at = self.clock.now().max(state.started + RESTART_EVERY);
                    self.restarts.push_back((at, index));
                }
            }
        }
        if !self.ending.is_serving() && self.shard_states.iter().all(|state| !state.running) {
            self.ending.finish(self.snapshot.process.counter(self.schemas.process.drain_cut));
        }
    }

    fn restart(&mut self, index: usize, now: Time) {
        if !self.ending.is_serving() {
            return;
        }
        // Whatever the dead shard had open is closed.
        for listener in &self.snapshot.listeners {
            listener.metrics.shard(index).set(self.schemas.listener.active, 0);
        }
        for service in &self.snapshot.services {
            service.metrics.shard(index).set(self.schemas.service.active, 0);
            service.metrics.shard(index).set(self.schemas.service.tarpit, 0);
        }
        self.snapshot.process.shard(index).set(self.schemas.process.connections, 0);
        self.shard_states[index].started = now;
        match self.shards.restart(index, &self.snapshot) {
            Ok(()) => {
                self.shard_states[index].running = true;
                self.shard_states[index].restarts += 1;
                tracing::info!(shard = index, "serves again");
            }
            Err(error) => {
                tracing::error!(shard = index, %error, "did not start; trying again");
                self.restarts.push_back((now + RESTART_EVERY, index));
            }
        }
    }
}
