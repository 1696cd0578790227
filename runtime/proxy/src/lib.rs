//! One connection's life: accept, parse, filter, route, forward, log.
//!
//! Generic over [`penstock_env::Env`]: it never sees a system call, so the simulator runs the
//! very code that serves. A [`Worker`] is one shard's proxy; it serves from a [`Snapshot`] that
//! the control side builds.

#![forbid(unsafe_code)]

mod admission;
mod bell;
mod callout;
mod capacity;
mod crumbs;
mod downstream;
mod exchange;
pub mod failure;
mod grpc;
mod housekeeping;
mod http1;
mod http2;
mod introduction;
mod large_heads;
pub mod metrics;
mod pool;
mod properties;
mod protocol;
mod relay;
pub mod route;
mod secure;
pub mod snapshot;
mod tarpit;
mod tunnel;
mod upstream;
mod worker;

pub use admission::InUse;
pub use capacity::Capacity;
pub use failure::Cause;
pub use metrics::Schemas;
pub use penstock_wire::grpc::Code as GrpcCode;
pub use relay::ServerNames;
pub use secure::{Secure, SecureChunk, SecureConduit, SecureStream};
pub use snapshot::{Entrance, HttpProof, Snapshot, SnapshotError, TlsParts, address_of};
pub use worker::{LogSink, Worker};
