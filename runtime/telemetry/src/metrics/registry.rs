//! The instances that exist, on the control thread: made for a snapshot, dropped some time after.
//!
//! An instance is in use while anybody besides the registry holds it: snapshots hold theirs, so
//! a reload that keeps a route keeps its counts, and a removed route's series goes once the last
//! shard has let go of the old snapshot and a grace is over (a last scrape shall still see it).

use std::sync::Arc;
use std::time::Duration;

use penstock_env::Time;

use super::block::Block;
use super::discovered::Discovered;
use super::histogram::Histogram;
use super::schema::{CounterId, GaugeId, HistogramId, Kind, Schema};
use super::scrape::Scrape;

/// A label value that no name in a config can be.
const OTHER: &str = "(other)";

/// What the registry may grow to, and how long it keeps what nobody uses.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// Series over all instances, a histogram or a table of counters taken as one. Above it,
    /// new instances of a schema share one whose labels are all `(other)`.
    pub series_max: usize,
    /// How long an instance outlives its last holder.
    pub grace: Duration,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        RegistryLimits { series_max: 10_000, grace: Duration::from_secs(300) }
    }
}

/// A schema that the registry knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaId(usize);

/// The blocks of one set of label values, one per shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Instance {
    blocks: Arc<[Block]>,
}

impl Instance {
    /// The block that the shard at `index` writes; anyone may read it.
    ///
    /// # Panics
    /// When the registry was made for fewer shards.
    #[inline]
    pub fn shard(&self, index: usize) -> &Block {
        &self.blocks[index]
    }

    /// How many shards write.
    pub fn shard_count(&self) -> usize {
        self.blocks.len()
    }

    /// A counter, summed over shards.
    pub fn counter(&self, id: CounterId) -> u64 {
        self.sum(id.0)
    }

    /// A gauge, summed over shards.
    pub fn gauge(&self, id: GaugeId) -> i64 {
        self.sum(id.0) as i64
    }

    /// A histogram, summed over shards.
    pub fn histogram(&self, id: HistogramId) -> Histogram {
        let mut sum = Histogram::default();
        for block in self.blocks.iter() {
            block.merge_into(id, &mut sum);
        }
        sum
    }

    fn sum(&self, index: u32) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.wrapping_add(block.value(index)))
    }
}

/// All schemas and their instances.
#[derive(Debug)]
pub struct Registry {
    shard_count: usize,
    limits: RegistryLimits,
    groups: Vec<Group>,
    series_count: usize,
    refused_count: u64,
}

#[derive(Debug)]
struct Group {
    schema: Schema,
    series: Vec<Series>,
    /// What stands in for instances above the limit.
    other: Option<Instance>,
    /// Those whose label values come with the traffic.
    discovered: Option<Arc<Discovered>>,
}

#[derive(Debug)]
struct Series {
    values: Box<[String]>,
    instance: Instance,
    idle_since: Option<Time>,
}

impl Registry {
    /// A registry for this many shards.
    pub fn new(shard_count: usize, limits: RegistryLimits) -> Self {
        Registry { shard_count, limits, groups: Vec::new(), series_count: 0, refused_count: 0 }
    }

    /// Takes up a schema.
    ///
    /// # Panics
    /// When another schema has a family of the same name: the text would have it twice.
    pub fn add(&mut self, schema: Schema) -> SchemaId {
        for family in &schema.families {
            let mut known = self.groups.iter().flat_map(|group| &group.schema.families);
            assert!(known.all(|other| other.name != family.name), "{} twice", family.name);
        }
        self.groups.push(Group { schema, series: Vec::new(), other: None, discovered: None });
        SchemaId(self.groups.len() - 1)
    }

    /// The instance with these label values: the one that exists, else a new one, else (at the
    /// limit) the one that stands for all others, which is counted.
    ///
    /// # Panics
    /// When there are not as many values as the schema has labels.
    pub fn instance(&mut self, schema: SchemaId, values: &[&str]) -> Instance {
        let group = &mut self.groups[schema.0];
        assert_eq!(values.len(), group.schema.labels.len(), "one value for each label");
        let place = group.series.binary_search_by(|series| {
            series.values.iter().map(String::as_str).cmp(values.iter().copied())
        });
        let place = match place {
            Ok(known) => return group.series[known].instance.clone(),
            Err(place) => place,
        };
        let new = || Instance::new(self.shard_count, group.schema.cell_count);
        let families = group.schema.families.len();
        if self.series_count + families > self.limits.series_max {
            self.refused_count += 1;
            return group.other.get_or_insert_with(new).clone();
        }
        let instance = new();
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let series = Series { values, instance: instance.clone(), idle_since: None };
        group.series.insert(place, series);
        self.series_count += families;
        instance
    }

