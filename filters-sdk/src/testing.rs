//! Unit tests for filters: the filter's own code against a host double, natively and in a moment.
//!
//! For the compiled module over the real host, with deadlines and memory limits, there is the crate
//! `penstock-filters-sdk-testing`.
//!
//! ```
//! # extern crate penstock_filters_sdk as penstock;
//! # use penstock::{ConfigError, Filter, Flow, NoConfig, Request, testing::Instance};
//! # struct Greeter;
//! # #[penstock::filter]
//! # impl Filter for Greeter {
//! #     fn new(_: NoConfig) -> Result<Self, ConfigError> { Ok(Self) }
//! #     fn on_request(&self, request: &mut Request<'_>) -> Flow {
//! #         request.set_header("x-greeting", "hello");
//! #         Flow::Continue
//! #     }
//! # }
//! let filter = Instance::<Greeter>::new("{}").unwrap();
//! let exchange = filter.request(&[(":method", "GET"), (":path", "/")]);
//! assert!(exchange.went_on());
//! assert_eq!(exchange.request_header("x-greeting").as_deref(), Some("hello"));
//! ```

mod connection;
mod exchange;
pub(crate) mod halves;

use std::time::Duration;

use penstock_filters_sdk_abi::LogLevel;

use crate::config::ConfigError;
use crate::filter::Filter;
use crate::runtime::{Http, Kind, Raw, Runtime};
use crate::stream::StreamFilter;
use crate::sys::native::{self, Double};

pub use connection::Connected;
pub use exchange::{Answered, Exchange};

/// A configured [`Filter`].
pub type Instance<F> = Bench<Http<F>>;

/// A configured [`StreamFilter`].
pub type StreamInstance<F> = Bench<Raw<F>>;

/// A configured filter. Two of them on one thread are two shards: they see the same shared data,
/// metrics and clock, which begin anew when the thread's last instance is gone.
pub struct Bench<F: Kind> {
    runtime: Runtime<F>,
    root: u32,
}

impl<F: Kind> Bench<F> {
    /// Configures the filter with `config`, which is JSON as the proxy hands it over.
    pub fn new(config: &str) -> Result<Self, ConfigError> {
        let root = native::with(|double| {
            if double.instances == 0 {
                *double = Double { unix: STARTED, ..Double::default() };
            }
            double.instances += 1;
            double.next_context()
        });
        let runtime = Runtime::new();
        runtime.on_context_create(root, 0);
        let instance = Self { runtime, root };
        native::with(|double| double.context = root);
        instance.runtime.configure(root, config.as_bytes())?;
        Ok(instance)
    }

    /// Sets a property, for instance `["source", "address"]` to `192.0.2.7:4711`.
    pub fn set_property(&self, path: &[&str], value: impl AsRef<[u8]>) {
        let path = path.join("\0").into_bytes();
        native::with(|double| double.properties.insert(path, value.as_ref().to_vec()));
    }

