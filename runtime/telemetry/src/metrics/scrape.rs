//! One reading of all metrics, and its rendering as Prometheus text.
//!
//! Counters and gauges go through the exporter's recorder, made afresh for each scrape: so a
//! series that is gone here is gone there, with no idle timeout to agree on. Histograms are
//! written beside it, because the recorder takes samples one by one (its `record_many` is a
//! loop that stores each with a timestamp) and would need a second copy of every request.

use std::fmt::Write;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::histogram::Histogram;
use super::schema::Unit;

/// Everything that one scrape shows.
pub struct Scrape {
    recorder: PrometheusRecorder,
    described: Vec<&'static str>,
    histograms: Vec<HistogramFamily>,
}

/// The text of one histogram family, without its head.
struct HistogramFamily {
    name: &'static str,
    help: &'static str,
    lines: String,
}

/// The recorder wants to know where a metric comes from, and makes nothing of it.
const METADATA: Metadata<'static> = Metadata::new("penstock", Level::INFO, None);

/// Bounds for time in microseconds: 100 us to 60 s. A bound that falls inside a bucket leaves
/// that bucket out, 2.8 % of the bound at most (2,500 us counts what is at most 2,431 us).
const SECONDS_BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Bounds for sizes and counts: powers of four from 64 to 256 Mi.
const SIZE_BOUNDS: [u64; 12] = [
    1 << 6,
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
];

impl Scrape {
    /// A reading with nothing in it.
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Scrape { recorder, described: Vec::new(), histograms: Vec::new() }
    }

    /// Adds a counter's value.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        if self.is_new(name) {
            self.recorder.describe_counter(name.into(), None, help.into());
        }
        self.recorder.register_counter(&key(name, labels), &METADATA).absolute(value);
    }

    /// Adds a gauge's value.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        if self.is_new(name) {
            self.recorder.describe_gauge(name.into(), None, help.into());
        }
        self.recorder.register_gauge(&key(name, labels), &METADATA).set(value);
    }

    /// Adds a histogram; one that counted nothing is left out.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        unit: Unit,
        histogram: &Histogram,
    ) {
        if histogram.count() == 0 {
            return;
        }
        let known = self.histograms.iter_mut().position(|family| family.name == name);
        let place = known.unwrap_or_else(|| {
            self.histograms.push(HistogramFamily { name, help, lines: String::new() });
            self.histograms.len() - 1
        });
        write_histogram(&mut self.histograms[place].lines, name, labels, unit, histogram);
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(self) -> String {
        let mut text = self.recorder.handle().render();
        for HistogramFamily { name, help, lines } in &self.histograms {
            // Help is ours and static; it holds no backslash and no line feed.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n{lines}\n");
        }
        text
    }

    fn is_new(&mut self, name: &'static str) -> bool {
        // Values come family by family for each instance: the last few names are the likely ones.
        let new = !self.described.iter().rev().any(|known| *known == name);
        if new {
            self.described.push(name);
        }
        new
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    labels: &[(&'static str, &str)],
    unit: Unit,
    histogram: &Histogram,
) {
    let mut inner = String::new();
    for (name, value) in labels {
        let _ = write!(inner, "{name}=\"");
        escape(&mut inner, value);
        inner.push_str("\",");
    }
    let bounds: &[u64] = match unit {
        Unit::Seconds => &SECONDS_BOUNDS,
        Unit::Bytes | Unit::Count => &SIZE_BOUNDS,
    };
    for &bound in bounds {
        let (le, count) = (bound as f64 * unit.scale(), histogram.count_up_to(bound));
        // Microseconds as a double of seconds carry noise in the sixteenth digit; six will do.
        let le = (le * 1e6).round() / 1e6;
        let _ = writeln!(text, "{name}_bucket{{{inner}le=\"{le}\"}} {count}");
    }
    let (count, sum) = (histogram.count(), histogram.sum() as f64 * unit.scale());
    let _ = writeln!(text, "{name}_bucket{{{inner}le=\"+Inf\"}} {count}");
    let inner = inner.trim_end_matches(',');
    let braces = if inner.is_empty() { ("", "") } else { ("{", "}") };
    let _ = writeln!(text, "{name}_sum{}{inner}{} {sum}", braces.0, braces.1);
    let _ = writeln!(text, "{name}_count{}{inner}{} {count}", braces.0, braces.1);
}

/// Label values may hold anything; backslash, quote and line feed are escaped (text format 0.0.4).
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
