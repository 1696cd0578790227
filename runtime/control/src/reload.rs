//! A new config in the place of the one in force: whole, or not at all.

use std::sync::Arc;

use penstock_config::{Config, Findings, diff};
use penstock_env::Time;
use penstock_filter_host::Installed;
use penstock_proxy::{Snapshot, SnapshotError};
use serde::Serialize;
use thiserror::Error;

use crate::tls::Loaded;
use crate::{BadFilter, BadPlan, BadTls, Control, ShardsError, health};

/// Keys that only a start reads. A reload that changes them says so and goes on with the rest.
const READ_AT_START: &[&str] = &[
    "runtime.shards",
    "runtime.pin",
    "runtime.receive_buffers",
    "runtime.pipes",
    "runtime.datapath",
    "runtime.layer4.pins",
    "runtime.layer4.instance",
    "runtime.layer4.flows",
    "admin.",
    "observe.series_max",
    "observe.grpc_methods_max",
];

/// Where the config in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The config's file.
    File,
    /// The admin API. The file is as it was, and the next reload goes back to it.
    Api,
}

/// A config is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its number.
    pub generation: u32,
    /// The keys that differ from the config before.
    pub changes: Vec<String>,
    /// The keys that differ from what the process started with and that only a start reads.
    pub needs_restart: Vec<String>,
}

/// A config was refused; the one of before stays in force, untouched.
#[derive(Debug, Error)]
pub enum Refused {
    /// The config's file can't be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        error: std::io::Error,
    },
    /// It has mistakes.
    #[error("{0}")]
    Findings(Box<Findings>),
    /// A filter can't be used.
    #[error("{0}")]
    Filter(#[from] BadFilter),
    /// A certificate can't be used.
    #[error("{0}")]
    Tls(#[from] BadTls),
    /// It asks for what can't be.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// Packets can't be passed on as it asks for.
    #[error("{0}")]
    Layer4(#[from] BadPlan),
    /// The shards can't serve it.
    #[error("{0}")]
    Shards(#[from] ShardsError),
    /// It was made for another config than the one in force.
    #[error("made for config {expected}, but {current} is in force")]
    Stale {
        /// The tag that it was made for.
        expected: String,
        /// The tag in force.
        current: String,
    },
    /// The process is about to end.
    #[error("the appliance is draining")]
    Draining,
}

/// The history of configs.
#[derive(Debug)]
pub(crate) struct Reloads {
    pub(crate) applied: u64,
    pub(crate) refused: u64,
    /// Why the last one was refused, unless another was applied since.
    pub(crate) last_refusal: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) at: Time,
    pub(crate) needs_restart: Vec<String>,
    /// What the process started with.
    first: Arc<Config>,
}

impl Reloads {
    pub(crate) fn new(first: Arc<Config>) -> Reloads {
        Reloads {
            applied: 0,
            refused: 0,
            last_refusal: None,
            origin: Origin::File,
            at: Time::default(),
            needs_restart: Vec::new(),
            first,
        }
    }
}

impl Control {
    /// Reads the config's file again and puts it in force.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn reload(&mut self) -> Result<Applied, Refused> {
        let path = self.source.path().display().to_string();
        let result = match self.source.read() {
            Ok(text) => self.apply(&path, &text, Origin::File),
            Err(error) => Err(Refused::Unreadable { path, error }),
        };
        self.note(result)
    }

    /// What tells the config in force from every other, of earlier processes too.
    pub fn tag(&self) -> String {
        format!("{:x}-{}", self.clock.started().us, self.snapshot.generation)
    }

    /// Puts `text` in force, if the config in force still has the tag `expected`.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn put_config(&mut self, text: &[u8], expected: &str) -> Result<Applied, Refused> {
        let current = self.tag();
        let result = match expected == current {
            true => self.apply("config", text, Origin::Api),
            false => Err(Refused::Stale { expected: expected.to_owned(), current }),
        };
        self.note(result)
    }

    fn apply(&mut self, file: &str, text: &[u8], origin: Origin) -> Result<Applied, Refused> {
        if !self.ending.is_serving() {
            return Err(Refused::Draining);
        }
        let config = Config::parse(file, text, &self.files)
            .map_err(|findings| Refused::Findings(Box::new(findings)))?;
        let paths = |before: &Config| -> Vec<String> {
            diff(before, &config).into_iter().map(|change| change.path).collect()
        };
        let changes = paths(&self.snapshot.config);
        let mut needs_restart = paths(&self.reloads.first);
        needs_restart.retain(|path| READ_AT_START.iter().any(|key| path.starts_with(key)));
        let filters = self.loader.load(&config, &self.files, Some(&self.snapshot))?;
        // Before they are read. Of a config that is refused it costs no more than another look.
        self.renewal.note(&config, &self.files);
        let tls = self.tls.load(&config, &self.files, self.unix(), true)?;
        self.put_in_force(Arc::new(config), filters, tls)?;
        self.renewal.refused = None;
        let generation = self.snapshot.generation;
        self.reloads.origin = origin;
        self.reloads.at = self.clock.now();
        self.reloads.needs_restart.clone_from(&needs_restart);
        Ok(Applied { generation, changes, needs_restart })
    }

    /// Hands the shards a Snapshot of this; what they can't serve leaves everything as it was.
    pub(crate) fn put_in_force(
        &mut self,
        config: Arc<Config>,
        filters: Vec<Installed>,
        tls: Loaded,
    ) -> Result<(), Refused> {
        let next = Snapshot::build(
            config,
            filters,
            tls.parts.clone(),
            Some(&self.snapshot),
            &self.schemas,
            &mut self.registry,
            &self.capacity,
        )?;
        let next = Arc::new(next);
        // Who is down stays down: verdicts outlive a reload.
        let fallen = health::fallen(&next);
        let well = health::without(&next.config, &fallen);
        // Shards first, as far as they can refuse: what a datapath has let go of can't be had back,
        // for the flows of a VIP end with it.
        let shards = self.shards.prepare(&next)?;
        self.layer4.apply(&well, &fallen, &next.seed)?;
        shards.commit();
        self.layer4.settle();
        self.tls.keep(tls);
        self.health.spared = (next.generation, fallen);
        self.snapshot = next;
        self.acme.look();
        self.announcer.look();
        Ok(())
    }

    fn note(&mut self, result: Result<Applied, Refused>) -> Result<Applied, Refused> {
        match &result {
            Ok(Applied { generation, changes, needs_restart }) => {
                self.reloads.applied += 1;
                self.reloads.last_refusal = None;
                tracing::info!(generation, changes = changes.len(), "a new config is in force");
                if !needs_restart.is_empty() {
                    tracing::warn!(keys = needs_restart.join(", "), "need a restart to change");
                }
            }
            Err(refused) => {
                self.reloads.refused += 1;
                self.reloads.last_refusal = Some(refused.to_string());
                tracing::error!("the new config was refused, the old one stays: {refused}");
            }
        }
        result
    }
}