    /// The property at `path`, as the proxy or the filter set it.
    pub fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        native::with(|double| double.properties.get(path.join("\0").as_bytes()).cloned())
    }

    /// Sets the time of day.
    pub fn set_unix(&self, time: Duration) {
        native::with(|double| double.unix = time);
    }

    /// Lets time pass. The timer does not run by itself: see [`tick`](Self::tick).
    pub fn advance(&self, time: Duration) {
        native::with(|double| {
            double.unix += time;
            double.monotonic += time;
        });
    }

    /// The period that the filter asked for with `clock::every`.
    pub fn tick_period(&self) -> Duration {
        native::with(|double| double.tick_period)
    }

    /// Runs the timer's callback.
    pub fn tick(&self) {
        native::with(|double| double.context = self.root);
        self.runtime.on_tick(self.root);
    }

    /// Tells the filter of values in its queues, one after the other until there are none that it
    /// was not told of. Of two instances, the one that registered a queue last hears of its values.
    pub fn run_queues(&self) {
        let owed = |double: &mut Double| {
            let mine = |queue: &native::Queue| {
                queue.root == self.root && queue.owed > 0 && !queue.items.is_empty()
            };
            let place = double.queues.iter().position(mine)?;
            double.queues[place].owed -= 1;
            double.context = self.root;
            u32::try_from(place + 1).ok()
        };
        while let Some(queue) = native::with(owed) {
            self.runtime.on_queue_ready(self.root, queue);
        }
    }

    /// Values that wait in a queue, as bytes.
    pub fn queued(&self, name: &str) -> Vec<Vec<u8>> {
        native::with(|double| {
            let queue = double.queues.iter().find(|queue| queue.name == name);
            queue.map_or(Vec::new(), |queue| queue.items.iter().cloned().collect())
        })
    }

    /// Has a pause of a head hold the head alone, as `pause_headers = "headers-only"` does: the
    /// body is shown while the head waits. Without it the body waits, too.
    pub fn set_heads_only(&self) {
        native::with(|double| double.heads_only = true);
    }

    /// Lets calls reach these clusters alone. Without it they reach any.
    pub fn set_clusters(&self, clusters: &[&str]) {
        native::with(|double| {
            double.clusters = clusters.iter().map(|&cluster| cluster.to_owned()).collect();
        });
    }

    /// The calls of which something is to come, oldest first.
    pub fn calls(&self) -> Vec<Called> {
        native::with(|double| double.calls.iter().cloned().map(Called).collect())
    }

    /// Replies to the oldest callout.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn reply(&self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let mut headers = vec![(":status".to_owned(), status.to_string().into_bytes())];
        headers.extend(owned(fields));
        self.deliver(headers, body.as_ref().to_vec());
    }

    /// Has the oldest callout fail, as where nobody is there: the reply is a 503 of the proxy's.
    /// One out of time is [`reply`](Self::reply) with 504.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn fail_call(&self) {
        self.reply(503, &[("content-type", "text/plain")], "upstream unreachable");
    }

    #[track_caller]
    fn deliver(&self, headers: native::Fields, body: Vec<u8>) {
        let counts = (headers.len(), body.len());
        let call = native::with(|double| {
            assert!(!double.calls.is_empty(), "no callout waits for a reply");
            let call = double.calls.remove(0);
            double.reply = native::Reply { headers, body, ..native::Reply::default() };
            double.context = self.root;
            call.id
        });
        self.runtime.on_http_call_response(call, counts.0, counts.1);
        native::with(|double| double.reply = native::Reply::default());
        F::catch_up(&self.runtime);
    }

    /// Something comes on the oldest gRPC call. A call is over with that; a stream when it is
    /// closed.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn grpc(&self, came: GrpcCame<'_>) {
        let call = native::with(|double| {
            let place = double.calls.iter().position(|call| call.grpc.is_some());
            let place = place.expect("no gRPC call is under way");
            let streams = double.calls[place].grpc.as_ref().is_some_and(|side| side.streams);
            let id = double.calls[place].id;
            if !streams || matches!(came, GrpcCame::Closed(..)) {
                double.calls.remove(place);
            }
            let mut reply = native::Reply::default();
            match came {
                GrpcCame::Metadata(fields) | GrpcCame::Trailers(fields) => {
                    reply.headers = owned(fields);
                }
                GrpcCame::Message(message) => reply.body = message.to_vec(),
                GrpcCame::Closed(_, message) => reply.message = message.to_owned(),
            }
            double.reply = reply;
            double.context = self.root;
            id
        });
        match came {
            GrpcCame::Metadata(_) => self.runtime.on_grpc_metadata(call),
            GrpcCame::Message(message) => self.runtime.on_grpc_message(call, message.len()),
            GrpcCame::Trailers(_) => self.runtime.on_grpc_trailers(call),
            GrpcCame::Closed(code, _) => self.runtime.on_grpc_close(call, code),
        }
        native::with(|double| double.reply = native::Reply::default());
        F::catch_up(&self.runtime);
    }

    /// Has the next `count` changes of shared data find that another shard was faster.
    pub fn set_rivals(&self, count: u32) {
        native::with(|double| double.rivals = count);
    }

    /// The keys of all shared data, in order.
    pub fn shared_keys(&self) -> Vec<String> {
        native::with(|double| double.shared.keys().cloned().collect())
    }

    /// The sum of a counter or the level of a gauge; `None` if it was never defined.
    pub fn metric(&self, name: &str) -> Option<u64> {
        native::with(|double| double.metric(name).map(|metric| metric.value))
    }

    /// What a histogram was given, in order.
    pub fn recorded(&self, name: &str) -> Vec<u64> {
        native::with(|double| {
            double.metric(name).map(|metric| metric.values.clone()).unwrap_or_default()
        })
    }

    /// All log lines so far, each as `level: text`.
    pub fn lines(&self) -> Vec<String> {
        native::with(|double| {
            double.lines.iter().map(|(level, line)| format!("{}: {line}", word(*level))).collect()
        })
    }
}

impl<F: Filter> Instance<F> {
    /// A request without a body whose head has these fields, `:method` and `:path` among them.
    pub fn request(&self, fields: &[(&str, &str)]) -> Exchange<'_, F> {
        Exchange::open(self, fields, true)
    }

    /// A request whose body is still to come.
    pub fn request_with_body(&self, fields: &[(&str, &str)]) -> Exchange<'_, F> {
        Exchange::open(self, fields, false)
    }
}

impl<F: StreamFilter> StreamInstance<F> {
    /// A client connects.
    pub fn connect(&self) -> Connected<'_, F> {
        Connected::open(self)
    }
}

impl<F: Kind> Drop for Bench<F> {
    fn drop(&mut self) {
        native::with(|double| double.instances -= 1);
    }
}

impl Double {
    fn next_context(&mut self) -> u32 {
        self.last_context += 1;
        self.last_context
    }

    fn metric(&self, name: &str) -> Option<&native::Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// Something that comes on a gRPC call.
#[derive(Clone, Copy, Debug)]
pub enum GrpcCame<'a> {
    /// The fields before the messages of a stream.
    Metadata(&'a [(&'a str, &'a str)]),
    /// A message.
    Message(&'a [u8]),
    /// The fields behind the messages of a stream.
    Trailers(&'a [(&'a str, &'a str)]),
    /// The end, with its code and what is said to it.
    Closed(u32, &'a str),
}

/// A call of which something is to come. It prints as `cluster method path`.
#[derive(Clone)]
pub struct Called(native::Call);

impl Called {
    /// The value of its field `name`.
    pub fn header(&self, name: &str) -> Option<String> {
        exchange::first(&self.0.headers, name)
    }

    /// Its body; of a gRPC call, the message.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// What was sent so far on a gRPC stream.
    pub fn sent(&self) -> &[Vec<u8>] {
        self.0.grpc.as_ref().map_or(&[], |side| &side.sent)
    }

    /// Whether nothing more will be sent on a gRPC stream.
    pub fn is_finished(&self) -> bool {
        self.0.grpc.as_ref().is_some_and(|side| side.ended)
    }

    /// How long the filter is ready to wait.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }
}

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = |name| self.header(name).unwrap_or_default();
        write!(f, "{} {} {}", self.0.cluster, field(":method"), field(":path"))
    }
}

fn owned(fields: &[(&str, &str)]) -> native::Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    }
}

/// When the double's clock starts: 2026-01-01T00:00:00Z.
const STARTED: Duration = Duration::from_secs(1_767_225_600);
