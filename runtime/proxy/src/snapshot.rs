//! What shards read: the config made ready for the data path, immutable and whole.
//!
//! The control side builds one from a checked config and hands it to every shard; a shard swaps
//! it in between two events. Nothing in here is changed afterwards but counters and loads.

use std::sync::Arc;

use penstock_balance::{Balancer, BalancerError, EndpointSpec, FleetSeed, UsableSet};
use penstock_config::{self as config, Config, Count};
use penstock_env::Address;
use penstock_filter_host::{ChainLink, FilterSettings, Installed, chain_links, filter_settings};
use penstock_telemetry::metrics::{Discovered, Instance, Registry};
use penstock_tls::{Acceptor, Connector};
use penstock_wire::http1::{BodyLimits, Lenient, Limits};
use thiserror::Error;

use crate::admission::InUse;
use crate::capacity::Capacity;
use crate::metrics::Schemas;
use crate::relay::ServerNames;
use crate::route::RouteTable;

/// Everything that a shard needs to serve.
pub struct Snapshot {
    /// Counts up with every config that was applied.
    pub generation: u32,
    /// The config that this was made from.
    pub config: Arc<Config>,
    /// Each in a place of its own for the life of the process: a connection knows its listener
    /// by its place, so a reload moves nobody. A listener that is gone from the config leaves
    /// its place behind (see [`Listener::removed`]) and takes it again if its name comes back.
    /// There are at most [`PLACES_MAX`]; a restart gives back those left behind.
    pub listeners: Vec<Listener>,
    /// Services of layer 4, each in a place of its own as listeners are.
    pub services: Vec<Service>,
    /// By the index of the config's clusters.
    pub clusters: Vec<Cluster>,
    /// By the index of the config's filters.
    pub filters: Vec<Installed>,
    /// Counters of the whole process.
    pub process: Instance,
    /// Counters of gRPC's methods, as calls name them.
    pub methods: Arc<Discovered>,
    /// Hashes keys for the algorithms that do.
    pub seed: FleetSeed,
    /// Over so many connections, new ones are refused.
    pub connections_max: u32,
    /// What shows authorities that hosts are ours; none, mostly.
    pub proofs: Arc<[HttpProof]>,
    /// The connections of each source, and how many the machine has room for.
    pub capacity: Arc<Capacity>,
}

/// A listener, ready to serve.
pub struct Listener {
    /// Gone from the config: it is not listened on, has no routes, and its connections end with
    /// the response under way.
    pub removed: bool,
    /// What the config says of it, or last said.
    pub config: config::Listener,
    /// Limits of request heads.
    pub limits: Limits,
    /// Limits of bodies.
    pub body_limits: BodyLimits,
    /// What is let through although it is malformed.
    pub lenient: Lenient,
    /// Its side of TLS, if it speaks that.
    pub tls: Option<Arc<Acceptor>>,
    /// Its routes.
    pub routes: RouteTable,
    /// Its counters.
    pub metrics: Instance,
}

/// A service of layer 4, ready to serve.
pub struct Service {
    /// Gone from the config: it takes no connections. Those that it has go on.
    pub removed: bool,
    /// What the config says of it, or last said.
    pub config: config::Service,
    /// Which of its routes is for a name.
    pub names: Arc<ServerNames>,
    /// The filters of its connections.
    pub filters: Arc<[ChainLink]>,
    /// Its counters.
    pub metrics: Instance,
}

/// Where a connection came in: a place among the listeners or the services of every Snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entrance {
    /// A listener.
    Listener(usize),
    /// A service.
    Service(usize),
}

/// A cluster, ready to be asked.
pub struct Cluster {
    /// What the config says of it.
    pub config: config::Cluster,
    /// How long its endpoints may take for a gRPC call.
    pub call_timeouts: config::ClusterTimeouts,
    /// Its side of TLS, if its endpoints speak that.
    pub tls: Option<Arc<Connector>>,
    /// Picks the endpoint.
    pub balancer: Balancer,
    /// Which endpoints may be picked.
    pub usable: UsableSet,
    /// What it has under way, on all shards; kept over reloads.
    pub in_use: Arc<InUse>,
    /// Its counters.
    pub metrics: Instance,
}

impl Cluster {
    /// How long its endpoints may take for a request that is a gRPC call or not.
    pub(crate) fn timeouts(&self, call: bool) -> &config::ClusterTimeouts {
        if call { &self.call_timeouts } else { &self.config.timeouts }
    }
}

/// An answer to an authority that asks whether a host is ours (RFC 8555 §8.3), given on every
/// listener before its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProof {
    /// The path that is asked for.
    pub path: Box<str>,
    /// What is answered.
    pub answer: Box<str>,
}

