//! Metrics of filters: what each cost and how it stands, and what it counts itself.

use std::collections::{BTreeMap, BTreeSet};

use penstock_filter_host::Filter;
use penstock_filter_host::abi::MetricType;
use penstock_filter_host::metrics::Histogram;
use penstock_telemetry::metrics::Scrape;

use crate::Control;
use crate::filter_views::STATES;

impl Control {
    pub(crate) fn scrape_filters(&self, scrape: &mut Scrape) {
        let mut names = Names::default();
        for (installed, view) in self.snapshot.filters.iter().zip(self.filter_views()) {
            let labels = [("filter", view.name.as_str())];
            for (name, help, count) in [
                ("penstock_filter_calls_total", "Callbacks called.", view.calls),
                ("penstock_filter_denied_total", "Exchanges answered 503.", view.denied),
                ("penstock_filter_skipped_total", "Exchanges without it.", view.skipped),
                ("penstock_filter_limited_total", "What a limit refused it.", view.limited),
                ("penstock_filter_grpc_calls_total", "gRPC calls begun.", view.grpc_calls),
                ("penstock_filter_rollbacks_total", "New versions taken back.", view.rollbacks),
            ] {
                scrape.counter(name, help, &labels, count);
            }
            for (cause, count) in &view.failures {
                let labels = [labels[0], ("cause", cause.as_str())];
                scrape.counter("penstock_filter_failures_total", "Failures.", &labels, *count);
            }
            for version in &view.versions {
                let labels = [labels[0], ("version", version.version)];
                let help = "Requests that a version got beside another.";
                let name = "penstock_filter_version_requests_total";
                scrape.counter(name, help, &labels, version.requests);
                let name = "penstock_filter_version_failures_total";
                scrape.counter(
                    name,
                    "Failures of a version beside another.",
                    &labels,
                    version.failures,
                );
                let help = "The part of requests that a version gets.";
                scrape.gauge("penstock_filter_version_share", help, &labels, version.share);
            }
            let memory = view.memory_bytes as f64;
            scrape.gauge("penstock_filter_memory_bytes", "Of its instances.", &labels, memory);
            let contexts = view.contexts as f64;
            scrape.gauge("penstock_filter_contexts", "Contexts open.", &labels, contexts);
            for state in STATES {
                let labels = [labels[0], ("state", state)];
                let shards = view.states.iter().filter(|of_shard| **of_shard == state).count();
                let help = "Shards on which it stands so; `disabled` is switched off for failures.";
                scrape.gauge("penstock_filter_shards", help, &labels, shards as f64);
            }
            scrape_cost(installed.filter(), &labels, scrape);
            scrape_defined(installed.filter(), &labels, &mut names, scrape);
        }
    }
}

