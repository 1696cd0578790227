//! The contract between host and filter: proxy-wasm 0.2.1 as numbers, names and byte layouts.
//!
//! `filter-host` links and checks modules against these tables, the SDK imports and exports by
//! them, `penstock filter inspect` prints them. Not for behaviour: what a hostcall does is the
//! host's, how it looks to an author is the SDK's.
//!
//! Source: the proxy-wasm specification, `abi-versions/v0.2.1` (with v0.2.0 and v0.1.0, whose
//! markers are accepted too); where Envoy differs from the text, filters rely on Envoy.

#![no_std]
#![forbid(unsafe_code)]

pub mod arena;
pub mod callbacks;
pub mod hostcalls;
pub mod lengths;
pub mod pairs;
pub mod path;
pub mod stateless;
mod types;

pub use callbacks::{Callback, CallbackSet};
pub use hostcalls::{Capability, Hostcall, Module, Priority, Value};
pub use types::{
    Action, BufferType, Errno, LogLevel, MapType, MetricType, PeerType, Status, StreamType, Version,
};

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod tests;
