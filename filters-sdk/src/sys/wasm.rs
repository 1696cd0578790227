//! The hostcalls as imports of a WASM module: the only unsafe code of the SDK.
//!
//! An import that a filter never reaches is dropped by the linker, so `penstock filter inspect`
//! shows what a filter can do and no more.

#![allow(unsafe_code)]

use core::ptr::null;
use core::slice;

use penstock_filters_sdk_abi::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};

use super::{CallParts, GrpcParts};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *const u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_status(buffer: u32, size: *mut usize, flags: *mut u32) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        data: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *const u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *const u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *const u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(half: u32) -> u32;
    fn proxy_close_stream(half: u32) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_ms: u32,
        call: *mut u32,
    ) -> u32;
    fn proxy_grpc_call(
        cluster: *const u8,
        cluster_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        message: *const u8,
        message_size: usize,
        timeout_ms: u32,
        call: *mut u32,
    ) -> u32;
    fn proxy_grpc_stream(
        cluster: *const u8,
        cluster_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        call: *mut u32,
    ) -> u32;
    fn proxy_grpc_send(call: u32, message: *const u8, message_size: usize, end: u32) -> u32;
    fn proxy_grpc_cancel(call: u32) -> u32;
    fn proxy_grpc_close(call: u32) -> u32;
    fn proxy_get_status(code: *mut u32, data: *mut *const u8, size: *mut usize) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, delta: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *const u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_resolve_shared_queue(
        vm_id: *const u8,
        vm_id_size: usize,
        name: *const u8,
        name_size: usize,
        id: *mut u32,
    ) -> u32;
    fn proxy_enqueue_shared_queue(id: u32, item: *const u8, item_size: usize) -> u32;
    fn proxy_dequeue_shared_queue(id: u32, data: *mut *const u8, size: *mut usize) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
    fn random_get(data: *mut u8, size: usize) -> u32;
}

/// The status that a hostcall answered. A number that the ABI does not know is a failure too.
fn done(status: u32) -> Result<(), Status> {
    match Status::from_u32(status) {
        Some(Status::Ok) => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::InternalFailure),
    }
}

/// Two words that the host fills with the address and the length of a value.
struct Slot {
    data: *const u8,
    size: usize,
}

impl Slot {
    fn new() -> Self {
        Self { data: null(), size: 0 }
    }

    /// The value that a hostcall left, or its refusal.
    fn value(self, status: u32) -> Result<&'static [u8], Status> {
        done(status)?;
        if self.data.is_null() {
            return Ok(&[]);
        }
        // SAFETY: with OK the host wrote `size` bytes to a place that our own allocator export (or
        // scratch area) gave it, and nothing writes there again before the callback returns.
        Ok(unsafe { slice::from_raw_parts(self.data, self.size) })
    }
}

// SAFETY, for every call below: a pointer and its length come from one live slice or from a local
// that outlives the call, and the host reads or writes no further than that.

pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: see above.
    let _ = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

pub(crate) fn log_level() -> u32 {
    let mut level = 0;
    // SAFETY: see above.
    let _ = unsafe { proxy_get_log_level(&mut level) };
    level
}

pub(crate) fn unix_nanoseconds() -> u64 {
    let mut time = 0;
    // SAFETY: see above.
    let _ = unsafe { proxy_get_current_time_nanoseconds(&mut time) };
    time
}

pub(crate) fn monotonic_nanoseconds() -> u64 {
    let mut time = 0;
    // SAFETY: see above.
    let _ = unsafe { clock_time_get(1, 0, &mut time) };
    time
}

pub(crate) fn random(bytes: &mut [u8]) -> bool {
    // SAFETY: see above.
    unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) == 0 }
}

pub(crate) fn tick_period(milliseconds: u32) {
    // SAFETY: see above.
    let _ = unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
}

pub(crate) fn buffer(from: BufferType, start: usize, max: usize) -> Result<&'static [u8], Status> {
    let mut slot = Slot::new();
    // SAFETY: see above.
    let status =
        unsafe { proxy_get_buffer_bytes(from as u32, start, max, &mut slot.data, &mut slot.size) };
    slot.value(status)
}

/// How many bytes are there; 0 also where there is no such buffer now.
pub(crate) fn buffer_length(of: BufferType) -> usize {
    let (mut size, mut flags) = (0, 0);
    // SAFETY: see above.
    let status = unsafe { proxy_get_buffer_status(of as u32, &mut size, &mut flags) };
    done(status).map_or(0, |()| size)
}

pub(crate) fn replace_buffer(
    to: BufferType,
    start: usize,
    length: usize,
    bytes: &[u8],
) -> Result<(), Status> {
    // SAFETY: see above.
    let status =
        unsafe { proxy_set_buffer_bytes(to as u32, start, length, bytes.as_ptr(), bytes.len()) };
    done(status)
}

pub(crate) fn pairs(map: MapType) -> Result<&'static [u8], Status> {
    let mut slot = Slot::new();
    // SAFETY: see above.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &mut slot.data, &mut slot.size) };
    slot.value(status)
}

pub(crate) fn header(map: MapType, name: &str) -> Result<&'static [u8], Status> {
    let mut slot = Slot::new();
    // SAFETY: see above.
    let status = unsafe {
        proxy_get_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            &mut slot.data,
            &mut slot.size,
        )
    };
    slot.value(status)
}

