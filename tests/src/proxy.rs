//! The real proxy on a node of a simulated world, and what has to be true of it in the end.
//!
//! What its config's filters and certificates become is the suite's own ([`Outfit`]). Not for what
//! is asked of it: that is the tests'.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock_balance::UsableSet;
use penstock_config::{Config, UncheckedFiles};
use penstock_env::{Address, Unix};
use penstock_filter_host::Installed;
use penstock_proxy::{
    Capacity, Cause, Entrance, LogSink, Schemas, Secure, Snapshot, TlsParts, Worker,
};
use penstock_telemetry::access::AccessRecord;
use penstock_telemetry::metrics::{Registry, RegistryLimits};
use penstock_wire::grpc::Code;

use crate::sim::{Death, Limits, SimEnv, World};

/// What a proxy makes of the parts of its config that come from files.
pub trait Outfit {
    /// The filters of `config`; those of `before` that are the same go on.
    fn filters(&self, config: &Config, before: &[Installed]) -> Vec<Installed>;

    /// Its certificates, whatever files it names.
    fn tls(&self, config: &Config) -> TlsParts;
}

/// No filters, and no TLS.
pub struct Bare;

impl Outfit for Bare {
    fn filters(&self, _config: &Config, _before: &[Installed]) -> Vec<Installed> {
        Vec::new()
    }

    fn tls(&self, config: &Config) -> TlsParts {
        TlsParts {
            listeners: vec![None; config.listeners.len()],
            clusters: vec![None; config.clusters.len()],
            proofs: Arc::default(),
        }
    }
}

/// The proxy on its node.
#[derive(Clone)]
pub struct ProxyNode {
    env: SimEnv,
    /// The address that it listens at.
    pub front: Address,
    inner: Rc<Inner>,
}

struct Inner {
    /// One per shard: connections come to them in turn.
    workers: Vec<Worker<Secure<SimEnv>>>,
    /// Which of them other shards want to look.
    nudges: Vec<Arc<AtomicBool>>,
    /// Those after the first are applied one after the other, then the first again.
    texts: Vec<String>,
    schemas: Arc<Schemas>,
    registry: RefCell<Registry>,
    outfit: Box<dyn Outfit>,
    capacity: Arc<Capacity>,
    snapshots: RefCell<Vec<Arc<Snapshot>>>,
    records: Records,
}

/// What all shards wrote to the access log, in order.
type Records = Rc<RefCell<Vec<AccessRecord>>>;

/// The log of one shard.
fn log_to(records: &Records) -> LogSink {
    let records = records.clone();
    Box::new(move |fill| {
        let mut record = AccessRecord::new(Unix::default());
        fill(&mut record);
        records.borrow_mut().push(record);
        true
    })
}

impl ProxyNode {
    /// Starts it with configs in which `FRONT` is the address that it listens at, to be applied in
    /// turn.
    ///
    /// # Panics
    /// When a config can't be served.
    pub fn serve(
        world: &World,
        texts: &[String],
        shards: usize,
        outfit: impl FnOnce(&SimEnv) -> Box<dyn Outfit>,
    ) -> ProxyNode {
        let env = world.node("proxy", Limits::tight(&mut world.rng()));
        let front = env.address(80);
        let texts = texts.iter().map(|text| text.replace("FRONT", &front.to_string()));
        let texts: Vec<_> = texts.collect();
        let mut registry = Registry::new(shards, RegistryLimits::default());
        let schemas = Arc::new(Schemas::declare(&mut registry));
        let outfit = outfit(&env);
        let capacity = Capacity::new(CONNECTIONS_AUTO, 7);
        let snapshot = build(&texts[0], &*outfit, None, &schemas, &mut registry, &capacity);
        let records = Records::default();
        let worker = |shard: usize| {
            let log = Some(log_to(&records));
            Worker::new(env.clone(), shard, schemas.clone(), snapshot.clone(), log, || 0)
        };
        let workers: Vec<_> = (0..shards).map(worker).collect();
        let nudges: Vec<Arc<AtomicBool>> = workers.iter().map(|_| Arc::default()).collect();
        for (worker, nudge) in workers.iter().zip(&nudges) {
            let nudge = Arc::clone(nudge);
            worker.set_nudge(Box::new(move || nudge.store(true, Ordering::Relaxed)));
        }
        let (accepting, mut turn) = (workers.clone(), (0..shards).cycle());
        let entrance = match snapshot.listeners.is_empty() {
            true => Entrance::Service(0),
            false => Entrance::Listener(0),
        };
        env.listen(&front, move |stream| {
            accepting[turn.next().unwrap_or_default()].accept(entrance, stream);
        });
        let accepting = workers.clone();
        env.bind_datagrams(&front, move |replies, ends, datagrams| {
            // As the kernel does: a flow stays on its shard.
            let shard = usize::from(ends.peer.port()) % accepting.len();
            accepting[shard].datagrams(entrance, replies, ends, datagrams);
        });
        let inner = Inner {
            workers,
            nudges,
            texts,
            schemas,
            registry: RefCell::new(registry),
            outfit,
            capacity,
            snapshots: RefCell::new(vec![snapshot]),
            records,
        };
        ProxyNode { env, front, inner: Rc::new(inner) }
    }

