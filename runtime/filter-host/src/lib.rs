//! Hosts WASM filters: loads, limits and calls them, and answers their hostcalls.
//!
//! The only crate that sees wasmtime. `proxy` sees a [`Chain`] to run for each exchange, and
//! gives it a [`Session`]: the fields, bodies and properties of that exchange. Not for deciding
//! what a filter does, nor for sockets: a filter's own HTTP calls come out as [`Callout`]s that
//! the proxy performs.

pub mod pairs;
pub mod session;
pub mod settings;
pub mod world;

pub use pairs::PairList;
pub use penstock_filters_sdk_abi as abi;
pub use session::{
    BadField, Body, Callout, CalloutFailure, CalloutResponse, HeaderMap, LocalResponse, OverLimit,
    Session,
};
pub use settings::{
    Capabilities, FilterSettings, Isolation, OnError, PauseHeaders, PluginSettings, Storm,
};
pub use world::{EnvWorld, World};
