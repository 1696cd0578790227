//! The state of the appliance, as it is shown.

use std::net::IpAddr;

use penstock_balance::HealthState;
use penstock_config::ServiceMode;
use penstock_env::Address;
use penstock_proxy::{Cause, Entrance, snapshot};
use serde::Serialize;

use crate::filter_views::{FilterView, filter_view};
use crate::{Control, FlowsView, Origin, PacketsView, Traffic, health, process};

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The version of the binary.
    pub version: &'static str,
    /// The process.
    pub pid: u32,
    /// `serving` or `draining`.
    pub state: &'static str,
    /// Whether requests are welcome.
    pub ready: bool,
    /// Why packets of services in `nat` and `dsr` are not passed on as they should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datapath_fails: Option<String>,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Downstream connections that are open.
    pub connections: u64,
    /// Requests that have ended, since the start.
    pub requests: u64,
    /// The traffic of late.
    pub traffic: Traffic,
    /// The config in force and its history.
    pub config: ReloadView,
    /// Requests and connections that failed, by cause.
    pub failures: Vec<(&'static str, u64)>,
    /// The shards.
    pub shards: Vec<ShardView>,
    /// The listeners.
    pub listeners: Vec<ListenerView>,
    /// The services of layer 4.
    pub services: Vec<ServiceView>,
    /// The clusters.
    pub clusters: Vec<ClusterView>,
    /// The filters.
    pub filters: Vec<FilterView>,
}

/// The config in force and its history.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadView {
    /// Its number.
    pub generation: u32,
    /// The file that a reload reads.
    pub file: String,
    /// Where the one in force came from.
    pub origin: Origin,
    /// Seconds since it was put in force.
    pub age_seconds: f64,
    /// Reloads that were applied.
    pub applied: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Why the last was refused, unless one was applied since.
    pub last_refusal: Option<String>,
    /// Keys that differ from what the process started with and that only a start reads.
    pub needs_restart: Vec<String>,
}

/// One shard.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ShardView {
    /// Its number.
    pub index: usize,
    /// Whether it runs.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Receives that had to wait for a buffer.
    pub starved: u64,
    /// Tasks that ended in a panic.
    pub panics: u64,
}

/// One listener.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it listens, with real ports.
    pub addresses: Vec<String>,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open.
    pub active: i64,
    /// Its routes, in the order in which they are tried.
    pub routes: Vec<RouteView>,
}

/// One service of layer 4.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Who answers its clients.
    pub mode: &'static str,
    /// Where it listens, with real ports.
    pub addresses: Vec<String>,
    /// The clusters that its connections go to.
    pub clusters: Vec<String>,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open.
    pub active: i64,
    /// Bytes from clients to endpoints.
    pub bytes_in: u64,
    /// Bytes from endpoints to clients.
    pub bytes_out: u64,
    /// What there is to see where packets are passed on.
    #[serde(flatten)]
    pub packets: Option<PacketsView>,
}

/// One route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// Its place in its listener.
    pub index: u32,
    /// Its name, or its place.
    pub name: String,
    /// Requests that ended.
    pub requests: u64,
    /// Those that were answered 5xx, or cut before an answer.
    pub errors: u64,
    /// Half of them took at most this long.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub p99_ms: f64,
}

/// One cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Tries, the first ones included.
    pub attempts: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connects that failed.
    pub connect_failures: u64,
    /// Whether so few endpoints are well that all are asked.
    pub panics: bool,
    /// Who answers.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Its address.
    pub address: String,
    /// Its share beside the others'.
    pub weight: u32,
    /// `up`; `down` for checks; `ejected` for requests that it failed; `failing` where those have
    /// nowhere else to go.
    pub health: &'static str,
    /// Why the last check of it failed, unless that was good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was ejected.
    pub ejections: u64,
    /// Requests under way.
    pub in_flight: u32,
    /// Requests sent to it.
    pub requests: u64,
    /// Those that it failed.
    pub failures: u64,
    /// How long it took of late.
    pub latency_ms: Option<f64>,
}

/// The classes of [`penstock_proxy::Schemas`] that are errors: none at all, and 5xx.
const CLASSES: std::ops::Range<usize> = 0..6;
const ERROR_CLASSES: [usize; 2] = [0, 5];