pub(crate) fn add_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe {
        proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
    done(status)
}

pub(crate) fn replace_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
    done(status)
}

pub(crate) fn remove_header(map: MapType, name: &str) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
    done(status)
}

pub(crate) fn property(path: &[u8]) -> Result<&'static [u8], Status> {
    let mut slot = Slot::new();
    // SAFETY: see above.
    let status =
        unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut slot.data, &mut slot.size) };
    slot.value(status)
}

pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    let status =
        unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
    done(status)
}

pub(crate) fn respond(
    status: u16,
    details: &str,
    headers: &[u8],
    body: &[u8],
) -> Result<(), Status> {
    // -1: this is no gRPC status; a host with a gRPC request derives one from the HTTP status.
    let grpc_status = -1;
    // SAFETY: see above.
    let status = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    };
    done(status)
}

pub(crate) fn continue_half(half: StreamType) {
    // SAFETY: see above.
    let _ = unsafe { proxy_continue_stream(half as u32) };
}

pub(crate) fn close_half(half: StreamType) {
    // SAFETY: see above.
    let _ = unsafe { proxy_close_stream(half as u32) };
}

pub(crate) fn call(call: &CallParts<'_>) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe {
        proxy_http_call(
            call.cluster.as_ptr(),
            call.cluster.len(),
            call.headers.as_ptr(),
            call.headers.len(),
            call.body.as_ptr(),
            call.body.len(),
            null(),
            0,
            call.timeout_ms,
            &mut id,
        )
    };
    done(status).map(|()| id)
}

pub(crate) fn grpc_call(call: &GrpcParts<'_>) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe {
        proxy_grpc_call(
            call.cluster.as_ptr(),
            call.cluster.len(),
            call.service.as_ptr(),
            call.service.len(),
            call.method.as_ptr(),
            call.method.len(),
            call.metadata.as_ptr(),
            call.metadata.len(),
            call.message.as_ptr(),
            call.message.len(),
            call.timeout_ms,
            &mut id,
        )
    };
    done(status).map(|()| id)
}

pub(crate) fn grpc_stream(call: &GrpcParts<'_>) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe {
        proxy_grpc_stream(
            call.cluster.as_ptr(),
            call.cluster.len(),
            call.service.as_ptr(),
            call.service.len(),
            call.method.as_ptr(),
            call.method.len(),
            call.metadata.as_ptr(),
            call.metadata.len(),
            &mut id,
        )
    };
    done(status).map(|()| id)
}

pub(crate) fn grpc_send(id: u32, message: &[u8], end: bool) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe { proxy_grpc_send(id, message.as_ptr(), message.len(), u32::from(end)) };
    done(status)
}

pub(crate) fn grpc_cancel(id: u32) {
    // SAFETY: see above.
    let _ = unsafe { proxy_grpc_cancel(id) };
}

pub(crate) fn grpc_close(id: u32) {
    // SAFETY: see above.
    let _ = unsafe { proxy_grpc_close(id) };
}

/// What is said to how a call ended, in the callback that tells of it.
pub(crate) fn call_message() -> &'static [u8] {
    let (mut code, mut slot) = (0, Slot::new());
    // SAFETY: see above.
    let status = unsafe { proxy_get_status(&mut code, &mut slot.data, &mut slot.size) };
    slot.value(status).unwrap_or(&[])
}

pub(crate) fn effective_context(context: u32) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe { proxy_set_effective_context(context) };
    done(status)
}

pub(crate) fn define_metric(kind: MetricType, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) };
    done(status).map(|()| id)
}

pub(crate) fn add_metric(id: u32, delta: i64) {
    // SAFETY: see above.
    let _ = unsafe { proxy_increment_metric(id, delta) };
}

pub(crate) fn record_metric(id: u32, value: u64) {
    // SAFETY: see above.
    let _ = unsafe { proxy_record_metric(id, value) };
}

pub(crate) fn shared(key: &str) -> Result<(&'static [u8], u32), Status> {
    let mut slot = Slot::new();
    let mut cas = 0;
    // SAFETY: see above.
    let status = unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), &mut slot.data, &mut slot.size, &mut cas)
    };
    slot.value(status).map(|value| (value, cas))
}

pub(crate) fn set_shared(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: see above.
    let status =
        unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
    done(status)
}

pub(crate) fn register_queue(name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &mut id) };
    done(status).map(|()| id)
}

pub(crate) fn resolve_queue(vm_id: &str, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: see above.
    let status = unsafe {
        proxy_resolve_shared_queue(vm_id.as_ptr(), vm_id.len(), name.as_ptr(), name.len(), &mut id)
    };
    done(status).map(|()| id)
}

pub(crate) fn push_queue(id: u32, item: &[u8]) -> Result<(), Status> {
    // SAFETY: see above.
    let status = unsafe { proxy_enqueue_shared_queue(id, item.as_ptr(), item.len()) };
    done(status)
}

pub(crate) fn pop_queue(id: u32) -> Result<&'static [u8], Status> {
    let mut slot = Slot::new();
    // SAFETY: see above.
    let status = unsafe { proxy_dequeue_shared_queue(id, &mut slot.data, &mut slot.size) };
    slot.value(status)
}
