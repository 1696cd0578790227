//! The config language: TOML text to a checked `Config`, with every mistake found in one run.
//!
//! Opens no file and no socket: the files that a config names are seen through `Files`. Types
//! are such that they cannot be wrong, so nothing downstream validates anything again.
//!
//! Every table of the language is declared once (`section!`), which gives the type, the reader,
//! the defaults, the writer and the JSON schema.

#![forbid(unsafe_code)]

mod action;
mod address;
mod balance;
mod block;
mod cluster;
mod config;
mod diff;
mod edits;
mod files;
mod filter;
mod findings;
mod header;
mod later;
mod listener;
mod names;
mod pattern;
mod place;
mod reader;
mod render;
mod route;
mod runtime;
mod section;
mod setting;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod units;

pub use action::{Action, FixedResponse, Forward, Redirect, Share, Template, TemplatePart};
pub use address::{Cidr, EndpointAddress, ListenAddress};
pub use balance::{Algorithm, Balance, HashKey};
pub use block::BlockName;
pub use cluster::{Cluster, ClusterLimits, ClusterTimeouts, Endpoint};
pub use config::{Config, schema};
pub use diff::{Change, diff};
pub use edits::{Fields, HeaderEdits};
pub use files::{Files, UncheckedFiles};
pub use filter::{
    Capability, Deadlines, Filter, FilterUse, Isolation, ModuleDigest, OnError, PauseHeaders,
    Payload, Storm,
};
pub use findings::{FINDINGS_MAX, Finding, FindingKind, Findings, Position};
pub use header::{HeaderName, HeaderValue, Method, UpgradeToken};
pub use listener::{
    ForwardedFields, Lenience, Listener, ListenerLimits, ListenerTimeouts, Protocol, Routes,
};
pub use names::{ClusterId, FilterId};
pub use pattern::{HostPattern, PathPattern, PathText, TextMatch};
pub use route::{HeaderMatches, QueryMatches, Retry, RetryOn, Rewrite, Route};
pub use runtime::{AccessLog, Admin, Count, Fleet, LogTarget, Observe, Runtime};
pub use text::BadText;
pub use tree::Tree;
pub use units::{ByteSize, Ratio, Weight};
