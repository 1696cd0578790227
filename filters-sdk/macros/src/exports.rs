//! The text of a module's exports.
//!
//! Names and signatures are those of the proxy-wasm ABI 0.2.1. The bodies are one line each: what
//! is to be done stands in the SDK's `runtime`, where it is compiled and tested natively.

use crate::Kind;

/// The exports of the filter `self_type`, whose impl has the functions called `functions`.
pub(crate) fn code(kind: Kind, self_type: &str, functions: &[String]) -> String {
    let (wrapper, own) = match kind {
        Kind::Exchanges => ("Http", EXCHANGES),
        Kind::Connections => ("Raw", CONNECTIONS),
    };
    let filter = format!("::penstock::export::{wrapper}<{self_type}>");
    let mut code = ALWAYS.replace("FILTER", &filter);
    let has = |function: &str| functions.iter().any(|name| name == function);
    let exports: Vec<&(&str, &str)> = own.iter().chain(BOTH).collect();
    for (place, (function, export)) in exports.iter().enumerate() {
        // Some share theirs: three methods are for replies, and three for gRPC; trailers are also
        // the end of the body before them.
        let before = &exports[..place];
        let is_there = before.iter().any(|(other, same)| same == export && has(other));
        if has(function) && !is_there {
            code.push_str(export);
        }
    }
    for (function, _) in own {
        let truth = if has(function) { "true" } else { "false" };
        code = code.replace(&format!("HAS({function})"), truth);
    }
    // Exporting a name is unsafe in edition 2024 because two of one name may clash; the ABI's
    // names are this module's alone.
    format!("#[cfg(target_arch = \"wasm32\")] #[allow(unsafe_code)] const _: () = {{ {code} }};")
}

const ALWAYS: &str = r#"
    ::std::thread_local! {
        static RUNTIME: ::penstock::export::Runtime<FILTER> =
            const { ::penstock::export::Runtime::new() };
    }
    fn run<T>(
        callback: impl FnOnce(&::penstock::export::Runtime<FILTER>) -> T,
    ) -> T {
        ::penstock::export::scope(|| RUNTIME.with(callback))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_abi_version_0_2_1() {}
    #[unsafe(no_mangle)]
    extern "C" fn _initialize() { ::penstock::export::initialize() }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_memory_allocate(bytes: usize) -> *mut u8 {
        ::penstock::export::allocate(bytes)
    }
    #[unsafe(no_mangle)]
    extern "C" fn penstock_arena(bytes: usize) -> *mut u8 { ::penstock::export::host_area(bytes) }
    #[unsafe(no_mangle)]
    extern "C" fn penstock_stateless() -> u32 {
        u32::from(::penstock::export::is_stateless::<FILTER>())
    }
    #[unsafe(no_mangle)]
    extern "C" fn penstock_frees_lengths() {}
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
        run(|runtime| runtime.on_context_create(context, parent))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_configure(root: u32, bytes: usize) -> u32 {
        run(|runtime| u32::from(runtime.on_configure(root, bytes)))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_delete(context: u32) { run(|runtime| runtime.on_delete(context)) }
"#;

/// Which method of a filter of exchanges needs which export.
const EXCHANGES: &[(&str, &str)] = &[
    (
        "on_request",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_headers(context: u32, _: u32, end: u32) -> u32 {
            run(|runtime| runtime.on_request_headers(context, end != 0))
        }"#,
    ),
    (
        "on_request_body",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_body(context: u32, bytes: usize, end: u32) -> u32 {
            run(|runtime| runtime.on_request_body(context, bytes, end != 0))
        }"#,
    ),
    ("on_request_body", REQUEST_TRAILERS),
    ("on_request_trailers", REQUEST_TRAILERS),
    (
        "on_response",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_headers(context: u32, _: u32, end: u32) -> u32 {
            run(|runtime| runtime.on_response_headers(context, end != 0))
        }"#,
    ),
    (
        "on_response_body",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_body(context: u32, bytes: usize, end: u32) -> u32 {
            run(|runtime| runtime.on_response_body(context, bytes, end != 0))
        }"#,
    ),
    ("on_response_body", RESPONSE_TRAILERS),
    ("on_response_trailers", RESPONSE_TRAILERS),
];

/// The same of a filter of connections.
const CONNECTIONS: &[(&str, &str)] = &[
    (
        "on_connect",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
            run(|runtime| runtime.on_new_connection(context))
        }"#,
    ),
    (
        "on_downstream",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_downstream_data(context: u32, bytes: usize, end: u32) -> u32 {
            run(|runtime| runtime.on_downstream_data(context, bytes, end != 0))
        }"#,
    ),
    (
        "on_upstream",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_upstream_data(context: u32, bytes: usize, end: u32) -> u32 {
            run(|runtime| runtime.on_upstream_data(context, bytes, end != 0))
        }"#,
    ),
    (
        "on_downstream_close",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_downstream_connection_close(context: u32, peer: u32) {
            run(|runtime| runtime.on_downstream_close(context, peer))
        }"#,
    ),
    (
        "on_upstream_close",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_upstream_connection_close(context: u32, peer: u32) {
            run(|runtime| runtime.on_upstream_close(context, peer))
        }"#,
    ),
];

/// The same of both.
const BOTH: &[(&str, &str)] = &[
    (
        "on_log",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(context: u32) { run(|runtime| runtime.on_log(context)) }"#,
    ),
    (
        "on_tick",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(root: u32) { run(|runtime| runtime.on_tick(root)) }"#,
    ),
    (
        "on_queue",
        r#"#[unsafe(no_mangle)]
        extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
            run(|runtime| runtime.on_queue_ready(root, queue))
        }"#,
    ),
    ("on_reply", REPLY),
    ("on_response_reply", REPLY),
    ("on_plugin_reply", REPLY),
    ("on_grpc", GRPC),
    ("on_response_grpc", GRPC),
    ("on_plugin_grpc", GRPC),
];

