//! The hostcalls, a file for each group, and their register.
//!
//! Every argument is a guest's and may lie. A function here reads memory through `guest::slice`,
//! answers a status, and never holds a reference to the session across a call into the guest.

mod buffers;
mod callouts;
mod grpc;
mod headers;
mod lifecycle;
mod log;
mod metrics;
mod properties;
mod queues;
mod shared;
mod streams;
#[cfg(test)]
mod tests;
mod wasi;

use wasmtime::{Caller, Linker};

use crate::abi::hostcalls::capability_of;
use crate::abi::{Capability, Status};
use crate::guest::{Guest, status};
use crate::state::State;

/// Links functions of `env`: each is refused when its capability, by the ABI's table, is not
/// granted. Envoy's status for that is `InternalFailure`.
macro_rules! link {
    ($linker:ident: $($name:literal = $function:path [$($argument:ident: $type:ty),*];)+) => {
        $(
            $linker.func_wrap(
                "env",
                $name,
                |caller: Caller<'_, State>, $($argument: $type),*| -> wasmtime::Result<u32> {
                    const CAPABILITY: Capability = capability_of($name);
                    let mut guest = Guest::new(caller);
                    if !guest.allows(CAPABILITY) {
                        return Ok(Status::InternalFailure as u32);
                    }
                    status($function(&mut guest, $($argument),*))
                },
            )?;
        )+
    };
}

/// Adds every hostcall to `linker`.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link! { linker:
        "proxy_log" = log::log [level: u32, text: u32, bytes: u32];
        "proxy_get_log_level" = log::level [out: u32];
        "proxy_get_current_time_nanoseconds" = lifecycle::current_time [out: u32];
        "proxy_set_tick_period_milliseconds" = lifecycle::set_tick_period [ms: u32];
        "proxy_set_effective_context" = lifecycle::set_effective_context [id: u32];
        "proxy_done" = lifecycle::done [];
        "proxy_get_configuration" = buffers::configuration [value: u32, bytes: u32];
        "proxy_get_status" = callouts::call_status [code: u32, text: u32, bytes: u32];
        "proxy_get_buffer_bytes" = buffers::bytes
            [kind: u32, start: u32, bytes_max: u32, value: u32, bytes: u32];
        "proxy_set_buffer_bytes" = buffers::set_bytes
            [kind: u32, start: u32, size: u32, value: u32, bytes: u32];
        "proxy_get_buffer_status" = buffers::buffer_status [kind: u32, bytes: u32, flags: u32];
        "proxy_get_header_map_size" = headers::size [map: u32, out: u32];
        "proxy_get_header_map_pairs" = headers::pairs [map: u32, value: u32, bytes: u32];
        "proxy_set_header_map_pairs" = headers::set_pairs [map: u32, value: u32, bytes: u32];
        "proxy_get_header_map_value" = headers::value
            [map: u32, name: u32, name_bytes: u32, value: u32, bytes: u32];
        "proxy_add_header_map_value" = headers::add
            [map: u32, name: u32, name_bytes: u32, value: u32, bytes: u32];
        "proxy_replace_header_map_value" = headers::replace
            [map: u32, name: u32, name_bytes: u32, value: u32, bytes: u32];
        "proxy_remove_header_map_value" = headers::remove [map: u32, name: u32, name_bytes: u32];
        "proxy_get_property" = properties::property
            [path: u32, path_bytes: u32, value: u32, bytes: u32];
        "proxy_set_property" = properties::set_property
            [path: u32, path_bytes: u32, value: u32, bytes: u32];
        "proxy_continue_stream" = streams::continue_stream [stream: u32];
        "proxy_close_stream" = streams::close_stream [stream: u32];
        "proxy_continue_request" = streams::continue_request [];
        "proxy_continue_response" = streams::continue_response [];
        "proxy_clear_route_cache" = streams::clear_route_cache [];
        "proxy_send_local_response" = streams::send_local_response
            [code: u32, details: u32, details_bytes: u32, body: u32, body_bytes: u32,
             fields: u32, fields_bytes: u32, grpc: u32];
        "proxy_http_call" = callouts::http_call
            [cluster: u32, cluster_bytes: u32, fields: u32, fields_bytes: u32, body: u32,
             body_bytes: u32, trailers: u32, trailers_bytes: u32, timeout_ms: u32, out: u32];
        "proxy_grpc_call" = grpc::call
            [cluster: u32, cluster_bytes: u32, service: u32, service_bytes: u32, method: u32,
             method_bytes: u32, metadata: u32, metadata_bytes: u32, message: u32,
             message_bytes: u32, timeout_ms: u32, out: u32];
        "proxy_grpc_stream" = grpc::stream
            [cluster: u32, cluster_bytes: u32, service: u32, service_bytes: u32, method: u32,
             method_bytes: u32, metadata: u32, metadata_bytes: u32, out: u32];
        "proxy_grpc_send" = grpc::send [token: u32, message: u32, message_bytes: u32, end: u32];
        "proxy_grpc_cancel" = grpc::cancel [token: u32];
        "proxy_grpc_close" = grpc::close [token: u32];
        "proxy_get_shared_data" = shared::read
            [key: u32, key_bytes: u32, value: u32, bytes: u32, cas: u32];
        "proxy_set_shared_data" = shared::write
            [key: u32, key_bytes: u32, value: u32, bytes: u32, cas: u32];
        "proxy_register_shared_queue" = queues::register [name: u32, bytes: u32, out: u32];
        "proxy_resolve_shared_queue" = queues::resolve
            [vm: u32, vm_bytes: u32, name: u32, bytes: u32, out: u32];
        "proxy_enqueue_shared_queue" = queues::enqueue [queue: u32, value: u32, bytes: u32];
        "proxy_dequeue_shared_queue" = queues::dequeue [queue: u32, value: u32, bytes: u32];
        "proxy_define_metric" = metrics::define [kind: u32, name: u32, bytes: u32, out: u32];
        "proxy_increment_metric" = metrics::increment [id: u32, delta: i64];
        "proxy_record_metric" = metrics::record [id: u32, value: u64];
        "proxy_get_metric" = metrics::value [id: u32, out: u32];
        "proxy_call_foreign_function" = lifecycle::call_foreign
            [name: u32, name_bytes: u32, value: u32, bytes: u32, out: u32, out_bytes: u32];
    }
    linker.func_wrap("env", "pthread_equal", |a: u32, b: u32| u32::from(a == b))?;
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_memory: u32| {})?;
    wasi::link(linker)
}
