//! How the process ends: drain, then a deadline, or at once.

use penstock_env::Time;

use crate::Control;

/// Where on its way to the end the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    stage: Stage,
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    /// Until this time at the latest.
    Draining(Time),
    Over(u64),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that were open when it stopped without waiting any longer.
    pub cut: u64,
    /// A shard ended otherwise than it should.
    pub failed: bool,
}

impl Ending {
    /// Whether no end is in sight.
    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// When waiting ends, once a drain has begun.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Draining(deadline) => Some(deadline),
            Stage::Serving | Stage::Over(_) => None,
        }
    }

    pub(crate) fn note_failure(&mut self) {
        self.failed = true;
    }

    pub(crate) fn finish(&mut self, cut: u64) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(cut);
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.stage {
            Stage::Over(cut) => Some(Outcome { cut, failed: self.failed }),
            Stage::Serving | Stage::Draining(_) => None,
        }
    }
}

impl Control {
    /// Begins to drain: not ready any more, nothing is accepted, idle connections end, requests
    /// under way may finish. The process ends when the last is done, or when the time of the
    /// config is over. A second call changes nothing.
    pub fn drain(&mut self) {
        if !self.ending.is_serving() {
            return;
        }
        let runtime = &self.snapshot.config.runtime;
        tracing::info!(longest = ?runtime.drain, "draining");
        self.ending.stage = Stage::Draining(self.clock.now() + runtime.drain_max);
        self.shards.drain(runtime.drain);
        // Where no shard runs there is none to wait for.
        self.tend_shards();
    }

    /// Ends now, whatever is open.
    pub fn stop(&mut self) {
        let cut = self.open_connections();
        if cut > 0 {
            tracing::warn!(cut, "stopping with connections open");
        }
        self.ending.finish(cut);
    }

    /// Downstream connections that are open.
    pub fn open_connections(&self) -> u64 {
        let (listener, service) = (self.schemas.listener.active, self.schemas.service.active);
        let listeners = self.snapshot.listeners.iter().map(|one| one.metrics.gauge(listener));
        let services = self.snapshot.services.iter().map(|one| one.metrics.gauge(service));
        listeners.chain(services).map(|open| open.max(0)).sum::<i64>() as u64
    }
}
