//! What the metrics promise: bounds of error, sums over shards, life and death of series.

use std::time::Duration;

use penstock_env::Time;

use super::histogram::{BUCKETS, bucket_index, bucket_range};
use super::{Histogram, Rates, Registry, RegistryLimits, Schema, SchemaId, Unit};

#[test]
fn every_value_is_counted_in_the_bucket_whose_range_holds_it() {
    for bucket in 0..BUCKETS {
        let range = bucket_range(bucket);
        assert_eq!(bucket_index(range.start), bucket);
        assert_eq!(bucket_index(range.end - 1), bucket);
        let width = range.end - range.start;
        assert!(width == 1 || width * 16 <= range.start, "{range:?} is too wide");
        if bucket > 0 {
            assert_eq!(bucket_range(bucket - 1).end, range.start);
        }
    }
    assert_eq!(bucket_range(BUCKETS - 1).end, 1 << 30);
    assert_eq!(bucket_index(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_are_within_a_thirtysecond_of_the_true_value() {
    let mut histogram = Histogram::default();
    for value in 1..=100_000 {
        histogram.record(value);
    }
    for (q, exact) in [(0.0, 1.0), (0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0)] {
        let found = histogram.quantile(q) as f64;
        assert!((found - exact).abs() <= exact / 31.0, "{q}: {found}, should be {exact}");
    }
    assert_eq!(histogram.sum(), 5_000_050_000);
    assert_eq!(Histogram::default().quantile(0.5), 0);
}

#[test]
fn a_bound_counts_nothing_above_itself_and_all_but_one_bucket_below() {
    let mut histogram = Histogram::default();
    (0..200_000).for_each(|value| histogram.record(value));
    for bound in [0, 9, 15, 16, 99, 1_000, 2_500, 100_000, 131_071] {
        let count = histogram.count_up_to(bound);
        assert!(count <= bound + 1, "{count} values up to {bound}");
        assert!(count as f64 >= (bound + 1) as f64 * 0.94, "{count} values up to {bound}");
    }
    histogram.record(u64::MAX);
    assert_eq!(histogram.count_up_to(1 << 31), 200_000, "an overflow is under no bound");
    assert_eq!(histogram.count(), 200_001);
}

#[test]
fn a_difference_holds_what_came_in_between() {
    let mut before = Histogram::default();
    before.record(5);
    let mut after = before.clone();
    after.record(1_000);
    let between = after.since(&before);
    assert_eq!((between.count(), between.sum()), (1, 1_000));
    before.merge(&between);
    assert_eq!(before, after);
}

fn routes(registry: &mut Registry) -> (SchemaId, Ids) {
    let mut schema = Schema::new(&["route"]);
    let ids = Ids {
        requests: schema.counter("requests_total", "Requests."),
        causes: schema.counters("causes_total", "Causes.", "cause", &["timeout", "refused"]),
        active: schema.gauge("active", "Active."),
        latency: schema.histogram("latency_seconds", "Latency.", Unit::Seconds),
    };
    (registry.add(schema), ids)
}

struct Ids {
    requests: super::CounterId,
    causes: super::CounterTable,
    active: super::GaugeId,
    latency: super::HistogramId,
}

#[test]
fn a_scrape_sums_over_shards_and_renders_every_kind() {
    let mut registry = Registry::new(2, RegistryLimits::default());
    let (schema, ids) = routes(&mut registry);
    let api = registry.instance(schema, &["a\"p\\i"]);
    for shard in 0..2 {
        let block = api.shard(shard);
        block.add(ids.requests, 3);
        block.increment(ids.causes.at(1));
        block.shift(ids.active, if shard == 0 { 5 } else { -2 });
        block.record(ids.latency, 1_500 * (shard as u64 + 1));
    }
    assert_eq!(api.counter(ids.requests), 6);
    assert_eq!(api.gauge(ids.active), 3);
    assert_eq!(registry.total(schema, ids.requests), 6);
    assert_eq!(registry.histogram(schema, ids.latency).count(), 2);

    let text = registry.scrape().render();
    for line in [
        "# TYPE requests_total counter",
        "# HELP requests_total Requests.",
        "requests_total{route=\"a\\\"p\\\\i\"} 6",
        "causes_total{route=\"a\\\"p\\\\i\",cause=\"refused\"} 2",
        "active{route=\"a\\\"p\\\\i\"} 3",
        "# TYPE latency_seconds histogram",
        "latency_seconds_bucket{route=\"a\\\"p\\\\i\",le=\"0.001\"} 0",
        "latency_seconds_bucket{route=\"a\\\"p\\\\i\",le=\"0.0025\"} 1",
        "latency_seconds_bucket{route=\"a\\\"p\\\\i\",le=\"+Inf\"} 2",
        "latency_seconds_sum{route=\"a\\\"p\\\\i\"} 0.0045",
        "latency_seconds_count{route=\"a\\\"p\\\\i\"} 2",
        "penstock_metric_series 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("timeout"), "a cause that never occurred is rendered:\n{text}");
}

#[test]
fn a_scrape_takes_what_others_keep_under_any_name() {
    let mut scrape = Registry::new(1, RegistryLimits::default()).scrape();
    for filter in ["a", "b"] {
        let labels = [("filter", filter)];
        scrape.counter(format!("custom_{}", "x.y"), "Of a\nfilter.", &labels, 3);
        scrape.buckets("custom.ns-é", "One \"\\\n.", &labels, [(0.5, 1), (2.0, 4)], 5, 7.5);
        scrape.buckets("custom_idle", "Nothing.", &labels, [(0.5, 0)], 0, 0.0);
    }
    scrape.buckets("bare", "No labels.", &[], [(1.0, 1)], 1, 1.0);
    let text = scrape.render();
    for lines in [
        "# HELP custom_x_y Of a\\nfilter.\n# TYPE custom_x_y counter\n",
        "\ncustom_x_y{filter=\"b\"} 3\n",
        "# HELP custom_ns__ One \"\\\\\\n.\n# TYPE custom_ns__ histogram\n",
        "\ncustom_ns___bucket{filter=\"b\",le=\"0.5\"} 1\n\
         custom_ns___bucket{filter=\"b\",le=\"2\"} 4\n\
         custom_ns___bucket{filter=\"b\",le=\"+Inf\"} 5\n\
         custom_ns___sum{filter=\"b\"} 7.5\ncustom_ns___count{filter=\"b\"} 5\n",
        "\nbare_bucket{le=\"1\"} 1\nbare_bucket{le=\"+Inf\"} 1\nbare_sum 1\nbare_count 1\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in:\n{text}");
    }
    assert!(!text.contains("custom_idle"));
    assert_eq!(text.matches("# TYPE custom_ns__ ").count(), 1);
}

#[test]
fn a_series_outlives_its_last_holder_by_the_grace() {
    let limits = RegistryLimits { grace: Duration::from_secs(10), ..Default::default() };
    let mut registry = Registry::new(1, limits);
    let (schema, ids) = routes(&mut registry);
    let at = |seconds: u64| Time::from_ns(seconds * 1_000_000_000);
    let held = registry.instance(schema, &["held"]);
    let left = registry.instance(schema, &["left"]);
    left.shard(0).increment(ids.requests);
    drop(left);
    registry.sweep(at(100));
    registry.sweep(at(109));
    // Asked for again within the grace: the counts go on, and the grace begins anew.
    let back = registry.instance(schema, &["left"]);
    assert_eq!(back.counter(ids.requests), 1);
    registry.sweep(at(115));
    drop(back);
    registry.sweep(at(120));
    registry.sweep(at(129));
    assert!(registry.scrape().render().contains("left"));
    registry.sweep(at(130));
    let text = registry.scrape().render();
    assert!(text.contains("held") && !text.contains("left"), "{text}");
    drop(held);
}

#[test]
fn above_the_limit_instances_share_one_and_are_counted() {
    let limits = RegistryLimits { series_max: 8, ..Default::default() };
    let mut registry = Registry::new(1, limits);
    let (schema, ids) = routes(&mut registry);
    let instances = ["a", "b", "c", "d", "a"].map(|route| registry.instance(schema, &[route]));
    for instance in &instances {
        instance.shard(0).increment(ids.requests);
    }
    assert_eq!(registry.total(schema, ids.requests), 5);
    let text = registry.scrape().render();
    for line in [
        "requests_total{route=\"a\"} 2",
        "requests_total{route=\"b\"} 1",
        "requests_total{route=\"(other)\"} 2",
        "penstock_metric_series_refused_total 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn rates_are_per_second_and_never_negative() {
    let mut rates = Rates::default();
    let at = |ms: u64| Time::from_ns(ms * 1_000_000);
    assert_eq!(rates.observe(at(0), [0, 7]), None);
    assert_eq!(rates.observe(at(500), [100, 7]), Some([200.0, 0.0]));
    assert_eq!(rates.observe(at(500), [100, 7]), None);
    assert_eq!(rates.observe(at(1_500), [50, 8]), Some([0.0, 1.0]));
}

#[test]
fn what_the_traffic_names_has_series_of_its_own_up_to_a_limit() {
    let mut registry = Registry::new(2, RegistryLimits::default());
    let mut schema = Schema::new(&["method"]);
    let calls = schema.counter("calls_total", "Calls.");
    let id = registry.add(schema);
    let found = registry.discovered(id, 3);
    let add = |name: &str| {
        let values = || vec![name.to_owned()].into_boxed_slice();
        found.find_or_add(name.as_bytes(), values).shard(1).increment(calls);
    };
    assert!(found.find(b"a").is_none());
    for name in ["a", "b", "a", "c", "d", "e", "a"] {
        add(name);
    }
    assert!(found.find(b"c").is_some() && found.find(b"d").is_none());
    let text = registry.scrape().render();
    for line in [
        "calls_total{method=\"a\"} 3",
        "calls_total{method=\"c\"} 1",
        "calls_total{method=\"(other)\"} 2",
        "penstock_metric_series 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert_eq!(registry.total(id, calls), 7);
    // A snapshot that is built later has the same.
    assert_eq!(registry.discovered(id, 3).find(b"a").map(|one| one.counter(calls)), Some(3));
    // No room at all is a choice.
    let mut registry = Registry::new(1, RegistryLimits::default());
    let mut schema = Schema::new(&["method"]);
    let calls = schema.counter("calls_total", "Calls.");
    let id = registry.add(schema);
    registry.discovered(id, 0).find_or_add(b"a", Box::default).shard(0).increment(calls);
    assert!(registry.scrape().render().contains("calls_total{method=\"(other)\"} 1"));
}

#[test]
fn shards_that_meet_a_name_at_once_share_one_instance() {
    let mut registry = Registry::new(4, RegistryLimits::default());
    let mut schema = Schema::new(&["method"]);
    let calls = schema.counter("calls_total", "Calls.");
    let id = registry.add(schema);
    let found = registry.discovered(id, 100);
    std::thread::scope(|scope| {
        for shard in 0..4 {
            let found = &found;
            scope.spawn(move || {
                for number in 0..4_000 {
                    let name = (number % 100).to_string();
                    let values = || vec![name.clone()].into_boxed_slice();
                    found.find_or_add(name.as_bytes(), values).shard(shard).increment(calls);
                }
            });
        }
    });
    for number in 0..100 {
        let one = found.find(number.to_string().as_bytes()).expect("it has room");
        assert_eq!(one.counter(calls), 160, "{number}");
    }
}

#[test]
fn two_scrapes_differ_in_values_alone() {
    let scrape = || {
        let mut scrape = Registry::new(1, RegistryLimits::default()).scrape();
        for name in ["zebras_total", "apes_total", "cows_total"] {
            for kind in ["old", "young", "none"] {
                scrape.counter(name, "In the zoo.", &[("kind", kind)], 1);
            }
        }
        scrape.render()
    };
    let text = scrape();
    assert_eq!(text, scrape());
    let apes = "# HELP apes_total In the zoo.\n# TYPE apes_total counter\n\
                apes_total{kind=\"none\"} 1\napes_total{kind=\"old\"} 1\n\
                apes_total{kind=\"young\"} 1\n\n# HELP cows_total";
    assert!(text.contains(apes), "{text}");
}
