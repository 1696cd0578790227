//! The real proxy between clients and origins of the simulated world.
//!
//! After every run: each request has the outcome that its plan allows, no byte came from another
//! session (the actors look at every one), and all of the proxy's counts are back to zero.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_balance::UsableSet;
use penstock_config::{Config, UncheckedFiles};
use penstock_env::Address;
use penstock_proxy::{Capacity, Cause, Entrance, Schemas, Secure, Snapshot, Worker};
use penstock_telemetry::metrics::{Registry, RegistryLimits};
use penstock_tests::sim::{
    Death, Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds,
};
use penstock_wire::grpc::Code;

use crate::http::ledger::{Outcome, Policy};
use crate::http::origin::HOST;
use crate::http::plan::Menu;
use crate::http::scene::{Scene, Stage};
use crate::modules::Loader;

const TAME: Menu = Menu {
    faults: false,
    malformed: false,
    aborts: false,
    idle_closes: false,
    marks: false,
    body_bytes_max: 20_000,
};
const WILD: Menu = Menu { faults: true, malformed: true, aborts: true, idle_closes: true, ..TAME };

#[test]
fn every_request_is_answered_by_its_origin() {
    check_some_seeds("proxy, tame", Faults::CALM, |world| play(world, TAME, None));
}

#[test]
fn what_goes_wrong_upstream_or_downstream_stays_where_it_went_wrong() {
    check_some_seeds("proxy, wild", Faults::CALM, |world| play(world, WILD, None));
}

#[test]
fn a_network_that_breaks_connections_breaks_nothing_else() {
    check_some_seeds("proxy, rough", Faults::ROUGH, |world| play(world, WILD, None));
}

#[test]
fn the_death_of_an_origin_costs_what_it_had() {
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("proxy, death", Faults::CALM, |world| play(world, TAME, Some(death)));
    }
}

/// Clients, the proxy, origins; with reloads in the middle of it.
fn play(world: &World, menu: Menu, death: Option<Death>) {
    let mut stage = Scene { menu, proxied: true, death, filters: Policy::NONE }.set(world);
    let proxy = Proxy::start(world, &stage.origins);
    perform(world, &mut stage, proxy);
    if !stage.rules.rough && !menu.faults {
        assert!(stage.ledger.count(|outcome| outcome == Outcome::Exact) > 0);
    }
}

/// Sends the stage's clients to `proxy`, and judges what comes of it.
pub(crate) fn perform(world: &World, stage: &mut Stage, proxy: Proxy) {
    act(world, stage, &proxy);
    proxy.end(world);
}

/// The same, but for the end of the proxy.
pub(crate) fn act(world: &World, stage: &mut Stage, proxy: &Proxy) {
    stage.play(&proxy.front);
    let reloads = world.rng().below(3);
    for _ in 0..reloads {
        let wait = Duration::from_micros(u64::from(world.rng().below(60_000)));
        let proxy = proxy.clone();
        world.after(wait, move |_| proxy.reload());
    }
    let ledger = stage.ledger.clone();
    let done = || ledger.is_settled() || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "requests without an outcome; still there: {:#?}", world.leaks());
    stage.ledger.judge(&stage.rules);
}

/// Where a scene says nothing of `connections_max`: more than any needs.
const CONNECTIONS_AUTO: u32 = 100_000;

/// The proxy on its node.
#[derive(Clone)]
pub(crate) struct Proxy {
    env: SimEnv,
    pub(crate) front: Address,
    inner: Rc<Inner>,
}

struct Inner {
    /// One per shard: connections come to them in turn.
    workers: Vec<Worker<Secure<SimEnv>>>,
    /// Those after the first are applied one after the other, then the first again.
    texts: Vec<String>,
    schemas: Arc<Schemas>,
    registry: RefCell<Registry>,
    loader: Loader,
    capacity: Arc<Capacity>,
    snapshots: RefCell<Vec<Arc<Snapshot>>>,
}

