//! Figures of a run, and the Markdown table that they become.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::{Bench, Peer};

/// What one turn of one proxy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figure {
    /// The figure that counts: CPU microseconds per request, or the unit of the scenario.
    pub cost: f64,
    /// Answers received.
    pub requests: u64,
    /// Answers per second of wall time.
    pub requests_per_second: f64,
    /// The latency that 99 % of the answers kept.
    pub p99: Duration,
    /// Answers and connections that failed. Not zero means that the turn proves nothing.
    pub errors: u64,
}

/// All figures of a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    unit: &'static str,
    /// What is counted a second.
    rate: &'static str,
    conditions: Vec<String>,
    sections: Vec<Section>,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Section {
    title: String,
    /// In order of their first turn.
    rows: Vec<(Peer, Vec<Figure>)>,
}

impl Report {
    /// An empty report that names who takes part, who doesn't, and how it is measured.
    pub(crate) fn new(title: &str, method: &str, bench: &Bench) -> Self {
        let plan = &bench.plan;
        let mut conditions = vec![format!(
            "One worker each, pinned to core {}; load and origin on core {}. {method} Load \
             average of the machine: {}.",
            plan.proxy_core,
            plan.load_core,
            load_average(),
        )];
        conditions.extend(
            bench.contestants.iter().map(|one| format!("{}: {}", one.peer.name(), one.version)),
        );
        conditions.extend(
            bench.absent.iter().map(|one| format!("{}: skipped ({})", one.peer.name(), one.why)),
        );
        Report::bare(title, conditions)
    }

    pub(crate) fn bare(title: &str, conditions: Vec<String>) -> Self {
        Report {
            title: title.to_owned(),
            unit: "us CPU per request",
            rate: "requests",
            conditions,
            sections: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Another unit than CPU microseconds per request.
    pub(crate) fn with_unit(&mut self, unit: &'static str) {
        self.unit = unit;
    }

    /// Another rate than requests a second.
    pub(crate) fn with_rate(&mut self, rate: &'static str) {
        self.rate = rate;
    }

    /// Opens a table; the answer is its index for [`Report::add`].
    pub(crate) fn section(&mut self, title: String) -> usize {
        self.sections.push(Section { title, rows: Vec::new() });
        self.sections.len() - 1
    }

    /// Adds the turn of `peer` to the table `section`.
    pub(crate) fn add(&mut self, section: usize, peer: Peer, figure: Figure) {
        let rows = &mut self.sections[section].rows;
        match rows.iter_mut().find(|(row, _)| *row == peer) {
            Some((_, figures)) => figures.push(figure),
            None => rows.push((peer, vec![figure])),
        }
    }

    /// Adds a sentence below the tables.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// What `with` costs more than `without`, in the first table where both were measured: the
    /// median of the differences within a round.
    pub(crate) fn difference(&self, without: Peer, with: Peer) -> Option<f64> {
        self.sections.iter().find_map(|section| {
            let pairs = section.figures(with)?.iter().zip(section.figures(without)?);
            let added: Vec<f64> = pairs.map(|(with, without)| with.cost - without.cost).collect();
            Some(median(&added))
        })
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for condition in &self.conditions {
            let _ = writeln!(text, "- {condition}");
        }
        for section in &self.sections {
            let _ = write!(
                text,
                "\n### {}\n\n| | {}, median | min | x HAProxy | {}/s | p99 | errors |\n\
                 |---|---|---|---|---|---|---|\n",
                section.title, self.unit, self.rate,
            );
            for (peer, figures) in &section.rows {
                section.row(&mut text, *peer, figures);
            }
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

impl Section {
    fn figures(&self, peer: Peer) -> Option<&[Figure]> {
        let row = self.rows.iter().find(|(row, _)| *row == peer);
        row.map(|(_, figures)| figures.as_slice())
    }

    fn row(&self, text: &mut String, peer: Peer, figures: &[Figure]) {
        let costs = costs(figures);
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let ratio = match self.ratio(figures) {
            Some(ratio) => format!("{ratio:.2}"),
            None => "-".to_owned(),
        };
        let rates: Vec<f64> = figures.iter().map(|figure| figure.requests_per_second).collect();
        let p99: Vec<f64> = figures.iter().map(|figure| figure.p99.as_secs_f64() * 1e3).collect();
        let errors: u64 = figures.iter().map(|figure| figure.errors).sum();
        let (median_cost, rate, p99) = (median(&costs), median(&rates), median(&p99));
        // Not every scenario asks for both.
        let seen = match (rate > 0.0, p99 > 0.0) {
            (true, true) => format!("{rate:.0} | {p99:.2} ms"),
            (true, false) => format!("{rate:.0} | -"),
            (false, _) => "- | -".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {median_cost:.2} | {least:.2} | {ratio} | {seen} | {errors} |",
            peer.name(),
        );
    }

    /// The median over rounds of the ratio to HAProxy in the same round, which a machine that
    /// slows down and recovers disturbs less than a ratio of medians.
    fn ratio(&self, figures: &[Figure]) -> Option<f64> {
        let haproxy = self.figures(Peer::Haproxy)?;
        let ratios: Vec<f64> =
            figures.iter().zip(haproxy).map(|(ours, theirs)| ours.cost / theirs.cost).collect();
        Some(median(&ratios))
    }
}

/// What else runs here: a machine that builds something meanwhile gives worse absolute figures.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().unwrap_or("unknown").to_owned()
}

fn costs(figures: &[Figure]) -> Vec<f64> {
    figures.iter().map(|figure| figure.cost).collect()
}

/// The middle value, or the mean of the two; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}