    /// Has each shard look that another nudged since this was last called.
    pub fn deliver_nudges(&self) {
        for (worker, nudge) in self.inner.workers.iter().zip(&self.inner.nudges) {
            if nudge.swap(false, Ordering::Relaxed) {
                worker.nudged();
            }
        }
    }

    /// Applies the next config, which may be the same.
    pub fn reload(&self) {
        let inner = &self.inner;
        let mut snapshots = inner.snapshots.borrow_mut();
        let previous = snapshots.last().map(|snapshot| &**snapshot);
        let registry = &mut inner.registry.borrow_mut();
        let text = &inner.texts[snapshots.len() % inner.texts.len()];
        let next = build(text, &*inner.outfit, previous, &inner.schemas, registry, &inner.capacity);
        inner.workers.iter().for_each(|worker| worker.apply(next.clone()));
        snapshots.push(next);
        self.env.note("reload", snapshots.len() as u64);
    }

    /// Puts every endpoint out of use, as those do who watch over endpoints.
    pub fn take_endpoints_away(&self) {
        let (inner, mut snapshots) = (&self.inner, self.inner.snapshots.borrow_mut());
        let previous = snapshots.last().map(|snapshot| &**snapshot);
        let registry = &mut inner.registry.borrow_mut();
        let mut next = build(
            &inner.texts[0],
            &*inner.outfit,
            previous,
            &inner.schemas,
            registry,
            &inner.capacity,
        );
        for cluster in &mut Arc::get_mut(&mut next).expect("nobody has it yet").clusters {
            cluster.usable = UsableSet::none(cluster.usable.len());
        }
        inner.workers.iter().for_each(|worker| worker.apply(next.clone()));
        snapshots.push(next);
    }

    /// What it wrote to the access log so far.
    pub fn records(&self) -> Vec<AccessRecord> {
        self.inner.records.borrow().clone()
    }

    /// Begins to drain, and ends before that has come to an end, as a process does whose time is
    /// over: tasks are dropped where they are.
    pub fn cut(&self, world: &World) {
        self.inner.workers.iter().for_each(Worker::drain);
        world.kill(&self.env, Death::Reset);
    }

    /// Unused connections to endpoints.
    pub fn pooled_count(&self) -> usize {
        self.inner.workers.iter().map(Worker::pooled_count).sum()
    }

    /// Bytes of the largest task that it spawned.
    pub fn task_bytes_max(&self) -> usize {
        self.env.task_bytes_max()
    }

    /// Tries that failed so far in the first cluster: each cause that was counted, and how often.
    pub fn tries_failed(&self) -> Vec<(Cause, u64)> {
        let (snapshots, table) =
            (self.inner.snapshots.borrow(), self.inner.schemas.cluster.tries_failed);
        let metrics = &snapshots.last().expect("it serves one").clusters[0].metrics;
        let count = |cause: Cause| (cause, metrics.counter(table.at(cause.index())));
        Cause::ALL.iter().map(|&cause| count(cause)).filter(|&(_, count)| count > 0).collect()
    }

    /// Failures so far: each cause that was counted, and how often.
    pub fn failures(&self) -> Vec<(Cause, u64)> {
        let (inner, snapshots) = (&self.inner, self.inner.snapshots.borrow());
        let process = &snapshots.last().expect("it serves one").process;
        let count = |cause: Cause| {
            let counter = inner.schemas.process.failures.at(cause.index());
            (0..inner.workers.len()).map(|shard| process.shard(shard).counter(counter)).sum()
        };
        let counts = Cause::ALL.iter().map(|&cause| (cause, count(cause)));
        counts.filter(|&(_, count)| count > 0).collect()
    }

    /// Windows of HTTP/2 that would have grown, had there been room.
    pub fn windows_held(&self) -> u64 {
        let (inner, snapshots) = (&self.inner, self.inner.snapshots.borrow());
        let process = &snapshots.last().expect("it serves one").process;
        process.counter(inner.schemas.process.windows_held)
    }

    /// Connections of the first service that are open.
    pub fn service_connections(&self) -> i64 {
        let snapshots = self.inner.snapshots.borrow();
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        metrics.gauge(self.inner.schemas.service.active)
    }

    /// Connections of denied sources that the first service keeps.
    pub fn tarpitted(&self) -> i64 {
        let snapshots = self.inner.snapshots.borrow();
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        metrics.gauge(self.inner.schemas.service.tarpit)
    }

