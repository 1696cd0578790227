//! Every function a module may import, with its signature: what linking and `inspect` go by.

use self::Capability as C;
use self::Priority::{P0, P1};

/// A type of WebAssembly that crosses the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number, pointer or length of 32 bits.
    I32,
    /// A number of 64 bits.
    I64,
}

/// The module name that a function is imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// `env`: the proxy-wasm calls.
    Env,
    /// `wasi_snapshot_preview1`, and the same under its older name `wasi_unstable`.
    Wasi,
}

impl Module {
    /// The names that this module answers to.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Module::Env => &["env"],
            Module::Wasi => &["wasi_snapshot_preview1", "wasi_unstable"],
        }
    }
}

/// Whether a call does its work in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// It does.
    P0,
    /// It links and answers a status; the work comes later.
    P1,
}

/// What a filter is allowed to do: the unit in which a configuration grants hostcalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// What no filter works without: its configuration, contexts, and their ends. Always granted.
    Lifecycle,
    /// Lines in the log.
    Log,
    /// Reading and changing fields of requests and responses.
    Headers,
    /// Reading and changing bodies and raw bytes.
    Body,
    /// Reading and setting properties of the stream and the proxy.
    Properties,
    /// Continuing and closing a stream that it holds.
    Streams,
    /// Answering a request itself.
    LocalResponse,
    /// HTTP requests of its own, to the clusters that the configuration lists.
    HttpCall,
    /// gRPC requests of its own, to the clusters that the configuration lists.
    GrpcCall,
    /// Values and queues shared with its instances on the other shards.
    SharedData,
    /// Metrics of its own.
    Metrics,
    /// A periodic callback.
    Timers,
    /// The time of day.
    Clock,
    /// Random bytes.
    Random,
    /// Functions that the proxy adds to the ABI by name.
    Foreign,
}

impl Capability {
    /// Every capability.
    pub const ALL: &[Capability] = &[
        Capability::Lifecycle,
        Capability::Log,
        Capability::Headers,
        Capability::Body,
        Capability::Properties,
        Capability::Streams,
        Capability::LocalResponse,
        Capability::HttpCall,
        Capability::GrpcCall,
        Capability::SharedData,
        Capability::Metrics,
        Capability::Timers,
        Capability::Clock,
        Capability::Random,
        Capability::Foreign,
    ];

    /// The name that a configuration grants it by.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Lifecycle => "lifecycle",
            Capability::Log => "log",
            Capability::Headers => "headers",
            Capability::Body => "body",
            Capability::Properties => "properties",
            Capability::Streams => "streams",
            Capability::LocalResponse => "local-response",
            Capability::HttpCall => "http-call",
            Capability::GrpcCall => "grpc-call",
            Capability::SharedData => "shared-data",
            Capability::Metrics => "metrics",
            Capability::Timers => "timers",
            Capability::Clock => "clock",
            Capability::Random => "random",
            Capability::Foreign => "foreign",
        }
    }

    /// The capability of this name.
    pub fn from_name(name: &str) -> Option<Capability> {
        Capability::ALL.iter().copied().find(|capability| capability.name() == name)
    }
}

/// One function that the host provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hostcall {
    /// Where it is imported from.
    pub module: Module,
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [Value],
    /// Its results: a status or an errno, or none.
    pub results: &'static [Value],
    /// What must be granted for it to do anything.
    pub capability: Capability,
    /// Whether it does its work in this version.
    pub priority: Priority,
}

/// The function that a module imports as `name` from `module`; `None` if the host has no such.
pub fn find(module: &str, name: &str) -> Option<&'static Hostcall> {
    HOSTCALLS.iter().find(|call| call.name == name && call.module.names().contains(&module))
}

/// The capability that a call of `env` needs, at compile time.
///
/// # Panics
/// When the table has no such call; in a constant that fails the build.
pub const fn capability_of(name: &str) -> Capability {
    let mut index = 0;
    while index < HOSTCALLS.len() {
        if equal(HOSTCALLS[index].name.as_bytes(), name.as_bytes()) {
            return HOSTCALLS[index].capability;
        }
        index += 1;
    }
    panic!("no such hostcall in the table")
}

/// `==`, which constants don't have.
const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A row of the table for `env`, whose functions all answer a status.
const fn env(
    name: &'static str,
    params: &'static [Value],
    capability: Capability,
    priority: Priority,
) -> Hostcall {
    Hostcall { module: Module::Env, name, params, results: &[I], capability, priority }
}

/// A row of the table for WASI, whose functions all answer an errno.
const fn wasi(name: &'static str, params: &'static [Value], capability: Capability) -> Hostcall {
    Hostcall { module: Module::Wasi, name, params, results: &[I], capability, priority: P0 }
}

const I: Value = Value::I32;
const L: Value = Value::I64;

