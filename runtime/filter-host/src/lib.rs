//! Hosts WASM filters: loads, limits and calls them, and answers their hostcalls.
//!
//! The only crate that sees wasmtime. `proxy` sees a [`Chain`] to run for each exchange, and
//! gives it a [`Session`]: the fields, bodies and properties of that exchange. Not for deciding
//! what a filter does, nor for sockets: a filter's own calls come out as [`Callout`]s that
//! the proxy performs.
//!
//! Who makes what: the process one [`FilterHost`] over one [`Engine`]; the control thread a
//! [`Filter`] for each filter of a configuration, which a snapshot carries to the shards; each
//! shard one [`Filters`]; each exchange one [`Chain`].

mod cache;
mod callbacks;
mod calls;
mod chain;
mod configured;
mod connections;
mod contexts;
mod engine;
mod error;
mod filter;
mod filters;
mod grpc;
mod guest;
mod hostcalls;
mod inspect;
mod instance;
mod limits;
pub mod metrics;
mod module;
mod pairs;
mod policy;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod queues;
mod running;
mod session;
mod settings;
mod shared;
mod state;
#[cfg(any(test, feature = "testing", feature = "property"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod ticker;
mod trial;
mod world;

pub use chain::{Chain, ChainLink, Event, Flow, Half, Passed};
pub use configured::{chain_links, check_uses, filter_settings, place_of_plugin, wanted};
pub use engine::{Engine, EngineError, EngineSettings};
pub use error::{LoadError, TrapCause, Trapped};
pub use filter::{Filter, FilterHost};
pub use filters::{Attention, Filters, RootCallout};
pub use grpc::{GrpcCall, GrpcEvent, Outgoing, Sending};
pub use inspect::{Import, Inspection};
pub use module::{Module, digest, hex};
pub use pairs::PairList;
pub use penstock_filters_sdk_abi as abi;
pub use queues::Nudge;
pub use session::{
    BadField, Body, Callout, CalloutFailure, CalloutResponse, HeaderMap, LocalResponse, OverLimit,
    Session,
};
pub use settings::{
    Capabilities, FilterSettings, GrpcLimits, Isolation, OnError, PauseHeaders, PluginSettings,
    Storm,
};
pub use trial::{Code, Installed, Role, Rollback, Stage, Trial, TrialKind, Wanted};
pub use world::{EnvWorld, World};