/// What was made of a config's certificates: by the index of its listeners and clusters.
#[derive(Clone, Debug)]
pub struct TlsParts {
    /// Of the listeners that speak TLS.
    pub listeners: Vec<Option<Arc<Acceptor>>>,
    /// Of the clusters whose endpoints speak TLS.
    pub clusters: Vec<Option<Arc<Connector>>>,
    /// What shows authorities that hosts are ours.
    pub proofs: Arc<[HttpProof]>,
}

impl TlsParts {
    /// For a config without TLS.
    ///
    /// # Panics
    /// When it has some.
    pub fn none(config: &Config) -> TlsParts {
        let listeners = config.listeners.iter().map(|listener| {
            assert!(listener.tls.is_none(), "listener.{} speaks TLS", listener.name);
            None
        });
        let clusters = config.clusters.iter().map(|cluster| {
            assert!(cluster.tls.is_none(), "cluster.{} speaks TLS", cluster.name);
            None
        });
        TlsParts {
            listeners: listeners.collect(),
            clusters: clusters.collect(),
            proofs: Arc::default(),
        }
    }
}

/// Why a checked config can't be served.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A cluster's balancer can't be built.
    #[error("cluster.{cluster}: {error}")]
    Balancer {
        /// The cluster's name.
        cluster: String,
        /// Why.
        #[source]
        error: BalancerError,
    },
    /// Listeners or services of too many different names, those removed since the start included.
    #[error(
        "{count} names of {kind} since the start, at most {PLACES_MAX}: restart to forget those \
         that are gone"
    )]
    TooManyPlaces {
        /// Of what.
        kind: &'static str,
        /// How many there would be.
        count: usize,
    },
}

/// The access log has two bytes for a listener's or service's place.
pub const PLACES_MAX: usize = 1 << 16;

impl Snapshot {
    /// Makes `config` ready. `filters` are its filters, loaded with [`filter_settings`], and
    /// `tls` what was made of its certificates. Endpoints that `previous` also has keep their
    /// loads. `capacity` is the same for all Snapshots of a process.
    ///
    /// # Errors
    /// What a checked config can still ask too much of.
    pub fn build(
        config: Arc<Config>,
        filters: Vec<Installed>,
        tls: TlsParts,
        previous: Option<&Snapshot>,
        schemas: &Schemas,
        registry: &mut Registry,
        capacity: &Arc<Capacity>,
    ) -> Result<Snapshot, SnapshotError> {
        assert_eq!(filters.len(), config.filters.len(), "every filter of the config is loaded");
        let made = (tls.listeners.len(), tls.clusters.len());
        assert_eq!(made, (config.listeners.len(), config.clusters.len()), "so are certificates");
        let settings = filter_settings(&config);
        let seed = FleetSeed::new(&config.fleet.hash_seed);
        let connectors = config.clusters.iter().zip(tls.clusters);
        let clusters = connectors.map(|(cluster, tls)| {
            let old = previous
                .and_then(|old| old.clusters.iter().find(|old| old.config.name == cluster.name));
            build_cluster(cluster, tls, old, &seed, schemas, registry)
        });
        let clusters = clusters.collect::<Result<Vec<_>, _>>()?;
        let listeners =
            build_listeners(&config, &settings, tls.listeners, previous, schemas, registry)?;
        let services = build_services(&config, &settings, previous, schemas, registry)?;
        let methods_max = config.observe.grpc_methods_max as usize;
        Ok(Snapshot {
            generation: previous.map_or(1, |old| old.generation + 1),
            listeners,
            services,
            clusters,
            filters,
            process: registry.instance(schemas.process.id, &[]),
            methods: registry.discovered(schemas.method.id, methods_max),
            seed,
            connections_max: match config.runtime.connections_max {
                Count::Auto => capacity.connections_auto,
                Count::Exactly(count) => count,
            },
            proofs: tls.proofs,
            capacity: Arc::clone(capacity),
            config,
        })
    }
}

fn build_cluster(
    config: &config::Cluster,
    tls: Option<Arc<Connector>>,
    previous: Option<&Cluster>,
    seed: &FleetSeed,
    schemas: &Schemas,
    registry: &mut Registry,
) -> Result<Cluster, SnapshotError> {
    let endpoints = config.endpoints.iter().map(|endpoint| EndpointSpec {
        address: address_of(&endpoint.address),
        weight: endpoint.weight.shares().try_into().unwrap_or(u16::MAX),
    });
    let in_use = previous.map(|old| Arc::clone(&old.in_use)).unwrap_or_default();
    let previous = previous.map(|old| &old.balancer);
    let balancer = Balancer::new(&config.balance, endpoints.collect(), seed, previous)
        .map_err(|error| SnapshotError::Balancer { cluster: config.name.to_string(), error })?;
    Ok(Cluster {
        tls,
        usable: UsableSet::all(balancer.endpoints().len()),
        balancer,
        in_use,
        metrics: registry.instance(schemas.cluster.id, &[&config.name]),
        call_timeouts: config.timeouts.of_calls(),
        config: config.clone(),
    })
}

