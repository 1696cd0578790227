//! Runs a compiled filter over the real host, in a test: with its limits, a clock that moves when
//! told, callouts that the test answers, and fuel as a measure of cost that repeats.
//!
//! ```no_run
//! use penstock_filters_sdk_testing::FilterTest;
//!
//! let wasm = std::fs::read("target/wasm32-unknown-unknown/release/greeter.wasm").unwrap();
//! let test = FilterTest::new(&wasm).config(r#"{ "greeting": "hello" }"#);
//! test.request(&[(":method", "GET"), (":path", "/")])
//!     .expect_continue()
//!     .respond(200, &[])
//!     .expect_response_header("x-greeting", "hello")
//!     .expect_fuel_max(50_000);
//! ```
//!
//! For the filter's own code without a module there is `penstock::testing`, which needs no WASM
//! target and is quicker. What both say must agree; `tests/shipped.rs` here holds the shipped
//! modules to it.

#![forbid(unsafe_code)]

mod connection;
mod exchange;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_filter_host::testing::{FakeSession, FakeWorld, Harness};
use penstock_filter_host::{
    Attention, CalloutResponse, Engine, EngineSettings, FilterHost, FilterSettings, Filters,
    PairList, PluginSettings, RootCallout, World,
};

pub use connection::{Connection, Fate};
pub use exchange::{Exchange, Verdict};
pub use penstock_filter_host::abi::PeerType;
pub use penstock_filter_host::testing::Fields;
pub use penstock_filter_host::{
    Callout, CalloutFailure, GrpcEvent, LoadError, LocalResponse, OnError,
};

/// A filter to be tested: first how it is configured, then what it is asked.
///
/// Every `expect_` panics in the test's own line when it is not so.
pub struct FilterTest {
    wasm: Vec<u8>,
    settings: FilterSettings,
    fuel_max: u64,
    properties: RefCell<BTreeMap<String, Vec<u8>>>,
    world: Rc<FakeWorld>,
    harness: OnceCell<Harness>,
    calls: RefCell<Vec<RootCallout>>,
}

impl FilterTest {
    /// The module with these bytes, with no configuration.
    pub fn new(wasm: &[u8]) -> Self {
        Self {
            wasm: wasm.to_vec(),
            settings: FilterSettings::new("filter"),
            fuel_max: FUEL_MAX,
            properties: RefCell::default(),
            world: Rc::new(FakeWorld::new(SEED)),
            harness: OnceCell::new(),
            calls: RefCell::default(),
        }
    }

    /// Sets the configuration, as the JSON that the proxy hands over.
    pub fn config(self, json: &str) -> Self {
        let config = PluginSettings { config: json.as_bytes().into(), ..PluginSettings::default() };
        self.settings(|settings| settings.plugins = Arc::new([config]))
    }

    /// Grants calls to a cluster, by HTTP and by gRPC.
    pub fn cluster(self, name: &str) -> Self {
        self.settings(|settings| {
            let granted = settings.clusters.iter().cloned().chain([name.into()]);
            settings.clusters = granted.collect();
            settings.grpc_clusters = Arc::clone(&settings.clusters);
        })
    }

    /// Sets what a failure of the filter does to its request. Without it: 503.
    pub fn on_error(self, on_error: OnError) -> Self {
        self.settings(|settings| settings.on_error = on_error)
    }

    /// Changes any setting of the host: limits, capabilities, deadlines.
    pub fn settings(mut self, change: impl FnOnce(&mut FilterSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Stops a callback that uses more fuel than this.
    pub fn fuel_max(mut self, fuel: u64) -> Self {
        self.fuel_max = fuel;
        self
    }

    /// Sets a property that requests from now on have, its path with dots: `source.address`.
    pub fn property(self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.set_property(path, value);
        self
    }

    /// As [`property`](Self::property), in the middle of a test.
    pub fn set_property(&self, path: &str, value: impl AsRef<[u8]>) {
        self.properties.borrow_mut().insert(path.to_owned(), value.as_ref().to_vec());
    }

    /// Starts the filter, to see whether it starts; a request does so by itself.
    ///
    /// # Errors
    /// What is wrong with the module or its configuration, as the proxy would report it.
    ///
    /// # Panics
    /// When this machine cannot run WebAssembly.
    pub fn load(&self) -> Result<(), LoadError> {
        if self.harness.get().is_some() {
            return Ok(());
        }
        let engine = EngineSettings { deadlines: false, fuel_max: Some(self.fuel_max) };
        let engine = Engine::new(engine).expect("this machine runs WebAssembly");
        let host = FilterHost::new(engine, None, 1, SEED);
        let seen: Rc<dyn World> = self.world.clone();
        let filter = host.load(&self.wasm, self.settings.clone(), &seen)?;
        // What the trial start said, the real one will say again.
        self.world.lines.borrow_mut().clear();
        let filters = Filters::new(0, seen);
        filters.apply(&[Arc::clone(&filter).into()]);
        let world = Rc::clone(&self.world);
        // It was empty above, and there is one thread.
        let _ = self.harness.set(Harness { world, filters, filter, host });
        Ok(())
    }

    /// A request without a body whose head has these fields, `:method` and `:path` among them.
    #[track_caller]
    pub fn request(&self, fields: &[(&str, &str)]) -> Exchange<'_> {
        Exchange::open(self, fields, true)
    }

    /// A request whose body is still to come.
    #[track_caller]
    pub fn request_with_body(&self, fields: &[(&str, &str)]) -> Exchange<'_> {
        Exchange::open(self, fields, false)
    }