impl Control {
    /// Everything at a glance.
    pub fn status(&mut self) -> Status {
        let (now, id) = (self.clock.now(), self.schemas.route.id);
        let responses = self.schemas.route.responses;
        let of_class = |class| self.registry.total(id, responses.at(class));
        let requests = CLASSES.map(of_class).sum();
        let errors = ERROR_CLASSES.map(of_class).iter().sum();
        let duration = self.registry.histogram(id, self.schemas.route.duration);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state: if self.ending.is_serving() { "serving" } else { "draining" },
            ready: self.is_ready(),
            datapath_fails: self.layer4.ailment().map(str::to_owned),
            uptime_seconds: now.as_ns() as f64 / 1e9,
            memory_bytes: process::resident_bytes(),
            open_files: process::open_files(),
            connections: self.open_connections(),
            requests,
            traffic: self.pulse.observe(now, requests, errors, duration),
            config: self.reload_view(),
            failures: self.failures(),
            shards: self.shard_views(),
            listeners: self.listener_views(),
            services: self.service_views(false),
            clusters: self.cluster_views(),
            filters: self.filter_views(),
        }
    }

    /// The listeners of the config in force.
    pub fn listener_views(&self) -> Vec<ListenerView> {
        let (listening, ids) = (self.shards.listening(), &self.schemas.listener);
        let places = self.snapshot.listeners.iter().enumerate().filter(|(_, one)| !one.removed);
        let view = |(place, listener): (usize, &snapshot::Listener)| {
            let mine = listening.iter().filter(|one| one.entrance == Entrance::Listener(place));
            ListenerView {
                name: listener.config.name.to_string(),
                addresses: mine.map(|one| one.address.to_string()).collect(),
                accepted: listener.metrics.counter(ids.connections),
                active: listener.metrics.gauge(ids.active),
                routes: self.route_views(listener),
            }
        };
        places.map(view).collect()
    }

    /// The services of the config in force. To count flows takes the time to look at each.
    pub fn service_views(&self, counts_flows: bool) -> Vec<ServiceView> {
        let running = self.layer4.running.as_ref();
        let flows = running.filter(|_| counts_flows).map(|running| running.count_flows());
        let packets = |service: &penstock_config::Service| {
            let running = running.filter(|_| service.mode != ServiceMode::Terminate)?;
            let seed = &self.snapshot.seed;
            let mut view = running.packets_view(&service.name, seed, flows.as_ref());
            self.tell_health(service, &mut view);
            Some(view)
        };
        let (listening, ids) = (self.shards.listening(), &self.schemas.service);
        let places = self.snapshot.services.iter().enumerate().filter(|(_, one)| !one.removed);
        let name = |cluster| self.snapshot.config.cluster(cluster).name.to_string();
        let view = |(place, service): (usize, &snapshot::Service)| {
            let mine = listening.iter().filter(|one| one.entrance == Entrance::Service(place));
            ServiceView {
                name: service.config.name.to_string(),
                mode: service.config.mode.name(),
                addresses: mine.map(|one| one.address.to_string()).collect(),
                clusters: service.config.destinations.clusters().map(name).collect(),
                accepted: service.metrics.counter(ids.connections),
                active: service.metrics.gauge(ids.active),
                bytes_in: service.metrics.counter(ids.bytes_in),
                bytes_out: service.metrics.counter(ids.bytes_out),
                packets: packets(&service.config),
            }
        };
        places.map(view).collect()
    }

    /// Says of a service's backends what checks say.
    fn tell_health(&self, service: &penstock_config::Service, view: &mut PacketsView) {
        let Some(id) = service.destinations.others else { return };
        let cluster = &self.snapshot.clusters[id.index()];
        for (number, endpoint) in cluster.balancer.endpoints().iter().enumerate() {
            let Address::Ip(address) = endpoint.address() else { continue };
            let has_port = service.mode == ServiceMode::Nat && address.port() != 0;
            let text = if has_port { address.to_string() } else { address.ip().to_string() };
            let Some(backend) = view.backends.iter_mut().find(|one| one.address == text) else {
                continue;
            };
            if endpoint.load().health().state() != HealthState::Down {
                continue;
            }
            backend.health = "down";
            let record = self.checks.record(id.index(), number);
            backend.reason = record.and_then(|record| record.reason);
        }
    }

    /// The largest flows that are passed on, of one client or of all.
    pub fn flows_view(&self, client: Option<IpAddr>, limit: usize) -> FlowsView {
        let running = self.layer4.running.as_ref();
        running.map_or_else(FlowsView::default, |running| running.flows_view(client, limit))
    }

    /// The clusters of the config in force.
    pub fn cluster_views(&self) -> Vec<ClusterView> {
        let ids = &self.schemas.cluster;
        let view = |(place, cluster): (usize, &snapshot::Cluster)| ClusterView {
            name: cluster.config.name.to_string(),
            attempts: cluster.metrics.counter(ids.attempts),
            retries: cluster.metrics.counter(ids.retries),
            connects: cluster.metrics.counter(ids.connects),
            connect_failures: cluster.metrics.counter(ids.connect_failures),
            panics: health::panics(cluster),
            endpoints: self.endpoint_views(place, cluster),
        };
        self.snapshot.clusters.iter().enumerate().map(view).collect()
    }

    /// The filters of the config in force.
    pub fn filter_views(&self) -> Vec<FilterView> {
        self.snapshot.filters.iter().map(filter_view).collect()
    }

    fn endpoint_views(&self, place: usize, cluster: &snapshot::Cluster) -> Vec<EndpointView> {
        let endpoints = cluster.balancer.endpoints().iter().enumerate();
        let views = endpoints.map(|(number, endpoint)| {
            let load = endpoint.load().read();
            EndpointView {
                address: endpoint.address().to_string(),
                weight: endpoint.weight(),
                health: endpoint.load().health().state().name(),
                reason: self.checks.record(place, number).and_then(|record| record.reason),
                ejections: endpoint.load().health().ejections(),
                in_flight: load.in_flight,
                requests: load.requests,
                failures: load.failures,
                latency_ms: load.latency.map(|latency| latency.as_secs_f64() * 1e3),
            }
        });
        views.collect()
    }

    fn reload_view(&self) -> ReloadView {
        let reloads = &self.reloads;
        ReloadView {
            generation: self.snapshot.generation,
            file: self.source.path().display().to_string(),
            origin: reloads.origin,
            age_seconds: self.clock.now().since(reloads.at).as_secs_f64(),
            applied: reloads.applied,
            refused: reloads.refused,
            last_refusal: reloads.last_refusal.clone(),
            needs_restart: reloads.needs_restart.clone(),
        }
    }

    fn failures(&self) -> Vec<(&'static str, u64)> {
        let (process, table) = (&self.snapshot.process, self.schemas.process.failures);
        let counts =
            Cause::ALL.iter().map(|cause| (cause.name(), process.counter(table.at(cause.index()))));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn shard_views(&self) -> Vec<ShardView> {
        let view = |index: usize| {
            let counts = self.shards.counts(index);
            ShardView {
                index,
                running: self.shard_states[index].running,
                restarts: self.shard_states[index].restarts,
                accepted: counts.accepted,
                accept_errors: counts.accept_errors,
                starved: counts.starved,
                panics: counts.panics,
            }
        };
        (0..self.shards.count()).map(view).collect()
    }

    fn route_views(&self, listener: &snapshot::Listener) -> Vec<RouteView> {
        let ids = &self.schemas.route;
        let view = |route: &penstock_proxy::route::Route| {
            let of_class = |class| route.metrics.counter(ids.responses.at(class));
            let duration = route.metrics.histogram(ids.duration);
            RouteView {
                index: route.index,
                name: route.name.to_string(),
                requests: CLASSES.map(of_class).sum(),
                errors: ERROR_CLASSES.map(of_class).iter().sum(),
                p50_ms: duration.quantile(0.5) as f64 / 1e3,
                p99_ms: duration.quantile(0.99) as f64 / 1e3,
            }
        };
        listener.routes.routes().iter().map(view).collect()
    }
}
