//! Checks of endpoints: asked from here, one prober for the whole appliance.
//!
//! An endpoint is asked at its own address, or on the VIPs that packets of `dsr` come to it for;
//! where it is both, it is well if it answers on all.
//! `check` makes one, `http2` and `sealed` are what it speaks over; what a row of them comes to is
//! `balance`'s. The verdict goes to the endpoint itself, where every shard sees it.

mod check;
mod http2;
mod sealed;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use penstock_balance::{Endpoint, HealthState, Probe};
use penstock_config::{ClusterId, ClusterProtocol, Config, Health};
use penstock_env::{Address, Rng};
use penstock_proxy::{Snapshot, snapshot};
use penstock_tls::Connector;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::check::Wrong;
use crate::layer4::{Layer4, Through};

/// The checks of the Snapshot in force.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The Snapshot that they are of; 0 before the first.
    generation: u32,
    /// By cluster and endpoint.
    tasks: BTreeMap<(usize, usize), Task>,
}

#[derive(Debug)]
struct Task {
    handle: JoinHandle<()>,
    subject: Subject,
    record: watch::Receiver<Record>,
}

/// Who is checked, and how.
#[derive(Clone, Debug)]
struct Subject {
    cluster: String,
    endpoint: Endpoint,
    health: Health,
    protocol: ClusterProtocol,
    tls: Option<Arc<Connector>>,
    /// Who it has to be, where that is not its address.
    name: Option<String>,
}

/// What checks of an endpoint came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Those that were good.
    pub(crate) good: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Why the last one failed, unless it was good.
    pub(crate) reason: Option<String>,
    /// What the row of them comes to so far, and when it goes on.
    row: Option<(Probe, Instant)>,
}

/// What of an endpoint is asked.
enum Target {
    /// Its own address.
    Endpoint,
    /// A VIP on it.
    Vip(Through),
}

/// One endpoint to be checked.
struct Checked {
    subject: Subject,
    targets: Vec<Target>,
    record: watch::Sender<Record>,
    rng: Rng,
}

impl Checks {
    /// Has the endpoints of `snapshot` checked, and no others. Who is checked as before is not
    /// disturbed; for all others verdicts, counts and rows of failures so far stay.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot, layer4: &Layer4) {
        if self.generation == snapshot.generation {
            return;
        }
        self.generation = snapshot.generation;
        let mut before: Vec<Task> = std::mem::take(&mut self.tasks).into_values().collect();
        for (place, cluster) in snapshot.clusters.iter().enumerate() {
            for (number, endpoint) in cluster.balancer.endpoints().iter().enumerate() {
                let Some(health) = &cluster.config.health else {
                    // Nobody would ever say that it is up again.
                    endpoint.load().health().set_probed(true);
                    continue;
                };
                let subject = Subject::of(cluster, endpoint, health);
                let targets = targets_of(&snapshot.config, place, endpoint, health, layer4);
                let known = before.iter().position(|task| task.subject.is_whom(&subject));
                let known = known.map(|known| before.swap_remove(known));
                let task = match known {
                    // Of a VIP, the way to it may be another.
                    Some(task) if task.subject == subject && are_direct(&targets) => task,
                    known => Task::begin(subject, targets, known),
                };
                self.tasks.insert((place, number), task);
            }
        }
        before.iter().for_each(|task| task.handle.abort());
    }

    /// What checks of an endpoint came to, by its cluster's place and its own; nothing where it is
    /// not checked.
    pub(crate) fn record(&self, cluster: usize, endpoint: usize) -> Option<Record> {
        self.tasks.get(&(cluster, endpoint)).map(|task| task.record.borrow().clone())
    }
}

/// What of an endpoint is asked: its own address too, where something else than `dsr` uses it.
fn targets_of(
    config: &Config,
    cluster: usize,
    endpoint: &Endpoint,
    health: &Health,
    layer4: &Layer4,
) -> Vec<Target> {
    let Address::Ip(address) = endpoint.address() else { return vec![Target::Endpoint] };
    let ways = layer4.ways(cluster, *address, health);
    let mut targets: Vec<Target> = ways.into_iter().map(Target::Vip).collect();
    let id = ClusterId(cluster as u32);
    if targets.is_empty() || config.asks_endpoints_of(id) {
        targets.insert(0, Target::Endpoint);
    }
    targets
}

fn are_direct(targets: &[Target]) -> bool {
    targets.iter().all(|target| matches!(target, Target::Endpoint))
}

impl Subject {
    fn of(cluster: &snapshot::Cluster, endpoint: &Endpoint, health: &Health) -> Subject {
        let name = cluster.config.tls.as_ref().and_then(|tls| tls.name.as_ref());
        Subject {
            cluster: cluster.config.name.to_string(),
            endpoint: endpoint.clone(),
            health: health.clone(),
            protocol: cluster.config.protocol,
            tls: cluster.tls.clone(),
            name: name.map(ToString::to_string),
        }
    }

