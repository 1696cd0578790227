//! The door to the host: one safe function per hostcall, the same on every target.
//!
//! On wasm32 they are imports of the proxy-wasm ABI (`wasm.rs`, the only unsafe code of the SDK);
//! elsewhere they go to the host double of this thread (`native.rs`), so that a filter's unit tests
//! need neither a proxy nor the WASM target. What a function hands out lives until the outermost
//! callback returns: the views shorten the `'static` that is written here to that time.

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;

use penstock_filters_sdk_abi::Status;

/// A callout as the host takes it.
pub(crate) struct CallParts<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) headers: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) timeout_ms: u32,
}

/// A gRPC call as the host takes it; a stream has no message and no timeout.
pub(crate) struct GrpcParts<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) service: &'a str,
    pub(crate) method: &'a str,
    pub(crate) metadata: &'a [u8],
    pub(crate) message: &'a [u8],
    pub(crate) timeout_ms: u32,
}

/// What the host did not do, in words for a log line.
pub(crate) fn words(status: Status) -> &'static str {
    match status {
        Status::Ok => "done",
        Status::NotFound => "not found",
        Status::BadArgument => "not a thing that the host takes",
        Status::SerializationFailure | Status::ParseFailure => "not readable",
        Status::InvalidMemoryAccess => "outside the filter's memory",
        Status::Empty => "empty",
        Status::CasMismatch => "changed by another shard",
        Status::InternalFailure => "failed, or not granted to this filter",
        Status::Unimplemented => "not done by this host",
    }
}
