//! What a filter author imports: write a filter for Penstock (or Envoy, Istio, nginx) in Rust.
//!
//! ```
//! # extern crate penstock_filters_sdk as penstock;
//! use penstock::{Answer, ConfigError, Filter, Flow, Request};
//!
//! /// Lets nobody in without the password.
//! struct Door {
//!     password: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct DoorConfig {
//!     password: String,
//! }
//!
//! #[penstock::filter]
//! impl Filter for Door {
//!     type Config = DoorConfig;
//!
//!     fn new(config: DoorConfig) -> Result<Self, ConfigError> {
//!         if config.password.is_empty() {
//!             return Err(ConfigError::at("password", "must not be empty"));
//!         }
//!         Ok(Self { password: config.password })
//!     }
//!
//!     fn on_request(&self, request: &mut Request<'_>) -> Flow {
//!         match request.header("x-password") {
//!             Some(password) if password == self.password => Flow::Continue,
//!             _ => Answer::new(401).body("Who are you?\n").cause("no_password").into(),
//!         }
//!     }
//! }
//!
//! // A unit test needs no proxy and no WASM target:
//! let door = penstock::testing::Instance::<Door>::new(r#"{ "password": "friend" }"#).unwrap();
//! let stranger = door.request(&[(":method", "GET"), (":path", "/")]);
//! assert_eq!(stranger.answer().unwrap().status(), 401);
//! let friend = door.request(&[(":method", "GET"), (":path", "/"), ("x-password", "friend")]);
//! assert!(friend.went_on());
//! ```
//!
//! Raw TCP connections are [`StreamFilter`]'s: see [`stream`].
//!
//! A filter is a `cdylib` for `wasm32-unknown-unknown`, in the proxy-wasm ABI 0.2.1: the standard
//! one, so that the module runs unmodified in other proxies. `README.md` beside this crate leads
//! through a filter in five minutes; `filters/` of the repository has real ones to copy from.
//!
//! A panic writes its message and place to the log and traps; the proxy then applies the filter's
//! failure policy to the requests that were inside it.

#![deny(unsafe_code)]

extern crate self as penstock;

mod arena;
mod calls;
pub mod clock;
mod config;
mod filter;
mod flow;
pub mod grpc;
pub mod log;
mod metrics;
mod pairs;
mod property;
mod queue;
pub mod random;
mod runtime;
mod shared;
pub mod stream;
mod sys;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod view;

pub use config::ConfigError;
pub use filter::{Filter, NoConfig};
pub use flow::{Answer, CallId, CallRefused, Flow, HttpCall};
pub use grpc::{GrpcCall, GrpcEvent, GrpcStatus, GrpcStream};
pub use metrics::{Counter, Gauge, Histogram};
pub use pairs::Headers;
/// Turns an impl of [`Filter`] or [`StreamFilter`] into a module: exports its callbacks, fills in
/// omitted types.
pub use penstock_filters_sdk_macros::filter;
pub use queue::{Queue, QueueId};
pub use shared::{NotShared, Shared, SharedValue};
pub use stream::{ClosedBy, StreamFilter, StreamFlow};
pub use view::{
    Body, Connection, Content, Data, Fields, Log, Plugin, Refused, Reply, Request, Response,
    Trailers,
};

/// What the code of `#[penstock::filter]` calls. Not for authors; it may change at any time.
#[doc(hidden)]
pub mod export {
    pub use crate::arena::scope;
    pub use crate::runtime::{Http, Kind, Raw, Runtime, Tail};

    /// Runs once per instance, before anything else.
    pub fn initialize() {
        crate::log::install_panic_line();
    }

    /// The allocator that the host places returned values with.
    pub fn allocate(bytes: usize) -> *mut u8 {
        crate::arena::allocate(bytes)
    }

    /// Whether the filter keeps nothing of an exchange or connection between its callbacks.
    pub const fn is_stateless<F: Kind>() -> bool {
        size_of::<F::State>() == 0
    }

    /// The block that the host places returned values in by itself.
    pub fn host_area(bytes: usize) -> *mut u8 {
        crate::arena::host_area(bytes)
    }
}
