//! Checks of endpoints: asked from here, one prober for the whole appliance.
//!
//! `check` makes one, `http2` and `sealed` are what it speaks over; what a row of them comes to is
//! `balance`'s. The verdict goes to the endpoint itself, where every shard sees it.

mod check;
mod http2;
mod sealed;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use penstock_balance::{Endpoint, HealthState, Probe};
use penstock_config::{ClusterProtocol, Health};
use penstock_env::Rng;
use penstock_proxy::{Snapshot, snapshot};
use penstock_tls::Connector;
use tokio::task::JoinHandle;

/// The checks of the Snapshot in force.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The Snapshot that they are of; 0 before the first.
    generation: u32,
    tasks: Vec<JoinHandle<()>>,
}

/// One endpoint to be checked.
struct Checked {
    cluster: String,
    endpoint: Endpoint,
    health: Health,
    protocol: ClusterProtocol,
    tls: Option<Arc<Connector>>,
    /// Who it has to be, where that is not its address.
    name: Option<String>,
    rng: Rng,
}

impl Checks {
    /// Has the endpoints of `snapshot` checked, and no others. Verdicts so far stay.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot) {
        if self.generation == snapshot.generation {
            return;
        }
        self.generation = snapshot.generation;
        self.stop();
        for cluster in &snapshot.clusters {
            for endpoint in cluster.balancer.endpoints() {
                match &cluster.config.health {
                    Some(health) => self.tasks.push(begin(cluster, endpoint, health)),
                    // Nobody would ever say that it is up again.
                    None => endpoint.load().health().set_probed(true),
                }
            }
        }
    }

    /// Checks nobody any more.
    pub(crate) fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

fn begin(cluster: &snapshot::Cluster, endpoint: &Endpoint, health: &Health) -> JoinHandle<()> {
    let name = cluster.config.tls.as_ref().and_then(|tls| tls.name.as_ref());
    let checked = Checked {
        cluster: cluster.config.name.to_string(),
        endpoint: endpoint.clone(),
        health: health.clone(),
        protocol: cluster.config.protocol,
        tls: cluster.tls.clone(),
        name: name.map(ToString::to_string),
        rng: Rng::new(RandomState::new().hash_one(endpoint.address())),
    };
    tokio::spawn(checked.run())
}

impl Checked {
    /// Checks for as long as it is asked to.
    async fn run(mut self) {
        let up = self.endpoint.load().health().state() != HealthState::Down;
        let (mut probe, mut served) = (Probe::new(up), self.served());
        // Those of a large cluster shall not be checked all at once.
        tokio::time::sleep(self.health.interval.mul_f64(self.rng.unit())).await;
        loop {
            let before = std::mem::replace(&mut served, self.served());
            let proven = probe.is_up() && is_proven(before, served);
            let outcome = if proven { Ok(()) } else { self.check().await };
            let (fall, rise) = (self.health.fall, self.health.rise);
            if probe.observe(outcome.is_ok(), fall, rise) {
                self.tell(probe.is_up(), outcome.err());
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    async fn check(&self) -> Result<(), String> {
        let checking = check::check(self);
        let late = || format!("no answer within {:?}", self.health.timeout);
        tokio::time::timeout(self.health.timeout, checking).await.unwrap_or_else(|_| Err(late()))
    }

    /// Until the next check: more or less by a fifth, so that checks do not gather.
    fn pause(&mut self) -> Duration {
        self.health.interval.mul_f64(0.8 + 0.4 * self.rng.unit())
    }

    /// Requests that it served, and those that it failed.
    fn served(&self) -> (u64, u64) {
        let reading = self.endpoint.load().read();
        let ended = reading.requests.saturating_sub(u64::from(reading.in_flight));
        (ended.saturating_sub(reading.failures), reading.failures)
    }

    fn tell(&self, up: bool, reason: Option<String>) {
        let (cluster, endpoint) = (&*self.cluster, self.endpoint.address());
        let reason = reason.as_deref().unwrap_or("");
        match up {
            true => tracing::info!(cluster, %endpoint, "checks are good again"),
            false => tracing::warn!(cluster, %endpoint, reason, "checks fail"),
        }
        self.endpoint.load().health().set_probed(up);
    }
}

/// Whether requests say that the endpoint is well: some were served, and none failed.
fn is_proven(before: (u64, u64), now: (u64, u64)) -> bool {
    now.0 > before.0 && now.1 == before.1
}
