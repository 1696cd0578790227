//! Counters, histograms, the access log's records and their formats.
//!
//! Shards write plain cells that they own; the control thread reads them whenever somebody asks.
//! Not for events (`tracing`), not for deciding what to count (`proxy`), not for moving records
//! between threads (`shard`).

#![forbid(unsafe_code)]

pub mod access;
pub mod metrics;