    /// Whether it is the same endpoint, however it is checked.
    fn is_whom(&self, other: &Subject) -> bool {
        self.cluster == other.cluster && self.endpoint.address() == other.endpoint.address()
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Subject) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.is_whom(other)
            && tls
            // The verdict goes to those who count its requests.
            && std::ptr::eq(self.endpoint.load(), other.endpoint.load())
            && (&self.health, self.protocol, &self.name)
                == (&other.health, other.protocol, &other.name)
    }
}

impl Task {
    /// Checks on, in the place of a task that checked the endpoint otherwise.
    fn begin(subject: Subject, targets: Vec<Target>, before: Option<Task>) -> Task {
        let record = before.map_or_else(Record::default, |task| {
            task.handle.abort();
            task.record.borrow().clone()
        });
        let (sender, record) = watch::channel(record);
        let rng = Rng::new(RandomState::new().hash_one(subject.endpoint.address()));
        let checked = Checked { subject: subject.clone(), targets, record: sender, rng };
        Task { handle: tokio::spawn(checked.run()), subject, record }
    }
}

impl Checked {
    /// Checks for as long as it is asked to.
    async fn run(mut self) {
        let up = self.subject.endpoint.load().health().state() != HealthState::Down;
        let before = self.record.borrow().row;
        let begun = before.filter(|(probe, _)| probe.is_up() == up);
        // Those of a large cluster shall not be checked all at once.
        let first = self.subject.health.interval.mul_f64(self.rng.unit());
        let (mut probe, due) = begun.unwrap_or((Probe::new(up), Instant::now() + first));
        let (mut served, mut unable) = (self.served(), false);
        tokio::time::sleep_until(due).await;
        loop {
            let before = std::mem::replace(&mut served, self.served());
            let proven = probe.is_up() && self.requests_tell() && is_proven(before, served);
            let outcome = match if proven { Ok(()) } else { self.check().await } {
                Err(Wrong { why, ours: true }) => {
                    if !std::mem::replace(&mut unable, true) {
                        let cluster = &*self.subject.cluster;
                        tracing::error!(
                            cluster,
                            why,
                            "endpoints can't be checked: nothing changes"
                        );
                    }
                    tokio::time::sleep(self.pause()).await;
                    continue;
                }
                outcome => outcome.map_err(|wrong| wrong.why),
            };
            unable = false;
            let (fall, rise) = (self.subject.health.fall, self.subject.health.rise);
            let changes = probe.observe(outcome.is_ok(), fall, rise);
            let due = Instant::now() + self.pause();
            self.note(&outcome, (probe, due));
            if changes {
                self.tell(probe.is_up(), outcome.err());
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Asks all that there is to ask, up to the first that does not answer well.
    async fn check(&self) -> Result<(), Wrong> {
        for target in &self.targets {
            let late = || format!("no answer within {:?}", self.subject.health.timeout);
            let checking =
                tokio::time::timeout(self.subject.health.timeout, check::check(self, target));
            let checked = checking.await.unwrap_or_else(|_| Err(late().into()));
            checked.map_err(|wrong| match target {
                Target::Endpoint => wrong,
                Target::Vip(through) => {
                    Wrong { why: format!("{}: {}", through.name(), wrong.why), ..wrong }
                }
            })?;
        }
        Ok(())
    }

    /// Whether requests tell all that checks do: that something answers there. What a path or a
    /// service of health says, and what a port of its own does, they don't know.
    fn requests_tell(&self) -> bool {
        self.subject.health.is_bare() && are_direct(&self.targets)
    }

    fn note(&self, outcome: &Result<(), String>, row: (Probe, Instant)) {
        self.record.send_modify(|record| {
            record.row = Some(row);
            record.reason = outcome.as_ref().err().cloned();
            match outcome {
                Ok(()) => record.good += 1,
                Err(_) => record.failed += 1,
            }
        });
    }

    /// Until the next check: more or less by a fifth, so that checks do not gather.
    fn pause(&mut self) -> Duration {
        self.subject.health.interval.mul_f64(0.8 + 0.4 * self.rng.unit())
    }

    /// Requests that it served, and those that it failed.
    fn served(&self) -> (u64, u64) {
        let reading = self.subject.endpoint.load().read();
        let ended = reading.requests.saturating_sub(u64::from(reading.in_flight));
        (ended.saturating_sub(reading.failures), reading.failures)
    }

    fn tell(&self, up: bool, reason: Option<String>) {
        let (cluster, endpoint) = (&*self.subject.cluster, self.subject.endpoint.address());
        let reason = reason.as_deref().unwrap_or("");
        match up {
            true => tracing::info!(cluster, %endpoint, "checks are good again"),
            false => tracing::warn!(cluster, %endpoint, reason, "checks fail"),
        }
        self.subject.endpoint.load().health().set_probed(up);
    }
}

/// Whether requests say that the endpoint is well: some were served, and none failed.
fn is_proven(before: (u64, u64), now: (u64, u64)) -> bool {
    now.0 > before.0 && now.1 == before.1
}
