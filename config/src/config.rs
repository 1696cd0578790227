//! The whole config: read from text, written back, described.

use serde_json::{Value, json};
use toml::de::DeTable;

use crate::cluster::Cluster;
use crate::files::Files;
use crate::filter::{Filter, check_grpc_calls};
use crate::findings::place::Places;
use crate::findings::{FindingKind, Findings};
use crate::fleet::Fleet;
use crate::grammar::block::{blocks_schema, names_of, read_blocks};
use crate::grammar::names::{ClusterId, FilterId, Names};
use crate::grammar::reader::{RawFinding, Reader, TableReader};
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;
use crate::listener::Listener;
use crate::passthrough::{check_destinations, passed_to};
use crate::runtime::{Admin, Observe, Runtime};
use crate::service::{Service, check_datagrams};

/// A checked config: whatever is in it can be done, and every name leads somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The shards, and what they share the machine with.
    pub runtime: Runtime,
    /// The admin API.
    pub admin: Admin,
    /// What can be seen of the traffic.
    pub observe: Observe,
    /// The appliances that answer for the same addresses.
    pub fleet: Fleet,
    /// Ways in, sorted by name.
    pub listeners: Vec<Listener>,
    /// Ways in at layer 4, sorted by name.
    pub services: Vec<Service>,
    /// Endpoints that answer the same requests, sorted by name; `ClusterId` is the index.
    pub clusters: Vec<Cluster>,
    /// Modules, sorted by name; `FilterId` is the index.
    pub filters: Vec<Filter>,
}

impl Config {
    /// Reads `text`, which the caller calls `file`, and reports every mistake in it.
    ///
    /// The files that it names are looked at through `files`.
    ///
    /// # Errors
    /// The findings, at least one.
    pub fn parse(file: &str, text: &[u8], files: &dyn Files) -> Result<Config, Findings> {
        let places = Places::new(text);
        let fail = |raw: Vec<RawFinding>, left_out| Err(places.findings(file, raw, left_out));
        if text.len() > TEXT_BYTES_MAX {
            return fail(vec![syntax(0..0, format!("over {TEXT_BYTES_MAX} bytes"))], 0);
        }
        let source = match std::str::from_utf8(text) {
            Ok(source) => source,
            Err(error) => {
                let start = error.valid_up_to();
                return fail(vec![syntax(start..start + 1, "not UTF-8".to_owned())], 0);
            }
        };
        let (document, errors) = DeTable::parse_recoverable(source);
        let root = document.get_ref();
        let names =
            Names { clusters: names_of(root, "cluster"), filters: names_of(root, "filter") };
        let mut reader = Reader::new(source, names, passed_to(root), files);
        let mut table = TableReader::new(&mut reader, root, 0..0);
        let config = Config::read(&mut table);
        let config = config.filter(|config| check_destinations(config, &mut table).is_some());
        let config = config.filter(|config| check_datagrams(config, &mut table).is_some());
        let config = config.filter(|config| check_grpc_calls(config, &mut table).is_some());
        table.close("config");
        let Reader { findings, left_out, .. } = reader;
        let found = places.join_syntax(errors, findings);
        match config {
            Some(config) if found.is_empty() => Ok(config),
            _ => fail(found, left_out),
        }
    }

    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Config> {
        let runtime = table.optional("runtime", Runtime::default, &());
        let admin = table.optional("admin", Admin::default, &());
        let observe = table.optional("observe", Observe::default, &());
        let fleet = table.optional("fleet", Fleet::default, &());
        let listeners = read_blocks("listener", table);
        let services = read_blocks("service", table);
        let clusters = read_blocks("cluster", table);
        let filters = read_blocks("filter", table);
        Some(Config {
            runtime: runtime?,
            admin: admin?,
            observe: observe?,
            fleet: fleet?,
            listeners: listeners?,
            services: services?,
            clusters: clusters?,
            filters: filters?,
        })
    }

    /// The cluster with this id.
    ///
    /// # Panics
    /// If the id is of another config.
    pub fn cluster(&self, id: ClusterId) -> &Cluster {
        &self.clusters[id.index()]
    }

    /// The filter with this id.
    ///
    /// # Panics
    /// If the id is of another config.
    pub fn filter(&self, id: FilterId) -> &Filter {
        &self.filters[id.index()]
    }

    /// The cluster with this name.
    pub fn cluster_named(&self, name: &str) -> Option<ClusterId> {
        let index = self.clusters.iter().position(|cluster| &*cluster.name == name)?;
        Some(ClusterId(index as u32))
    }

    /// The config as data, with every default.
    pub fn to_tree(&self) -> Tree {
        let names = Names {
            clusters: self.clusters.iter().map(|cluster| cluster.name.to_string()).collect(),
            filters: self.filters.iter().map(|filter| filter.name.to_string()).collect(),
        };
        let mut entries = vec![
            ("runtime".to_owned(), Setting::write(&self.runtime, &names)),
            ("admin".to_owned(), Setting::write(&self.admin, &names)),
            ("observe".to_owned(), Setting::write(&self.observe, &names)),
            ("fleet".to_owned(), Setting::write(&self.fleet, &names)),
        ];
        let listeners = self.listeners.iter().map(|l| (&*l.name, Setting::write(l, &names)));
        let services = self.services.iter().map(|s| (&*s.name, Setting::write(s, &names)));
        let clusters = self.clusters.iter().map(|c| (&*c.name, Setting::write(c, &names)));
        let filters = self.filters.iter().map(|f| (&*f.name, Setting::write(f, &names)));
        push_blocks("listener", listeners, &mut entries);
        push_blocks("service", services, &mut entries);
        push_blocks("cluster", clusters, &mut entries);
        push_blocks("filter", filters, &mut entries);
        Tree::Table(entries)
    }

    /// The config as TOML, with every default. Reading it gives the same config.
    pub fn to_toml(&self) -> String {
        self.to_tree().to_toml()
    }

    /// The config as JSON, with every default.
    pub fn to_json(&self) -> Value {
        self.to_tree().to_json()
    }
}

fn push_blocks<'c>(
    key: &str,
    blocks: impl Iterator<Item = (&'c str, Tree)>,
    entries: &mut Vec<(String, Tree)>,
) {
    let blocks: Vec<_> = blocks.map(|(name, tree)| (name.to_owned(), tree)).collect();
    if !blocks.is_empty() {
        entries.push((key.to_owned(), Tree::Table(blocks)));
    }
}

/// The JSON schema of the language, for editors: draft 2020-12.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Penstock",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "runtime": <Runtime as Setting>::schema(&()),
            "admin": <Admin as Setting>::schema(&()),
            "observe": <Observe as Setting>::schema(&()),
            "fleet": <Fleet as Setting>::schema(&()),
            "listener": blocks_schema::<Listener>(),
            "service": blocks_schema::<Service>(),
            "cluster": blocks_schema::<Cluster>(),
            "filter": blocks_schema::<Filter>(),
        },
    })
}

/// A finding about the text itself.
pub(crate) fn syntax(span: std::ops::Range<usize>, problem: String) -> RawFinding {
    RawFinding::new(FindingKind::Syntax, span, problem)
}

/// No config that a person or a generator means is larger.
const TEXT_BYTES_MAX: usize = 16 << 20;