/// Every listener in its place: those of before first, new ones behind them.
fn build_listeners(
    config: &Config,
    settings: &[FilterSettings],
    tls: Vec<Option<Arc<Acceptor>>>,
    previous: Option<&Snapshot>,
    schemas: &Schemas,
    registry: &mut Registry,
) -> Result<Vec<Listener>, SnapshotError> {
    let before = previous.map_or(&[][..], |previous| &previous.listeners);
    let new: Vec<Ready<'_>> = config.listeners.iter().zip(tls).collect();
    let gone = |old: &Listener| Listener {
        removed: true,
        tls: None,
        routes: RouteTable::empty(&old.routes),
        metrics: old.metrics.clone(),
        config: old.config.clone(),
        ..*old
    };
    let same = |old: &Listener, (new, _): &Ready<'_>| old.config.name == new.name;
    let build = |listener: Ready<'_>| build_listener(listener, settings, schemas, registry);
    in_places("listeners", before, new, same, build, gone)
}

/// Every service in its place.
fn build_services(
    config: &Config,
    settings: &[FilterSettings],
    previous: Option<&Snapshot>,
    schemas: &Schemas,
    registry: &mut Registry,
) -> Result<Vec<Service>, SnapshotError> {
    let before = previous.map_or(&[][..], |previous| &previous.services);
    let new = config.services.iter().collect();
    let gone = |old: &Service| Service {
        removed: true,
        names: Arc::clone(&old.names),
        filters: Arc::default(),
        metrics: old.metrics.clone(),
        config: old.config.clone(),
    };
    let build = |service: &config::Service| Service {
        removed: false,
        names: Arc::new(ServerNames::new(&service.destinations.routes)),
        filters: chain_links(settings, &service.filters).into(),
        metrics: registry.instance(schemas.service.id, &[&service.name]),
        config: service.clone(),
    };
    let same = |old: &Service, new: &&config::Service| old.config.name == new.name;
    in_places("services", before, new, same, build, gone)
}

/// What was there before in its old places, built anew or `gone`; then what is new.
fn in_places<T, N>(
    kind: &'static str,
    before: &[T],
    mut new: Vec<N>,
    same: impl Fn(&T, &N) -> bool,
    mut build: impl FnMut(N) -> T,
    gone: impl Fn(&T) -> T,
) -> Result<Vec<T>, SnapshotError> {
    let mut all = Vec::with_capacity(before.len() + new.len());
    for old in before {
        let kept = new.iter().position(|new| same(old, new));
        all.push(match kept {
            Some(index) => build(new.remove(index)),
            None => gone(old),
        });
    }
    all.extend(new.into_iter().map(build));
    match all.len() {
        count if count > PLACES_MAX => Err(SnapshotError::TooManyPlaces { kind, count }),
        _ => Ok(all),
    }
}

/// A listener's config, with its certificates.
type Ready<'c> = (&'c config::Listener, Option<Arc<Acceptor>>);

fn build_listener(
    (config, tls): Ready<'_>,
    settings: &[FilterSettings],
    schemas: &Schemas,
    registry: &mut Registry,
) -> Listener {
    let lenient = config.lenient.iter().filter_map(|lenience| Lenient::named(lenience.name()));
    Listener {
        removed: false,
        tls,
        limits: Limits {
            head_bytes_max: config.limits.head_bytes_max.as_usize(),
            line_bytes_max: config.limits.line_bytes_max.as_usize(),
            target_bytes_max: config.limits.uri_bytes_max.as_usize(),
            fields_max: config.limits.fields_max as usize,
        },
        body_limits: BodyLimits::default(),
        lenient: lenient.fold(Lenient::NONE, |all, one| all | one),
        routes: RouteTable::build(config, settings, schemas, registry),
        metrics: registry.instance(schemas.listener.id, &[&config.name]),
        config: config.clone(),
    }
}

/// An endpoint's address as the environment knows it.
pub fn address_of(address: &config::EndpointAddress) -> Address {
    match address {
        config::EndpointAddress::Ip(address) => Address::Ip(*address),
        config::EndpointAddress::Unix(path) => Address::Unix(Arc::new(path.to_path_buf())),
    }
}