/// The time that its callbacks took.
fn scrape_cost(filter: &Filter, labels: &[(&'static str, &str)], scrape: &mut Scrape) {
    const HELP: &str = "CPU time of a callback; one in 64 is measured and counts as so many.";
    let mut counts = [0; Histogram::BUCKETS];
    let stats = filter.stats().serving();
    let sum: u64 = stats.map(|shard| shard.cpu_ns.collect(&mut counts)).sum();
    // From a microsecond to a second, by powers of four.
    let bounds = (10..=30).step_by(2).map(|power| {
        let below = &counts[..Histogram::index(1 << power)];
        ((1_u64 << power) as f64 / 1e9, below.iter().sum())
    });
    let name = "penstock_filter_callback_seconds";
    scrape.buckets(name, HELP, labels, bounds, counts.iter().sum(), sum as f64 / 1e9);
}

/// The metrics that a filter defined itself, under a prefix that no family of ours has.
fn scrape_defined(
    filter: &Filter,
    labels: &[(&'static str, &str)],
    names: &mut Names,
    scrape: &mut Scrape,
) {
    const HELP: &str = "Defined by the filter.";
    names.own.clear();
    for (id, defined) in filter.stats().defined().enumerate() {
        let name = name_of(id, &defined.name, defined.kind, names);
        let value = defined.value().unwrap_or_default();
        match defined.kind {
            MetricType::Counter => scrape.counter(name, HELP, labels, value),
            // Written as two's complement where it is below zero.
            MetricType::Gauge => scrape.gauge(name, HELP, labels, value as i64 as f64),
            MetricType::Histogram => {
                let mut counts = [0; Histogram::BUCKETS];
                let sum = defined.collect(&mut counts).unwrap_or_default();
                let count = counts.iter().sum();
                let bounds = bounds_of(&counts);
                scrape.buckets(name, HELP, labels, bounds, count, sum as f64);
            }
        }
    }
}

/// Names in a scrape: of which kind each is, and which the filter at hand has.
#[derive(Default)]
struct Names {
    kinds: BTreeMap<String, MetricType>,
    own: BTreeSet<String>,
}

impl Names {
    /// Whether the filter may call a metric so: none of its own is, and no other filter's is one of
    /// another kind.
    fn take(&mut self, name: &str, kind: MetricType) -> bool {
        let known = *self.kinds.entry(name.to_owned()).or_insert(kind);
        known == kind && self.own.insert(name.to_owned())
    }
}

/// What a filter's metric is called in the scrape. Two that would be called the same are told apart
/// by the later one's number.
fn name_of(id: usize, own: &[u8], kind: MetricType, names: &mut Names) -> String {
    let clean = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || *byte == b':' => char::from(*byte),
        _ => '_',
    };
    let own: String = own.iter().map(clean).collect();
    let (base, end) = match kind {
        MetricType::Counter => (own.trim_end_matches("_total"), "_total"),
        MetricType::Gauge | MetricType::Histogram => (&*own, ""),
    };
    let name = format!("penstock_wasm_{base}{end}");
    match names.take(&name, kind) {
        true => name,
        false => format!("penstock_wasm_{base}_{id}{end}"),
    }
}

/// Bounds at powers of two, with how many values are at most that: up to the first that is above
/// all values. A bound is the lowest value of the bucket behind it, less one.
fn bounds_of(counts: &[u64; Histogram::BUCKETS]) -> Vec<(f64, u64)> {
    let (count, mut total): (u64, u64) = (counts.iter().sum(), 0);
    let mut bounds = Vec::new();
    for (index, of_bucket) in counts.iter().enumerate().take(Histogram::BUCKETS - 1) {
        total += of_bucket;
        if index % 4 == 3 {
            bounds.push((Histogram::lower_bound(index + 1) as f64 - 1.0, total));
            if total == count {
                break;
            }
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use penstock_filter_host::metrics::Histogram;

    use penstock_filter_host::abi::MetricType::{Counter, Gauge};

    use super::{Names, bounds_of, name_of};

    #[test]
    fn metrics_of_one_name_are_told_apart() {
        let mut names = Names::default();
        let mut check = |id, own: &[u8], kind, expected: &str| {
            if id == 0 {
                names.own.clear();
            }
            let found = name_of(id, own, kind, &mut names);
            assert_eq!(found, format!("penstock_wasm_{expected}"));
        };
        check(0, b"a.b", Gauge, "a_b");
        check(1, b"a-b", Gauge, "a_b_1");
        check(2, b"x", Counter, "x_total");
        check(3, b"x_total", Gauge, "x_total_3");
        check(4, b"x_total", Counter, "x_4_total");
        // Another filter shares a family of its kind, and no other.
        check(0, b"x", Counter, "x_total");
        check(1, b"x_total", Gauge, "x_total_1");
    }

    #[test]
    fn bounds_end_behind_the_largest_value() {
        let mut counts = [0; Histogram::BUCKETS];
        counts[Histogram::index(2)] = 1;
        counts[Histogram::index(9)] = 4;
        assert_eq!(bounds_of(&counts), [(3.0, 1), (7.0, 1), (15.0, 5)]);
        // No bound is above the largest of all.
        counts[Histogram::index(u64::MAX)] = 1;
        let bounds = bounds_of(&counts);
        assert_eq!((bounds.len(), bounds.last()), (62, Some(&((1_u64 << 63) as f64 - 1.0, 5))));
    }
}