    /// gRPC calls of the first route, by the code they ended with.
    pub fn calls(&self) -> Vec<(Code, u64)> {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.route);
        let routes = &snapshots.last().expect("it serves one").listeners[0].routes;
        let metrics = &routes.routes()[0].metrics;
        let count = |code: Code| (code, metrics.counter(ids.calls.at(code as usize)));
        Code::ALL.into_iter().map(count).filter(|&(_, count)| count > 0).collect()
    }

    /// Retries of the first cluster that the budget did not allow.
    pub fn retries_refused(&self) -> u64 {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.cluster);
        let metrics = &snapshots.last().expect("it serves one").clusters[0].metrics;
        metrics.counter(ids.retries_refused)
    }

    /// Of a gRPC method, by its path: messages from callers and to them, and their bytes.
    pub fn messages(&self, path: &str) -> Option<[u64; 4]> {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.method);
        let methods = &snapshots.last().expect("it serves one").methods;
        let method = methods.find(path.as_bytes())?;
        let ids = [ids.messages_in, ids.messages_out, ids.bytes_in, ids.bytes_out];
        Some(ids.map(|id| method.counter(id)))
    }

    /// Bytes that the first service has carried, up and down.
    pub fn service_bytes(&self) -> (u64, u64) {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.service);
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        (metrics.counter(ids.bytes_in), metrics.counter(ids.bytes_out))
    }

    /// Those among them that a conduit moved.
    pub fn spliced_bytes(&self) -> u64 {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.service);
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        metrics.counter(ids.bytes_spliced)
    }

    /// Drains it, and finds nothing left.
    pub fn end(self, world: &World) {
        self.rest(world);
        drop(self);
        world.finish(Duration::from_secs(600));
    }

    /// Drains it, and finds that nothing is under way in it.
    pub fn rest(&self, world: &World) {
        self.env.unlisten(&self.front);
        self.env.unbind_datagrams(&self.front);
        let workers = self.inner.workers.clone();
        workers.iter().for_each(Worker::drain);
        self.env.drain();
        let sum =
            |count: fn(&Worker<Secure<SimEnv>>) -> usize| workers.iter().map(count).sum::<usize>();
        let left = || (sum(Worker::connection_count), sum(Worker::request_count));
        assert!(
            world.run_until(Duration::from_secs(600), || left() == (0, 0)),
            "(connections, requests) are still there: {:?} {:#?}",
            left(),
            world.leaks()
        );
        // Calls that filters made go on for as long as they may.
        world.run(Duration::from_secs(2));
        assert_eq!(sum(Worker::filter_streams_count), 0, "contexts of exchanges that ended");
        let pooled = sum(Worker::pooled_count) as i64;
        for snapshot in &*self.inner.snapshots.borrow() {
            for listener in &snapshot.listeners {
                assert_eq!(listener.metrics.gauge(self.inner.schemas.listener.active), 0);
            }
            for service in &snapshot.services {
                assert_eq!(service.metrics.gauge(self.inner.schemas.service.active), 0);
            }
            assert_eq!(snapshot.process.gauge(self.inner.schemas.process.connections), pooled);
            for endpoint in snapshot.clusters.iter().flat_map(|c| c.balancer.endpoints()) {
                assert_eq!(endpoint.load().in_flight(), 0, "{:?}", endpoint.address());
            }
        }
        workers.iter().for_each(Worker::clear_pools);
        assert_eq!(sum(Worker::pooled_count), 0);
        let rests = || workers.iter().all(Worker::rests);
        assert!(
            world.run_until(Duration::from_secs(60), rests),
            "streams, windows that grew, or heads"
        );
        for cluster in self.inner.snapshots.borrow().iter().flat_map(|old| &old.clusters) {
            let (requests, connections) = (cluster.in_use.requests(), cluster.in_use.connections());
            assert_eq!((requests, connections), (0, 0), "{}", cluster.config.name);
        }
    }
}

fn build(
    text: &str,
    outfit: &dyn Outfit,
    previous: Option<&Snapshot>,
    schemas: &Schemas,
    registry: &mut Registry,
    capacity: &Arc<Capacity>,
) -> Arc<Snapshot> {
    let config = Config::parse("sim.toml", text.as_bytes(), &UncheckedFiles)
        .unwrap_or_else(|findings| panic!("{findings:?}\n{text}"));
    let before = previous.map_or(&[][..], |snapshot| &snapshot.filters);
    let filters = outfit.filters(&config, before);
    let tls = outfit.tls(&config);
    let config = Arc::new(config);
    let next = Snapshot::build(config, filters, tls, previous, schemas, registry, capacity);
    Arc::new(next.expect("the config can be served"))
}

/// Where a scene says nothing of `connections_max`: more than any needs.
const CONNECTIONS_AUTO: u32 = 100_000;
