//! Metrics: declared once, written by shards for the price of an addition, summed at a scrape.
//!
//! A [`Schema`] declares the families that share label names (those of a route, of a cluster)
//! and gives out typed ids. The [`Registry`], on the control thread, makes an [`Instance`] of it
//! per set of label values: one block of cells per shard. A shard adds to its own [`Block`]
//! with a load and a store: 0.5 ns for a counter, where a `counter!` with labels costs 60 to
//! 120 ns. [`Registry::scrape`] sums the blocks into a [`Scrape`], which renders Prometheus text.

mod block;
mod discovered;
mod histogram;
mod rates;
mod registry;
mod schema;
mod scrape;

pub use block::Block;
pub use discovered::Discovered;
pub use histogram::Histogram;
pub use rates::Rates;
pub use registry::{Instance, Registry, RegistryLimits, SchemaId};
pub use schema::{CounterId, CounterTable, GaugeId, HistogramId, Schema, Unit};
pub use scrape::Scrape;

#[cfg(test)]
mod tests;