    /// A client connects, at a service.
    #[track_caller]
    pub fn connect(&self) -> Connection<'_> {
        Connection::open(self)
    }

    /// Lets time pass; timers that are due by then run, one after the other.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.harness().advance(time);
    }

    /// Says that the filter, outside any request, has called this cluster for this path.
    #[track_caller]
    pub fn expect_call(&self, cluster: &str, path: &str) -> &Self {
        self.collect_calls();
        let calls = self.calls.borrow();
        let call = calls.first().expect("the filter has made no call");
        let found = (&*call.callout.cluster, call.callout.headers.value(b":path"));
        assert_eq!(found, (cluster, Some(path.as_bytes())));
        self
    }

    /// Says that no call of the filter's own waits for a reply.
    #[track_caller]
    pub fn expect_no_call(&self) -> &Self {
        self.collect_calls();
        assert!(self.calls.borrow().is_empty(), "the filter has made a call");
        self
    }

    /// Replies to the filter's oldest call outside requests.
    #[track_caller]
    pub fn reply(&self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> &Self {
        self.deliver(Ok(&response(status, fields, body.as_ref())))
    }

    /// Has the filter's oldest call outside requests fail: nobody is there.
    #[track_caller]
    pub fn fail_call(&self) -> &Self {
        self.fail_call_by(CalloutFailure::Unreachable)
    }

    /// The same, with what it failed by.
    #[track_caller]
    pub fn fail_call_by(&self, failure: CalloutFailure) -> &Self {
        self.deliver(Err(failure))
    }

    /// Whether the filter has made a call outside requests that waits for its reply.
    #[track_caller]
    pub fn has_call(&self) -> bool {
        self.collect_calls();
        !self.calls.borrow().is_empty()
    }

    /// Something comes on the filter's oldest gRPC call outside requests. A call is over with
    /// that; a stream when it is closed.
    #[track_caller]
    pub fn grpc(&self, event: GrpcEvent) -> &Self {
        self.collect_calls();
        let mut calls = self.calls.borrow_mut();
        let streams = |call: &RootCallout| call.callout.grpc.as_ref().map(|grpc| grpc.streams);
        let place = calls.iter().position(|call| streams(call).is_some());
        let place = place.expect("no gRPC call is under way");
        let over = streams(&calls[place]) == Some(false);
        let call = match over || matches!(event, GrpcEvent::Closed { .. }) {
            true => &calls.remove(place),
            false => &calls[place],
        };
        self.harness().filters.hear(call, &event);
        self
    }

    /// All lines that the filter has logged so far, each as `Level: text`; why it did not start is
    /// among them.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.world.lines.borrow();
        lines.iter().map(|(level, line)| format!("{level:?}: {line}")).collect()
    }

    /// The sum of a counter or the level of a gauge; `None` if there is none of that name.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let stats = self.harness().filter.stats();
        stats.defined().find(|metric| *metric.name == *name.as_bytes())?.value()
    }

    /// Fuel that the filter has used since it started. An instruction is about one.
    pub fn fuel_used(&self) -> u64 {
        self.harness().fuel_used()
    }

    #[track_caller]
    fn harness(&self) -> &Harness {
        if let Err(error) = self.load() {
            panic!("the filter does not load: {error}");
        }
        self.harness.get().expect("it was loaded in the line above")
    }

    fn session(&self, fields: &[(&str, &str)]) -> FakeSession {
        FakeSession { properties: self.properties.borrow().clone(), ..FakeSession::new(fields) }
    }

    /// Tells the filter of values in its queues.
    #[track_caller]
    pub fn run_queues(&self) -> &Self {
        self.collect_calls();
        self
    }

    /// Takes what the filter's own callbacks wanted called, and tells of values in queues.
    fn collect_calls(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let filters = &self.harness().filters;
        while let Poll::Ready(attention) = pin!(filters.attention()).poll(&mut context) {
            match attention {
                Attention::Callout(call) => self.calls.borrow_mut().push(call),
                Attention::Queues => filters.serve_queues(),
                Attention::Ticks => {}
            }
        }
    }

    #[track_caller]
    fn deliver(&self, answer: Result<&CalloutResponse, CalloutFailure>) -> &Self {
        self.collect_calls();
        assert!(!self.calls.borrow().is_empty(), "no call waits for a reply");
        let call = self.calls.borrow_mut().remove(0);
        self.harness().filters.answer(&call, answer);
        self
    }
}

/// A reply with these fields behind its status.
fn response(status: u16, fields: &[(&str, &str)], body: &[u8]) -> CalloutResponse {
    let status = status.to_string();
    let status = [(&b":status"[..], status.as_bytes())];
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    CalloutResponse {
        headers: status.into_iter().chain(fields).collect::<PairList>(),
        body: body.to_vec(),
        ..CalloutResponse::default()
    }
}

/// Of the random numbers that the filter is given.
const SEED: u64 = 7;

/// More than any callback of a sound filter needs, and gone in a moment by one that loops.
const FUEL_MAX: u64 = 100_000_000;
