//! How the process ends: drain, then a deadline, or at once.

use penstock_env::Time;

use crate::Control;

/// Where on its way to the end the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    stage: Stage,
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    /// Routes are taken back; the drain begins at this time.
    Leaving(Time),
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
    pub(crate) fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    /// When the drain begins, while routers are still to hear that we go.
    pub(crate) fn leaves_at(&self) -> Option<Time> {
        match self.stage {
            Stage::Leaving(at) => Some(at),
            Stage::Serving | Stage::Draining(_) | Stage::Over(_) => None,
        }
    }

    /// When waiting ends, once a drain has begun.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Draining(deadline) => Some(deadline),
            Stage::Serving | Stage::Leaving(_) | Stage::Over(_) => None,
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
            Stage::Serving | Stage::Leaving(_) | Stage::Draining(_) => None,
        }
    }
}

impl Control {
    /// Begins to drain: not ready any more, and where routers know of us, first routes are taken
    /// back and time is given for that to be heard. Then nothing is accepted, idle connections
    /// end, requests under way may finish. The process ends when the last is done, or when the
    /// time of the config is over. A second call changes nothing.
    pub fn drain(&mut self) {
        if !self.ending.is_serving() {
            return;
        }
        let bgp = self.snapshot.config.fleet.bgp.as_ref();
        match bgp.map(|bgp| bgp.withdraw_wait) {
            Some(wait) if self.announcer.has_told() => {
                tracing::info!(?wait, "taking routes back before the drain");
                self.ending.stage = Stage::Leaving(self.clock.now() + wait);
                self.announcer.look();
            }
            _ => self.begin_drain(),
        }
    }

    /// Has the shards drain.
    pub(crate) fn begin_drain(&mut self) {
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
        self.withdraw_now();
    }

    /// Downstream connections that are open.
    pub(crate) fn open_connections(&self) -> u64 {
        let (listener, service) = (self.schemas.listener.active, self.schemas.service.active);
        let listeners = self.snapshot.listeners.iter().map(|one| one.metrics.gauge(listener));
        let services = self.snapshot.services.iter().map(|one| one.metrics.gauge(service));
        listeners.chain(services).map(|open| open.max(0)).sum::<i64>() as u64
    }
}