impl Proxy {
    /// Starts it in front of `origins`.
    pub(crate) fn start(world: &World, origins: &[Address]) -> Proxy {
        // An endpoint that leaves, and comes back.
        let fewer = &origins[..origins.len().div_ceil(2)];
        Proxy::serve_in_turn(world, &[config(origins, "", ""), config(fewer, "", "")])
    }

    /// Starts it with a config in which `FRONT` is the address that it listens at.
    pub(crate) fn serve(world: &World, text: &str) -> Proxy {
        Proxy::serve_in_turn(world, &[text.to_owned()])
    }

    /// [`Proxy::serve`], with configs to be applied in turn.
    pub(crate) fn serve_in_turn(world: &World, texts: &[String]) -> Proxy {
        Proxy::serve_on(world, texts, 1)
    }

    /// [`Proxy::serve_in_turn`], on several shards.
    pub(crate) fn serve_on(world: &World, texts: &[String], shards: usize) -> Proxy {
        let env = world.node("proxy", Limits::tight(&mut world.rng()));
        let front = env.address(80);
        let texts = texts.iter().map(|text| text.replace("FRONT", &front.to_string()));
        let texts: Vec<_> = texts.collect();
        let mut registry = Registry::new(shards, RegistryLimits::default());
        let schemas = Arc::new(Schemas::declare(&mut registry));
        let loader = Loader::new(&env, shards);
        let capacity = Capacity::new(CONNECTIONS_AUTO, 7);
        let snapshot = build(&texts[0], &loader, None, &schemas, &mut registry, &capacity);
        let worker = |shard: usize| {
            Worker::new(env.clone(), shard, schemas.clone(), snapshot.clone(), None, || 0)
        };
        let workers: Vec<_> = (0..shards).map(worker).collect();
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
            texts,
            schemas,
            registry: RefCell::new(registry),
            loader,
            capacity,
            snapshots: RefCell::new(vec![snapshot]),
        };
        Proxy { env, front, inner: Rc::new(inner) }
    }

    /// Applies the next config, which may be the same.
    pub(crate) fn reload(&self) {
        let inner = &self.inner;
        let mut snapshots = inner.snapshots.borrow_mut();
        let previous = snapshots.last().map(|snapshot| &**snapshot);
        let registry = &mut inner.registry.borrow_mut();
        let text = &inner.texts[snapshots.len() % inner.texts.len()];
        let next = build(text, &inner.loader, previous, &inner.schemas, registry, &inner.capacity);
        inner.workers.iter().for_each(|worker| worker.apply(next.clone()));
        snapshots.push(next);
        self.env.note("reload", snapshots.len() as u64);
    }

    /// Puts every endpoint out of use, as those do who watch over endpoints.
    pub(crate) fn take_endpoints_away(&self) {
        let (inner, mut snapshots) = (&self.inner, self.inner.snapshots.borrow_mut());
        let previous = snapshots.last().map(|snapshot| &**snapshot);
        let registry = &mut inner.registry.borrow_mut();
        let mut next = build(
            &inner.texts[0],
            &inner.loader,
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

    /// Unused connections to endpoints.
    pub(crate) fn pooled_count(&self) -> usize {
        self.inner.workers.iter().map(Worker::pooled_count).sum()
    }

    /// Bytes of the largest task that it spawned.
    pub(crate) fn task_bytes_max(&self) -> usize {
        self.env.task_bytes_max()
    }

    /// Failures so far: each cause that was counted, and how often.
    pub(crate) fn failures(&self) -> Vec<(Cause, u64)> {
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
    pub(crate) fn windows_held(&self) -> u64 {
        let (inner, snapshots) = (&self.inner, self.inner.snapshots.borrow());
        let process = &snapshots.last().expect("it serves one").process;
        process.counter(inner.schemas.process.windows_held)
    }

    /// Connections of the first service that are open.
    pub(crate) fn service_connections(&self) -> i64 {
        let snapshots = self.inner.snapshots.borrow();
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        metrics.gauge(self.inner.schemas.service.active)
    }

    /// gRPC calls of the first route, by the code they ended with.
    pub(crate) fn calls(&self) -> Vec<(Code, u64)> {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.route);
        let routes = &snapshots.last().expect("it serves one").listeners[0].routes;
        let metrics = &routes.routes()[0].metrics;
        let count = |code: Code| (code, metrics.counter(ids.calls.at(code as usize)));
        Code::ALL.into_iter().map(count).filter(|&(_, count)| count > 0).collect()
    }

    /// Retries of the first cluster that the budget did not allow.
    pub(crate) fn retries_refused(&self) -> u64 {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.cluster);
        let metrics = &snapshots.last().expect("it serves one").clusters[0].metrics;
        metrics.counter(ids.retries_refused)
    }

    /// Of a gRPC method, by its path: messages from callers and to them, and their bytes.
    pub(crate) fn messages(&self, path: &str) -> Option<[u64; 4]> {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.method);
        let methods = &snapshots.last().expect("it serves one").methods;
        let method = methods.find(path.as_bytes())?;
        let ids = [ids.messages_in, ids.messages_out, ids.bytes_in, ids.bytes_out];
        Some(ids.map(|id| method.counter(id)))
    }

    /// Bytes that the first service has carried, up and down.
    pub(crate) fn service_bytes(&self) -> (u64, u64) {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.service);
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        (metrics.counter(ids.bytes_in), metrics.counter(ids.bytes_out))
    }

    /// Those among them that a conduit moved.
    pub(crate) fn spliced_bytes(&self) -> u64 {
        let (snapshots, ids) = (self.inner.snapshots.borrow(), &self.inner.schemas.service);
        let metrics = &snapshots.last().expect("it serves one").services[0].metrics;
        metrics.counter(ids.bytes_spliced)
    }

    /// Drains it, and finds nothing left.
    pub(crate) fn end(self, world: &World) {
        self.rest(world);
        drop(self);
        world.finish(Duration::from_secs(600));
    }

    /// Drains it, and finds that nothing is under way in it.
    pub(crate) fn rest(&self, world: &World) {
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
        let rests = || workers.iter().all(Worker::http2_rests);
        assert!(world.run_until(Duration::from_secs(60), rests), "streams, or windows that grew");
        for cluster in self.inner.snapshots.borrow().iter().flat_map(|old| &old.clusters) {
            let (requests, connections) = (cluster.in_use.requests(), cluster.in_use.connections());
            assert_eq!((requests, connections), (0, 0), "{}", cluster.config.name);
        }
    }
}

