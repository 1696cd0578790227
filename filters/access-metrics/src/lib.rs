//! Counts requests by route and class of status, and their times and sizes.
//!
//! ```toml
//! [filter.count.config]
//! by = "route"
//! routes_max = 25
//! ```
//!
//! For each group these metrics appear under the filter's name:
//!
//! * `requests.GROUP.2xx` (1xx to 5xx, and `none` where no answer was sent): counters;
//! * `time_ms.GROUP`: histogram of the time from the request's first byte to the answer's last;
//! * `request_bytes.GROUP`, `response_bytes.GROUP`: histograms.
//!
//! The group is the route's name, the cluster's, the request's method, or `all` (`by`). The number
//! of groups is limited: what comes after `routes_max` of them is counted as `other`, so that no
//! caller can make metrics without end.

#![deny(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use penstock::{ConfigError, Counter, Filter, Histogram, Log};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The filter.
pub struct AccessMetrics {
    by: By,
    groups_max: usize,
    groups: RefCell<BTreeMap<String, Group>>,
}

/// What the operator writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What requests are grouped by.
    #[serde(default)]
    by: By,
    /// How many groups there may be.
    #[serde(default = "routes_max")]
    routes_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Route,
    Cluster,
    Method,
    None,
}

/// The metrics of one group.
struct Group {
    name: String,
    /// By the first digit of the status; the first is that of no answer.
    classes: [Option<Counter>; CLASSES.len()],
    time_ms: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

#[penstock::filter]
impl Filter for AccessMetrics {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if !(1..=ROUTES_MAX).contains(&config.routes_max) {
            let message = format!("{}: from 1 to {ROUTES_MAX}", config.routes_max);
            return Err(ConfigError::at("routes_max", message));
        }
        let groups = RefCell::default();
        Ok(Self { by: config.by, groups_max: config.routes_max, groups })
    }

    fn on_log(&self, log: &mut Log<'_>) {
        let name = self.group(log);
        let mut groups = self.groups.borrow_mut();
        let known = groups.contains_key(&name);
        let name = if known || groups.len() < self.groups_max { name } else { OTHER.to_owned() };
        let group = groups.entry(name).or_insert_with_key(|name| Group::define(name));
        group.count(log);
    }
}

impl AccessMetrics {
    fn group(&self, log: &Log<'_>) -> String {
        let property = |path: &[&str]| {
            log.property(path).and_then(|bytes| core::str::from_utf8(bytes).ok()).map(metric_name)
        };
        let name = match self.by {
            // Envoy names them under `xds`, and older versions of it at the top.
            By::Route => property(&["xds", "route_name"]).or_else(|| property(&["route_name"])),
            By::Cluster => {
                property(&["xds", "cluster_name"]).or_else(|| property(&["cluster_name"]))
            }
            By::Method => log.request().header(":method").map(metric_name),
            By::None => Some("all".to_owned()),
        };
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned())
    }
}

impl Group {
    fn define(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            classes: [None; CLASSES.len()],
            time_ms: Histogram::define(&format!("time_ms.{name}")),
            request_bytes: Histogram::define(&format!("request_bytes.{name}")),
            response_bytes: Histogram::define(&format!("response_bytes.{name}")),
        }
    }

    fn count(&mut self, log: &Log<'_>) {
        let class = usize::from(log.status() / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        // Classes that never occur have no counter.
        self.classes[class]
            .get_or_insert_with(|| {
                Counter::define(&format!("requests.{}.{}", self.name, CLASSES[class]))
            })
            .increment();
        let number = |path: &[&str]| log.property(path).and_then(number);
        if let Some(nanoseconds) = number(&["request", "duration"]) {
            self.time_ms.record(nanoseconds / 1_000_000);
        }
        if let Some(bytes) = number(&["request", "total_size"]) {
            self.request_bytes.record(bytes);
        }
        if let Some(bytes) = number(&["response", "total_size"]) {
            self.response_bytes.record(bytes);
        }
    }
}

/// A number as properties have it: eight bytes, the least significant first.
fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// A name as part of a metric's: anything but letters, digits and `_-` becomes `_`.
fn metric_name(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    name.chars().take(NAME_MAX).map(|letter| if fits(letter) { letter } else { '_' }).collect()
}

/// Nine metrics each and as many for `other`: 234 of the 256 that Penstock grants a filter.
fn routes_max() -> usize {
    25
}

const OTHER: &str = "other";

/// For hosts that grant more metrics; one that grants fewer says so in the log.
const ROUTES_MAX: usize = 1000;

const NAME_MAX: usize = 64;
