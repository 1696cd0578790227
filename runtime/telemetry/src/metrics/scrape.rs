//! One reading of all metrics, and its rendering as Prometheus text.
//!
//! Counters and gauges go through the exporter's recorder, made afresh for each scrape: so a
//! series that is gone here is gone there, with no idle timeout to agree on. Histograms are
//! written beside it, because the recorder takes samples one by one (its `record_many` is a
//! loop that stores each with a timestamp) and would need a second copy of every request.

use std::borrow::Cow;
use std::fmt::Write;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::histogram::Histogram;
use super::schema::Unit;

/// Everything that one scrape shows.
///
/// Names may be made at run time (filters name their own metrics): give them a prefix that no
/// declared family has. What a name can't hold becomes `_`.
pub struct Scrape {
    recorder: PrometheusRecorder,
    described: Vec<Cow<'static, str>>,
    histograms: Vec<HistogramFamily>,
}

/// The text of one histogram family, without its head.
struct HistogramFamily {
    name: Cow<'static, str>,
    help: Cow<'static, str>,
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
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        let name = name.into();
        if self.is_new(&name) {
            self.recorder.describe_counter(name.clone().into(), None, help.into().into());
            self.described.push(name.clone());
        }
        self.recorder.register_counter(&key(name, labels), &METADATA).absolute(value);
    }

    /// Adds a gauge's value.
    pub fn gauge(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let name = name.into();
        if self.is_new(&name) {
            self.recorder.describe_gauge(name.clone().into(), None, help.into().into());
            self.described.push(name.clone());
        }
        self.recorder.register_gauge(&key(name, labels), &METADATA).set(value);
    }

    /// Adds a histogram; one that counted nothing is left out.
    pub fn histogram(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        unit: Unit,
        histogram: &Histogram,
    ) {
        let bounds: &[u64] = match unit {
            Unit::Seconds => &SECONDS_BOUNDS,
            Unit::Bytes | Unit::Count => &SIZE_BOUNDS,
        };
        let buckets = bounds.iter().map(|&bound| {
            // Microseconds as a double of seconds carry noise in the sixteenth digit; six do.
            let le = (bound as f64 * unit.scale() * 1e6).round() / 1e6;
            (le, histogram.count_up_to(bound))
        });
        let sum = histogram.sum() as f64 * unit.scale();
        self.buckets(name, help, labels, buckets, histogram.count(), sum);
    }

    /// Adds a histogram that somebody else keeps: for each bound, in rising order, how many
    /// values are at most that; then how many there are in all, and their sum. One that counted
    /// nothing is left out.
    pub fn buckets(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        labels: &[(&'static str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        if count == 0 {
            return;
        }
        let name = sanitize(name.into());
        let known = self.histograms.iter().position(|family| family.name == name);
        let place = known.unwrap_or_else(|| {
            let (name, help) = (name.clone(), help.into());
            self.histograms.push(HistogramFamily { name, help, lines: String::new() });
            self.histograms.len() - 1
        });
        let text = &mut self.histograms[place].lines;
        let inner = inner_labels(labels);
        for (le, up_to) in buckets {
            let _ = writeln!(text, "{name}_bucket{{{inner}le=\"{le}\"}} {up_to}");
        }
        let _ = writeln!(text, "{name}_bucket{{{inner}le=\"+Inf\"}} {count}");
        let inner = inner.trim_end_matches(',');
        let braces = if inner.is_empty() { ("", "") } else { ("{", "}") };
        let _ = writeln!(text, "{name}_sum{}{inner}{} {sum}", braces.0, braces.1);
        let _ = writeln!(text, "{name}_count{}{inner}{} {count}", braces.0, braces.1);
    }

    /// The text exposition format, version 0.0.4; in the same order each time.
    pub fn render(self) -> String {
        let mut text = in_order(&self.recorder.handle().render());
        for HistogramFamily { name, help, lines } in &self.histograms {
            let _ = write!(text, "# HELP {name} ");
            escape(&mut text, help, false);
            let _ = write!(text, "\n# TYPE {name} histogram\n{lines}\n");
        }
        text
    }

    /// Whether nothing of this name was added before. Values come family by family for each
    /// instance, so the last few names are the likely ones.
    fn is_new(&self, name: &str) -> bool {
        !self.described.iter().rev().any(|known| known == name)
    }
}

/// The recorder keeps its families in a map, and their series in another: two scrapes of it differ
/// in order. A family is the lines up to an empty one, two of them its head.
fn in_order(rendered: &str) -> String {
    let mut families: Vec<&str> = rendered.split_terminator("\n\n").collect();
    families.sort_unstable();
    let mut text = String::with_capacity(rendered.len());
    for family in families {
        let head = family.lines().take_while(|line| line.starts_with('#')).count();
        let mut series: Vec<&str> = family.lines().skip(head).collect();
        series.sort_unstable();
        for line in family.lines().take(head).chain(series) {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn key(name: Cow<'static, str>, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

/// What a name can't hold becomes `_`, as in the recorder.
fn sanitize(name: Cow<'static, str>) -> Cow<'static, str> {
    let fits = |(place, byte): (usize, u8)| {
        matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':')
            || (place > 0 && byte.is_ascii_digit())
    };
    if name.bytes().enumerate().all(fits) {
        return name;
    }
    let fit = |(place, one): (usize, char)| {
        let fits = one.is_ascii() && fits((place, one as u8));
        if fits { one } else { '_' }
    };
    Cow::Owned(name.chars().enumerate().map(fit).collect())
}

fn inner_labels(labels: &[(&'static str, &str)]) -> String {
    let mut inner = String::new();
    for (name, value) in labels {
        let _ = write!(inner, "{name}=\"");
        escape(&mut inner, value, true);
        inner.push_str("\",");
    }
    inner
}

/// Label values and help may hold anything: backslash and line feed are escaped, in values the
/// quote too (text format 0.0.4).
fn escape(text: &mut String, value: &str, quoted: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}
