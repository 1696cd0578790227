//! The config language: TOML text to a checked `Config`, with every mistake found in one run.
//!
//! Opens no file and no socket: the files that a config names are seen through `Files`. Types
//! are such that they cannot be wrong, so nothing downstream validates anything again.
//!
//! Every table of the language is declared once (`section!`), which gives the type, the reader,
//! the defaults, the writer and the JSON schema. `grammar` is how that is done, `values` is what
//! stands behind an equals sign, and `findings` what is told of mistakes; each other file is a
//! table, or a few that belong together.
//!
//! ```
//! use penstock_config::{Config, UncheckedFiles};
//!
//! let text = r#"
//! [listener.web]
//! address = ":8080"
//! to = "app"
//!
//! [cluster.app]
//! endpoints = ["127.0.0.1:9001"]
//! "#;
//! let config = Config::parse("penstock.toml", text.as_bytes(), &UncheckedFiles)?;
//! let app = config.cluster_named("app").map(|id| config.cluster(id));
//! assert_eq!(app.map(|cluster| cluster.limits.queued_max), Some(1_024));
//! # Ok::<(), penstock_config::Findings>(())
//! ```

#![forbid(unsafe_code)]

mod acme;
mod action;
mod balance;
mod canary;
mod chain;
mod client;
mod cluster;
mod config;
mod diff;
mod edits;
mod effective;
mod files;
mod filter;
mod findings;
mod fleet;
mod grammar;
mod health;
mod layer4;
mod listener;
mod passthrough;
mod payload;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod proxy_protocol;
mod route;
mod runtime;
mod service;
#[cfg(test)]
mod tests;
mod tls;
mod values;

pub use acme::{Acme, AcmeChallenge};
pub use action::{Action, FixedResponse, Forward, Redirect, Share, Template, TemplatePart};
pub use balance::{Algorithm, Balance, HashKey};
pub use canary::{Canary, Rollback};
pub use chain::FilterUse;
pub use client::{ClientAttribute, ClientField};
pub use cluster::{Cluster, ClusterLimits, ClusterProtocol, ClusterTimeouts, Endpoint, Outlier};
pub use config::{Config, schema};
pub use diff::{Change, diff};
pub use edits::{Fields, HeaderEdits};
pub use files::{Content, Files, UncheckedFiles};
pub use filter::{
    Capability, Deadlines, Filter, Isolation, ModuleDigest, OnError, PauseHeaders, Storm,
};
pub use findings::{FINDINGS_MAX, Finding, FindingKind, Findings, Flaw, Position};
pub use fleet::{Bgp, Fleet};
pub use grammar::block::BlockName;
pub use grammar::names::{ClusterId, FilterId};
pub use grammar::tree::Tree;
pub use health::{CheckAt, Health, TcpCheck};
pub use layer4::{DatapathChoice, Layer4, SourceAction, SourceRule};
pub use listener::{
    ForwardedFields, Http2, Http2Mode, Lenience, Listener, ListenerLimits, ListenerTimeouts,
    Protocol, Routes,
};
pub use passthrough::{Encap, MoveWhenDown};
pub use payload::{Environment, Payload};
pub use proxy_protocol::{ProxyProtocol, ProxyVersion};
pub use route::{
    ClientMatches, HeaderMatches, QueryMatches, Retry, RetryOn, Rewrite, Route, WebSocket,
};
pub use runtime::{AccessLog, Admin, Count, LogTarget, Observe, Runtime, SharedHttp2};
pub use service::{
    Destinations, Service, ServiceLimits, ServiceMode, ServiceRoute, ServiceTimeouts, Tarpit,
};
pub use tls::{
    CertificateFiles, Certificates, ClientCert, ClusterTls, CrlOver, ListenerTls, TlsVersion,
    UnknownName, VerifyEndpoint,
};
pub use values::address::{Cidr, EndpointAddress, ListenAddress, Trusted};
pub use values::bgp::{BgpPeer, BirdName, RouterId};
pub use values::grpc::GrpcService;
pub use values::header::{HeaderName, HeaderValue, Method, UpgradeToken};
pub use values::link::{InstanceName, InterfaceName, PortRange};
pub use values::name::RouteName;
pub use values::pattern::{HostPattern, PathPattern, PathText, TextMatch};
pub use values::pin::KeyPin;
pub use values::server_name::ServerName;
pub use values::text::BadText;
pub use values::units::{ByteSize, Ratio, Weight};
pub use values::url::HttpsUrl;
pub use values::vip::{ServicePort, Transport, VipAddress};