    /// Instances of a schema whose label values come with the traffic: at most `max`, as it was
    /// first said.
    pub fn discovered(&mut self, schema: SchemaId, max: usize) -> Arc<Discovered> {
        let (group, shard_count) = (&mut self.groups[schema.0], self.shard_count);
        let cell_count = group.schema.cell_count;
        let new = || Arc::new(Discovered::new(shard_count, cell_count, max));
        Arc::clone(group.discovered.get_or_insert_with(new))
    }

    /// Drops instances that nobody has held for the grace. Call it every few seconds.
    pub fn sweep(&mut self, now: Time) {
        let grace = self.limits.grace;
        let mut dropped = 0;
        for group in &mut self.groups {
            group.series.retain_mut(|series| {
                if Arc::strong_count(&series.instance.blocks) > 1 {
                    series.idle_since = None;
                    return true;
                }
                let idle_since = *series.idle_since.get_or_insert(now);
                let keep = now.since(idle_since) < grace;
                dropped += if keep { 0 } else { group.schema.families.len() };
                keep
            });
        }
        self.series_count -= dropped;
    }

    /// A counter, summed over all instances of its schema.
    pub fn total(&self, schema: SchemaId, id: CounterId) -> u64 {
        let sums = self.groups[schema.0].instances().map(|(_, instance)| instance.counter(id));
        sums.fold(0, u64::wrapping_add)
    }

    /// A histogram, summed over all instances of its schema.
    pub fn histogram(&self, schema: SchemaId, id: HistogramId) -> Histogram {
        let mut sum = Histogram::default();
        for (_, instance) in self.groups[schema.0].instances() {
            for block in instance.blocks.iter() {
                block.merge_into(id, &mut sum);
            }
        }
        sum
    }

    /// Everything as it stands now. Add what only others know, then render it.
    pub fn scrape(&self) -> Scrape {
        let mut scrape = Scrape::new();
        for group in &self.groups {
            group.scrape(&mut scrape);
        }
        scrape.gauge(
            "penstock_metric_series",
            "Series that are kept, a histogram or a table of counters taken as one.",
            &[],
            (self.series_count + self.discovered_count()) as f64,
        );
        scrape.counter(
            "penstock_metric_series_refused_total",
            "Times that new label values were counted under `(other)` because of the limit.",
            &[],
            self.refused_count,
        );
        scrape
    }
}

impl Registry {
    /// Series that came with the traffic.
    fn discovered_count(&self) -> usize {
        let count = |group: &Group| {
            let found = group.discovered.as_ref().map_or(0, |found| found.len());
            found * group.schema.families.len()
        };
        self.groups.iter().map(count).sum()
    }
}

impl Instance {
    pub(super) fn new(shard_count: usize, cell_count: u32) -> Self {
        let blocks = (0..shard_count).map(|_| Block::new(cell_count)).collect();
        Instance { blocks }
    }
}

impl Group {
    /// All instances with their label values; those of the one that stands for others are none.
    fn instances(&self) -> impl Iterator<Item = (Option<&[String]>, &Instance)> {
        let series = self.series.iter().map(|series| (Some(&*series.values), &series.instance));
        let declared = series.chain(self.other.iter().map(|other| (None, other)));
        declared.chain(self.discovered.iter().flat_map(|found| found.instances()))
    }

    fn scrape(&self, scrape: &mut Scrape) {
        let mut labels = Vec::new();
        for (values, instance) in self.instances() {
            labels.clear();
            for (index, name) in self.schema.labels.iter().enumerate() {
                labels.push((*name, values.map_or(OTHER, |values| values[index].as_str())));
            }
            for family in &self.schema.families {
                let (name, help, first) = (family.name, family.help, family.first);
                match family.kind {
                    Kind::Counter => scrape.counter(name, help, &labels, instance.sum(first)),
                    Kind::Gauge => {
                        scrape.gauge(name, help, &labels, instance.sum(first) as i64 as f64);
                    }
                    Kind::Histogram(unit) => {
                        let histogram = instance.histogram(HistogramId(first));
                        scrape.histogram(name, help, &labels, unit, &histogram);
                    }
                    Kind::Table { label, values } => {
                        for (index, value) in values.iter().enumerate() {
                            let count = instance.sum(first + index as u32);
                            if count > 0 {
                                labels.push((label, value));
                                scrape.counter(name, help, &labels, count);
                                labels.pop();
                            }
                        }
                    }
                }
            }
        }
    }
}
