//! What a module may export for the host to call.

use crate::hostcalls::Value;

/// The function that `_initialize` and `main` belong to: a WASI reactor's start.
pub const INITIALIZE: &str = "_initialize";
/// Called after [`INITIALIZE`], with two zeroes, when the module has both.
pub const MAIN: &str = "main";
/// Called instead of [`INITIALIZE`] when the module lacks it: a WASI command's start.
pub const START: &str = "_start";
/// The guest's allocator: `(bytes) -> address`, 0 for failure.
pub const ALLOCATE: &str = "proxy_on_memory_allocate";
/// The guest's allocator by its older name; used where [`ALLOCATE`] is missing.
pub const MALLOC: &str = "malloc";
/// The guest's memory.
pub const MEMORY: &str = "memory";

/// Declares the callbacks with their export's name and signature.
macro_rules! callbacks {
    ($(
        $(#[$doc:meta])* $variant:ident = $name:literal ($($param:ident)*) $(-> $result:ident)?;
    )+) => {
        /// A callback: the host calls it if the module exports it, and skips it if not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Callback {
            $($(#[$doc])* $variant,)+
        }

        impl Callback {
            /// Every callback of the ABI.
            pub const ALL: &[Callback] = &[$(Callback::$variant,)+];

            /// The name it is exported under.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Callback::$variant => $name,)+
                }
            }

            /// Its parameters in ABI 0.2.x; in 0.1.0 the header callbacks lack the last one.
            pub const fn params(self) -> &'static [Value] {
                match self {
                    $(Callback::$variant => &[$(Value::$param),*],)+
                }
            }

            /// Its results: one, or none.
            pub const fn results(self) -> &'static [Value] {
                match self {
                    $(Callback::$variant => &[$(Value::$result)?],)+
                }
            }
        }
    };
}

callbacks! {
    /// A context is born: `(context, parent)`, parent 0 for a root context.
    ContextCreate = "proxy_on_context_create" (I32 I32);
    /// The machine starts: `(root, configuration bytes)`, answers whether it can.
    VmStart = "proxy_on_vm_start" (I32 I32) -> I32;
    /// The plugin starts: `(root, configuration bytes)`, answers whether it can.
    Configure = "proxy_on_configure" (I32 I32) -> I32;
    /// The timer of a root context fired.
    Tick = "proxy_on_tick" (I32);
    /// Request head: `(context, fields, end of stream)`.
    RequestHeaders = "proxy_on_request_headers" (I32 I32 I32) -> I32;
    /// Request body: `(context, bytes at hand, end of stream)`.
    RequestBody = "proxy_on_request_body" (I32 I32 I32) -> I32;
    /// Request trailers: `(context, fields)`.
    RequestTrailers = "proxy_on_request_trailers" (I32 I32) -> I32;
    /// Response head: `(context, fields, end of stream)`.
    ResponseHeaders = "proxy_on_response_headers" (I32 I32 I32) -> I32;
    /// Response body: `(context, bytes at hand, end of stream)`.
    ResponseBody = "proxy_on_response_body" (I32 I32 I32) -> I32;
    /// Response trailers: `(context, fields)`.
    ResponseTrailers = "proxy_on_response_trailers" (I32 I32) -> I32;
    /// The host is done with a context; answers whether the filter is too.
    Done = "proxy_on_done" (I32) -> I32;
    /// The time to write a last line about a context.
    Log = "proxy_on_log" (I32);
    /// A context is gone.
    Delete = "proxy_on_delete" (I32);
    /// Answer to `proxy_http_call`: `(root, token, fields, body bytes, trailers)`, 0 fields for
    /// a failure.
    HttpCallResponse = "proxy_on_http_call_response" (I32 I32 I32 I32 I32);
    /// A raw connection was accepted.
    NewConnection = "proxy_on_new_connection" (I32) -> I32;
    /// Bytes from downstream: `(context, bytes at hand, end of stream)`.
    DownstreamData = "proxy_on_downstream_data" (I32 I32 I32) -> I32;
    /// Bytes from upstream: `(context, bytes at hand, end of stream)`.
    UpstreamData = "proxy_on_upstream_data" (I32 I32 I32) -> I32;
    /// The downstream connection closed: `(context, peer)`.
    DownstreamClose = "proxy_on_downstream_connection_close" (I32 I32);
    /// The upstream connection closed: `(context, peer)`.
    UpstreamClose = "proxy_on_upstream_connection_close" (I32 I32);
    /// A shared queue has an item: `(root, queue)`.
    QueueReady = "proxy_on_queue_ready" (I32 I32);
    /// Initial metadata of a gRPC call: `(root, token, fields)`.
    GrpcInitialMetadata = "proxy_on_grpc_receive_initial_metadata" (I32 I32 I32);
    /// A message of a gRPC call: `(root, token, bytes)`.
    GrpcReceive = "proxy_on_grpc_receive" (I32 I32 I32);
    /// Trailing metadata of a gRPC call: `(root, token, fields)`.
    GrpcTrailingMetadata = "proxy_on_grpc_receive_trailing_metadata" (I32 I32 I32);
    /// A gRPC call ended: `(root, token, status)`.
    GrpcClose = "proxy_on_grpc_close" (I32 I32 I32);
    /// A foreign function calls in: `(root, function, argument bytes)`.
    ForeignFunction = "proxy_on_foreign_function" (I32 I32 I32);
}

/// Which callbacks a module exports: one test decides whether anything need be done at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackSet(u32);

impl CallbackSet {
    /// No callback.
    pub const EMPTY: CallbackSet = CallbackSet(0);

    /// This set with `callback` in it.
    #[must_use]
    pub const fn with(self, callback: Callback) -> CallbackSet {
        CallbackSet(self.0 | 1 << callback as u32)
    }

    /// Everything that is in either set.
    #[must_use]
    pub const fn union(self, other: CallbackSet) -> CallbackSet {
        CallbackSet(self.0 | other.0)
    }

    /// Whether `callback` is in it.
    #[inline]
    pub const fn has(self, callback: Callback) -> bool {
        self.0 & 1 << callback as u32 != 0
    }
}
