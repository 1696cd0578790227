//! Side-by-side load scenarios: Penstock and its peers in one run, on the same two cores.
//!
//! The figure is CPU time of the proxy process per unit of work, over short interleaved windows,
//! and the ratio to HAProxy in the same round; throughput and latency only stand beside it.
//! `cargo xtask bench-peers` drives this. Not for judging anything in absolute numbers: machines
//! are noisy and shared, ratios within one run are not.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "it measures; nothing of it is simulated")]

mod error;
mod h2load;
mod idle_load;
pub mod origin;
pub mod origin_datagrams;
pub mod origin_h2;
mod peers;
mod process;
mod report;
mod run;
pub mod scenario;
#[cfg(test)]
mod tests;
mod wrk;

pub use error::BenchError;
pub use peers::{Absent, FilterUnderTest, Peer};
pub use report::{Figure, Report};
pub use run::{Bench, Plan, Spoken};
