//! What a filter is configured with, in this crate's own terms.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::Capability;

/// Everything about one filter but its code.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSettings {
    /// The name: in the log, in metrics, and what `plugin_name` reads.
    pub name: Arc<str>,
    /// Filters of one `vm_id` share their shared data; what `plugin_vm_id` reads.
    pub vm_id: Arc<str>,
    /// What `proxy_on_vm_start` gets.
    pub vm_config: Arc<[u8]>,
    /// What `environ_get` tells: name and value.
    pub environment: Arc<[(String, String)]>,
    /// The SHA-256 that the module must have.
    pub sha256: Option<[u8; 32]>,
    /// What the code may do.
    pub capabilities: Capabilities,
    /// The clusters that it may call; [`crate::Callout::cluster`] is an index into them.
    pub clusters: Arc<[Arc<str>]>,
    /// The clusters that it may call by gRPC, likewise.
    pub grpc_clusters: Arc<[Arc<str>]>,
    /// What happens to a stream whose filter failed.
    pub on_error: OnError,
    /// What a pause in a header callback holds.
    pub pause_headers: PauseHeaders,
    /// Whether exchanges share an instance.
    pub isolation: Isolation,
    /// Bytes of linear memory and tables, together.
    pub memory_bytes_max: usize,
    /// How long a callback for heads, trailers, timers and ends may run. Deadlines are kept to
    /// steps of 2.5 ms, three at least: one of 5 ms ends a loop after 5 to 7.5.
    pub header_deadline: Duration,
    /// How long a callback for body bytes may run.
    pub body_deadline: Duration,
    /// How long an instance may take to start and read its configuration.
    pub start_deadline: Duration,
    /// How long a context is kept whose stream is over and which is not done with it.
    pub ended_deadline: Duration,
    /// How many such contexts an instance may keep.
    pub ended_max: u32,
    /// Body bytes, or those of a connection, that a pausing filter may hold back, per stream and
    /// direction.
    pub body_bytes_max: usize,
    /// Bytes that one hostcall may move.
    pub hostcall_bytes_max: usize,
    /// HTTP calls under way at once, per instance.
    pub callouts_max: u32,
    /// What its gRPC calls may take.
    pub grpc: GrpcLimits,
    /// Log lines per second, per shard.
    pub log_lines_max: u32,
    /// Bytes of shared data, over all filters of the `vm_id`.
    pub shared_bytes_max: usize,
    /// When a filter that keeps failing is switched off.
    pub storm: Storm,
    /// The root contexts: one for each configuration that the filter is used with.
    pub plugins: Arc<[PluginSettings]>,
}

impl FilterSettings {
    /// The defaults, with one plugin of an empty configuration.
    pub fn new(name: &str) -> FilterSettings {
        FilterSettings {
            name: name.into(),
            vm_id: name.into(),
            vm_config: Arc::default(),
            environment: Arc::default(),
            sha256: None,
            capabilities: Capabilities::ALL,
            clusters: Arc::default(),
            grpc_clusters: Arc::default(),
            on_error: OnError::Deny,
            pause_headers: PauseHeaders::All,
            isolation: Isolation::Shared,
            memory_bytes_max: 16 << 20,
            header_deadline: Duration::from_millis(5),
            body_deadline: Duration::from_millis(10),
            start_deadline: Duration::from_millis(1_000),
            ended_deadline: Duration::from_secs(30),
            ended_max: 1_024,
            body_bytes_max: 1 << 20,
            hostcall_bytes_max: 4 << 20,
            callouts_max: 256,
            grpc: GrpcLimits::default(),
            log_lines_max: 100,
            shared_bytes_max: 16 << 20,
            storm: Storm::default(),
            plugins: Arc::new([PluginSettings::default()]),
        }
    }
}

/// What the gRPC calls of a filter may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcLimits {
    /// Calls and streams under way at once, per instance.
    pub calls_max: u32,
    /// Bytes of one message, either way.
    pub message_bytes_max: usize,
    /// Bytes of messages that wait to be sent, per call.
    pub buffered_bytes_max: usize,
}

impl Default for GrpcLimits {
    fn default() -> GrpcLimits {
        GrpcLimits { calls_max: 256, message_bytes_max: 4 << 20, buffered_bytes_max: 8 << 20 }
    }
}

/// One configuration of a filter: a root context in its instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// Picks the root in modules that hold several; what `plugin_root_id` reads.
    pub root_id: Arc<str>,
    /// What `proxy_on_configure` gets.
    pub config: Arc<[u8]>,
}

/// A set of [`Capability`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Everything. Calls still reach only the clusters that are listed.
    pub const ALL: Capabilities = Capabilities(u32::MAX);
    /// What no filter works without.
    pub const NONE: Capabilities = Capabilities(1 << Capability::Lifecycle as u32);

    /// This set with `capability` in it.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Capabilities {
        Capabilities(self.0 | 1 << capability as u32)
    }

    /// Whether `capability` is granted.
    #[inline]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u32 != 0
    }
}

/// What happens to a stream whose filter trapped, ran too long or can't start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnError {
    /// It is answered 503, a connection reset: right for filters that guard something.
    Deny,
    /// It goes on without the filter: right for filters that observe.
    Allow,
}

/// What a pause in a header callback holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PauseHeaders {
    /// Head and body, as Envoy does it: no body callback before the stream continues.
    All,
    /// The head alone: the body callbacks see the body, and continuing there lets both go.
    HeadersOnly,
}

/// Whether exchanges share an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// One instance per shard, a context for each exchange.
    Shared,
    /// An instance for each exchange: for code not trusted with other requests' memory.
    Request,
}

/// When a filter that keeps failing is switched off, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// This many failures ...
    pub traps_max: u32,
    /// ... within this time switch it off on the shard,
    pub window: Duration,
    /// for this long at first, twice as long after each further storm,
    pub rearm: Duration,
    /// and never longer than this.
    pub rearm_max: Duration,
}

impl Default for Storm {
    fn default() -> Storm {
        Storm {
            traps_max: 50,
            window: Duration::from_secs(10),
            rearm: Duration::from_secs(1),
            rearm_max: Duration::from_secs(64),
        }
    }
}