/// Every function that the host provides.
pub const HOSTCALLS: &[Hostcall] = &[
    // Log.
    env("proxy_log", &[I, I, I], C::Log, P0),
    env("proxy_get_log_level", &[I], C::Log, P0),
    // Clock and timers.
    env("proxy_get_current_time_nanoseconds", &[I], C::Clock, P0),
    env("proxy_set_tick_period_milliseconds", &[I], C::Timers, P0),
    // Lifecycle.
    env("proxy_set_effective_context", &[I], C::Lifecycle, P0),
    env("proxy_done", &[], C::Lifecycle, P0),
    env("proxy_get_configuration", &[I, I], C::Lifecycle, P0),
    env("proxy_get_status", &[I, I, I], C::Lifecycle, P0),
    // Buffers.
    env("proxy_get_buffer_bytes", &[I, I, I, I, I], C::Body, P0),
    env("proxy_set_buffer_bytes", &[I, I, I, I, I], C::Body, P0),
    env("proxy_get_buffer_status", &[I, I, I], C::Body, P0),
    // Header maps.
    env("proxy_get_header_map_size", &[I, I], C::Headers, P0),
    env("proxy_get_header_map_pairs", &[I, I, I], C::Headers, P0),
    env("proxy_set_header_map_pairs", &[I, I, I], C::Headers, P0),
    env("proxy_get_header_map_value", &[I, I, I, I, I], C::Headers, P0),
    env("proxy_add_header_map_value", &[I, I, I, I, I], C::Headers, P0),
    env("proxy_replace_header_map_value", &[I, I, I, I, I], C::Headers, P0),
    env("proxy_remove_header_map_value", &[I, I, I], C::Headers, P0),
    // Properties.
    env("proxy_get_property", &[I, I, I, I], C::Properties, P0),
    env("proxy_set_property", &[I, I, I, I], C::Properties, P0),
    // Streams.
    env("proxy_continue_stream", &[I], C::Streams, P0),
    env("proxy_close_stream", &[I], C::Streams, P0),
    env("proxy_continue_request", &[], C::Streams, P0),
    env("proxy_continue_response", &[], C::Streams, P0),
    env("proxy_clear_route_cache", &[], C::Streams, P0),
    env("proxy_send_local_response", &[I, I, I, I, I, I, I, I], C::LocalResponse, P0),
    // Callouts.
    env("proxy_http_call", &[I, I, I, I, I, I, I, I, I, I], C::HttpCall, P0),
    env("proxy_grpc_call", &[I, I, I, I, I, I, I, I, I, I, I, I], C::GrpcCall, P0),
    env("proxy_grpc_stream", &[I, I, I, I, I, I, I, I, I], C::GrpcCall, P0),
    env("proxy_grpc_send", &[I, I, I, I], C::GrpcCall, P0),
    env("proxy_grpc_cancel", &[I], C::GrpcCall, P0),
    env("proxy_grpc_close", &[I], C::GrpcCall, P0),
    // Shared data and queues.
    env("proxy_get_shared_data", &[I, I, I, I, I], C::SharedData, P0),
    env("proxy_set_shared_data", &[I, I, I, I, I], C::SharedData, P0),
    env("proxy_register_shared_queue", &[I, I, I], C::SharedData, P0),
    env("proxy_resolve_shared_queue", &[I, I, I, I, I], C::SharedData, P0),
    env("proxy_enqueue_shared_queue", &[I, I, I], C::SharedData, P0),
    env("proxy_dequeue_shared_queue", &[I, I, I], C::SharedData, P0),
    // Metrics.
    env("proxy_define_metric", &[I, I, I, I], C::Metrics, P0),
    env("proxy_increment_metric", &[I, L], C::Metrics, P0),
    env("proxy_record_metric", &[I, L], C::Metrics, P0),
    env("proxy_get_metric", &[I, I], C::Metrics, P0),
    // Foreign functions.
    env("proxy_call_foreign_function", &[I, I, I, I, I, I], C::Foreign, P1),
    // What Emscripten's C library asks of a host without threads.
    env("pthread_equal", &[I, I], C::Lifecycle, P0),
    Hostcall {
        module: Module::Env,
        name: "emscripten_notify_memory_growth",
        params: &[I],
        results: &[],
        capability: C::Lifecycle,
        priority: P0,
    },
    // WASI: a log, a clock, random bytes; no files, no sockets, no arguments.
    wasi("fd_write", &[I, I, I, I], C::Log),
    wasi("clock_time_get", &[I, L, I], C::Clock),
    wasi("clock_res_get", &[I, I], C::Clock),
    wasi("random_get", &[I, I], C::Random),
    wasi("environ_sizes_get", &[I, I], C::Lifecycle),
    wasi("environ_get", &[I, I], C::Lifecycle),
    wasi("args_sizes_get", &[I, I], C::Lifecycle),
    wasi("args_get", &[I, I], C::Lifecycle),
    Hostcall {
        module: Module::Wasi,
        name: "proc_exit",
        params: &[I],
        results: &[],
        capability: C::Lifecycle,
        priority: P0,
    },
    wasi("sched_yield", &[], C::Lifecycle),
    wasi("poll_oneoff", &[I, I, I, I], C::Lifecycle),
    wasi("fd_fdstat_get", &[I, I], C::Lifecycle),
    wasi("fd_fdstat_set_flags", &[I, I], C::Lifecycle),
    wasi("fd_prestat_get", &[I, I], C::Lifecycle),
    wasi("fd_prestat_dir_name", &[I, I, I], C::Lifecycle),
    wasi("fd_close", &[I], C::Lifecycle),
    wasi("fd_read", &[I, I, I, I], C::Lifecycle),
    wasi("fd_seek", &[I, L, I, I], C::Lifecycle),
    wasi("fd_filestat_get", &[I, I], C::Lifecycle),
    wasi("path_open", &[I, I, I, I, I, L, L, I, I], C::Lifecycle),
    wasi("path_filestat_get", &[I, I, I, I, I], C::Lifecycle),
    wasi("path_create_directory", &[I, I, I], C::Lifecycle),
    wasi("path_remove_directory", &[I, I, I], C::Lifecycle),
    wasi("path_rename", &[I, I, I, I, I, I], C::Lifecycle),
    wasi("path_unlink_file", &[I, I, I], C::Lifecycle),
    wasi("sock_accept", &[I, I, I], C::Lifecycle),
];
