//! Who of the endpoints is well: the one place that tells of changes.
//!
//! Verdicts are made elsewhere, by shards and by checks, and hang on the endpoints. Here they are
//! looked at often enough for a log, and whoever acts on a change is told of it here.

use std::time::Duration;

use penstock_balance::{HealthState, View};
use penstock_config::Config;
use penstock_env::Time;
use penstock_proxy::snapshot::address_of;
use penstock_proxy::{Snapshot, snapshot};

use crate::Control;
use crate::layer4::{Fallen, passing};

/// How often changes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon packets are tried to be kept from who is down again, where that failed.
const SPARE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What was seen of the endpoints' health at the last look.
#[derive(Debug, Default)]
pub(crate) struct HealthWatch {
    pub(crate) next_look: Time,
    /// The Snapshot that the rest is of.
    generation: u32,
    clusters: Vec<Seen>,
    /// Whom packets pass by, and of which Snapshot that is.
    pub(crate) spared: (u32, Vec<Fallen>),
    /// When what failed of that is tried again.
    spare_again: Time,
}

/// One cluster: its endpoints in the order of their ids, and whether so few are well that all
/// are tried.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    endpoints: Vec<HealthState>,
    panics: bool,
}

/// Something that changed since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// An endpoint, by the index of its cluster and its own.
    Endpoint(usize, usize, HealthState),
    /// Whether a cluster asks all, since too few are well.
    Panic(usize, bool),
}

impl HealthWatch {
    /// What changed since the last look. The first look at a Snapshot finds nothing changed.
    pub(crate) fn look(&mut self, snapshot: &Snapshot, now: Time) -> Vec<HealthChange> {
        self.next_look = now + LOOK_EVERY;
        let seen: Vec<Seen> = snapshot.clusters.iter().map(Seen::of).collect();
        let before = std::mem::replace(&mut self.clusters, seen);
        if std::mem::replace(&mut self.generation, snapshot.generation) != snapshot.generation {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (index, (old, new)) in before.iter().zip(&self.clusters).enumerate() {
            let states = old.endpoints.iter().zip(&new.endpoints).enumerate();
            let changed = states.filter(|(_, (old, new))| old != new);
            changes.extend(changed.map(|(id, (_, new))| HealthChange::Endpoint(index, id, *new)));
            if old.panics != new.panics {
                changes.push(HealthChange::Panic(index, new.panics));
            }
        }
        changes
    }
}

impl Seen {
    fn of(cluster: &snapshot::Cluster) -> Seen {
        let endpoints = cluster.balancer.endpoints().iter();
        let endpoints = endpoints.map(|endpoint| endpoint.load().health().state()).collect();
        Seen { endpoints, panics: panics(cluster) }
    }
}

/// Whether so few of a cluster's endpoints are well that all are asked.
pub(crate) fn panics(cluster: &snapshot::Cluster) -> bool {
    let mut view = View::new(&cluster.balancer);
    // At the beginning of time no rest is over.
    cluster.balancer.look(&mut view, &cluster.usable, Time::default());
    view.panics()
}

impl Control {
    /// Looks which endpoints fell or rose, and tells of it.
    pub(crate) fn look_at_health(&mut self) {
        let changes = self.health.look(&self.snapshot, self.clock.now());
        changes.iter().for_each(|change| self.tell_of(change));
        if !changes.is_empty() {
            self.announcer.look();
        }
        self.spare_fallen();
    }

    /// Has new flows of packets pass by endpoints that checks find down, and come back to them.
    /// Their flows so far stay or go elsewhere, as the service says.
    fn spare_fallen(&mut self) {
        let (generation, fallen) = (self.snapshot.generation, fallen(&self.snapshot));
        let (told_of, told) = &self.health.spared;
        // What an appliance begins with has all of them.
        let same = if *told_of == generation { *told == fallen } else { fallen.is_empty() };
        let now = self.clock.now();
        if !same {
            if now < self.health.spare_again {
                return;
            }
            let config = without(&self.snapshot.config, &fallen);
            if let Err(error) = self.layer4.spare(&config, &fallen, &self.snapshot.seed) {
                tracing::error!(%error, "packets can't be kept from endpoints that are down");
                self.health.spare_again = now + SPARE_AGAIN_AFTER;
                return;
            }
        }
        self.health.spared = (generation, fallen);
    }

    /// Tells of a change, whoever has to know.
    fn tell_of(&self, change: &HealthChange) {
        match *change {
            HealthChange::Endpoint(cluster, endpoint, state) => {
                let cluster = &self.snapshot.clusters[cluster];
                let endpoint = cluster.balancer.endpoints()[endpoint].address();
                let (cluster, state) = (&*cluster.config.name, state.name());
                tracing::warn!(cluster, %endpoint, state, "an endpoint's health changed");
            }
            HealthChange::Panic(cluster, panics) => {
                let cluster = &*self.snapshot.clusters[cluster].config.name;
                match panics {
                    true => tracing::error!(cluster, "too few endpoints are well: all are asked"),
                    false => tracing::warn!(cluster, "enough endpoints are well again"),
                }
            }
        }
    }
}

/// The config, without these endpoints.
pub(crate) fn without(config: &Config, fallen: &[Fallen]) -> Config {
    let mut config = Config::clone(config);
    for (cluster, address) in fallen {
        let endpoints = &mut config.clusters[*cluster].endpoints;
        endpoints.retain(|one| address_of(&one.address) != *address);
    }
    config
}

/// The endpoints that checks find down, of clusters that packets are passed on to; none of a
/// cluster where all are.
pub(crate) fn fallen(snapshot: &Snapshot) -> Vec<Fallen> {
    let clusters = passing(&snapshot.config).flat_map(|service| service.destinations.clusters());
    let mut clusters: Vec<usize> = clusters.map(|id| id.index()).collect();
    clusters.sort();
    clusters.dedup();
    let mut spared = Vec::new();
    for cluster in clusters {
        let endpoints = snapshot.clusters[cluster].balancer.endpoints().iter();
        let is_down = |state| state == HealthState::Down;
        let (down, well): (Vec<_>, Vec<_>) =
            endpoints.partition(|endpoint| is_down(endpoint.load().health().state()));
        // With nobody to go to instead, packets may as well try.
        if well.iter().any(|endpoint| endpoint.weight() > 0) {
            spared.extend(down.iter().map(|endpoint| (cluster, endpoint.address().clone())));
        }
    }
    spared
}