// Where trailers follow a body, its end comes with them: a filter of bodies has to hear of them.
const REQUEST_TRAILERS: &str = r#"#[unsafe(no_mangle)]
    extern "C" fn proxy_on_request_trailers(context: u32, _: u32) -> u32 {
        let body = HAS(on_request_body);
        let trailers = HAS(on_request_trailers);
        let has = ::penstock::export::Tail { body, trailers };
        run(|runtime| runtime.on_request_trailers(context, has))
    }"#;

const RESPONSE_TRAILERS: &str = r#"#[unsafe(no_mangle)]
    extern "C" fn proxy_on_response_trailers(context: u32, _: u32) -> u32 {
        let body = HAS(on_response_body);
        let trailers = HAS(on_response_trailers);
        let has = ::penstock::export::Tail { body, trailers };
        run(|runtime| runtime.on_response_trailers(context, has))
    }"#;

const GRPC: &str = r#"#[unsafe(no_mangle)]
    extern "C" fn proxy_on_grpc_receive_initial_metadata(_: u32, call: u32, _: u32) {
        run(|runtime| runtime.on_grpc_metadata(call))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_grpc_receive(_: u32, call: u32, bytes: usize) {
        run(|runtime| runtime.on_grpc_message(call, bytes))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_grpc_receive_trailing_metadata(_: u32, call: u32, _: u32) {
        run(|runtime| runtime.on_grpc_trailers(call))
    }
    #[unsafe(no_mangle)]
    extern "C" fn proxy_on_grpc_close(_: u32, call: u32, status: u32) {
        run(|runtime| runtime.on_grpc_close(call, status))
    }"#;

const REPLY: &str = r#"#[unsafe(no_mangle)]
    extern "C" fn proxy_on_http_call_response(
        _: u32, call: u32, headers: u32, body: usize, _: u32,
    ) {
        run(|runtime| runtime.on_http_call_response(call, headers as usize, body))
    }"#;
