//! What is measured: names, help, units and label names, and where in a block each value lies.

use super::histogram::BUCKETS;

/// What a number counts; decides how it is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Time: recorded in whole microseconds, rendered in seconds.
    Seconds,
}

impl Unit {
    /// What one recorded step is worth in the rendered unit.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Unit::Count | Unit::Bytes => 1.0,
            Unit::Seconds => 1e-6,
        }
    }
}

/// A counter's place in a block of the schema that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterId(pub(crate) u32);

/// A gauge's place in a block of the schema that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeId(pub(crate) u32);

/// A histogram's place in a block of the schema that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramId(pub(crate) u32);

/// Counters of one family that differ in one label, as a status class or a cause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterTable {
    first: u32,
    len: u32,
}

impl CounterTable {
    /// The counter of the value at `index` of the table that this was declared with.
    ///
    /// # Panics
    /// When the table has no such value.
    #[inline]
    pub fn at(self, index: usize) -> CounterId {
        assert!(index < self.len as usize, "a value that the table was declared with");
        CounterId(self.first + index as u32)
    }
}

/// The families that share label names. Declare everything, then give it to the registry.
#[derive(Debug)]
pub struct Schema {
    pub(crate) labels: &'static [&'static str],
    pub(crate) families: Vec<Family>,
    pub(crate) cell_count: u32,
}

/// One metric name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) first: u32,
    pub(crate) kind: Kind,
}

/// What lies in a family's cells.
#[derive(Debug)]
pub(crate) enum Kind {
    Counter,
    /// One counter for each value of a label.
    Table {
        label: &'static str,
        values: &'static [&'static str],
    },
    Gauge,
    Histogram(Unit),
}

impl Schema {
    /// A schema whose instances are told apart by these labels; none for a single instance.
    pub fn new(labels: &'static [&'static str]) -> Self {
        Schema { labels, families: Vec::new(), cell_count: 0 }
    }

    /// Declares a counter. By Prometheus' convention the name ends in `_total` and says its unit.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> CounterId {
        CounterId(self.declare(name, help, Kind::Counter, 1))
    }

    /// Declares a counter for each of `values` of the label `label`. Those that never counted
    /// are not rendered: a table of causes is long and mostly idle.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [&'static str],
    ) -> CounterTable {
        let len = values.len() as u32;
        let first = self.declare(name, help, Kind::Table { label, values }, len);
        CounterTable { first, len }
    }

    /// Declares a gauge: a number that goes up and down, summed over shards.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> GaugeId {
        GaugeId(self.declare(name, help, Kind::Gauge, 1))
    }

    /// Declares a histogram of `unit`. One that never counted is not rendered.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, unit: Unit) -> HistogramId {
        // The buckets, then the sum.
        let cells = BUCKETS as u32 + 1;
        HistogramId(self.declare(name, help, Kind::Histogram(unit), cells))
    }

    fn declare(&mut self, name: &'static str, help: &'static str, kind: Kind, cells: u32) -> u32 {
        let known = self.families.iter().any(|family| family.name == name);
        assert!(!known, "{name} is declared twice");
        let first = self.cell_count;
        self.cell_count += cells;
        self.families.push(Family { name, help, first, kind });
        first
    }
}
