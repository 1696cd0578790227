//! Counters, gauges and histograms, shown by the proxy under the filter's name.
//!
//! Define them once, in [`Filter::new`](crate::Filter::new); a definition is a look-up by name in
//! the host, counting is an addition. A metric that the host refuses says so in the log once and
//! counts nowhere: no filter should fail for want of a number.
//!
//! Penstock keeps 256 names of a filter until it ends, also over reloads and new versions: names
//! made of what callers send are soon all of them.

use penstock_filters_sdk_abi::{MetricType, Status};

use crate::sys;

/// Counts things that happened.
#[derive(Clone, Copy, Debug)]
pub struct Counter(Option<u32>);

impl Counter {
    /// The counter called `name`.
    pub fn define(name: &str) -> Self {
        Self(define(MetricType::Counter, name))
    }

    /// One more happened.
    pub fn increment(self) {
        self.add(1);
    }

    /// `count` more happened.
    pub fn add(self, count: u32) {
        if let Some(id) = self.0 {
            sys::add_metric(id, i64::from(count));
        }
    }
}

/// A level that rises and falls.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(Option<u32>);

impl Gauge {
    /// The gauge called `name`.
    pub fn define(name: &str) -> Self {
        Self(define(MetricType::Gauge, name))
    }

    /// The level is `value` now. The shards share one gauge: with [`add`](Self::add) each keeps
    /// its own part of it.
    pub fn set(self, value: u64) {
        if let Some(id) = self.0 {
            sys::record_metric(id, value);
        }
    }

    /// The level rose by `delta`, or fell.
    pub fn add(self, delta: i64) {
        if let Some(id) = self.0 {
            sys::add_metric(id, delta);
        }
    }
}

/// How values are spread.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(Option<u32>);

impl Histogram {
    /// The histogram called `name`. End it in the unit: `_ms`, `_bytes`.
    pub fn define(name: &str) -> Self {
        Self(define(MetricType::Histogram, name))
    }

    /// One more value.
    pub fn record(self, value: u64) {
        if let Some(id) = self.0 {
            sys::record_metric(id, value);
        }
    }
}

fn define(kind: MetricType, name: &str) -> Option<u32> {
    sys::define_metric(kind, name)
        .inspect_err(|status| {
            let why = match status {
                Status::BadArgument => "it is one of another kind already, or this is no name",
                Status::InternalFailure => {
                    "the filter has 256 of them, or `metrics` is not granted to it"
                }
                other => sys::words(*other),
            };
            crate::warn!("metric {name} was refused: {why}");
        })
        .ok()
}