/// The config in which all requests go to `origins`; with more for the listener, and more blocks.
pub(crate) fn config(origins: &[Address], listener: &str, blocks: &str) -> String {
    let mut text = format!(
        "[observe]\ncause_header = true\n\
         [listener.web]\naddress = \"FRONT\"\n{listener}\
         [[listener.web.route]]\nhost = \"{HOST}\"\nto = \"app\"\nupgrade = \"sim-echo\"\n\
         {blocks}[cluster.app]\nendpoints = ["
    );
    for origin in origins {
        write!(text, "\"{origin}\", ").expect("strings take everything");
    }
    text + "]\ntimeouts.upgrade_idle = \"120s\"\n"
}

fn build(
    text: &str,
    loader: &Loader,
    previous: Option<&Snapshot>,
    schemas: &Schemas,
    registry: &mut Registry,
    capacity: &Arc<Capacity>,
) -> Arc<Snapshot> {
    let config = Config::parse("sim.toml", text.as_bytes(), &UncheckedFiles)
        .unwrap_or_else(|findings| panic!("{findings:?}\n{text}"));
    let before = previous.map_or(&[][..], |snapshot| &snapshot.filters);
    let filters = loader.load(&config, before);
    let tls = crate::tls::parts(&config);
    let config = Arc::new(config);
    let next = Snapshot::build(config, filters, tls, previous, schemas, registry, capacity);
    Arc::new(next.expect("the config can be served"))
}
