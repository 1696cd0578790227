//! Blocks with a name: `[listener.web]`, `[cluster.api]`, `[filter.jwt]`.

use std::fmt;
use std::ops::Deref;

use serde_json::{Value, json};
use toml::de::DeTable;

use crate::grammar::reader::{Node, Reader, TableReader, wrong_type};
use crate::grammar::section::{Group, Section, TableSchema, TableWriter};
use crate::grammar::setting::Setting;

/// The name of a block: letters, digits, `-` and `_`, at most 64 of them, so that it is fit for
/// logs, labels and URLs as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockName(Box<str>);

impl Deref for BlockName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Taken from the header of the table, not from a key in it.
impl Group for BlockName {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<BlockName> {
        Some(BlockName(table.name().into()))
    }

    fn write(&self, _out: &mut TableWriter<'_>) {}

    fn describe(_out: &mut TableSchema) {}
}

/// The names in the table of blocks at `key`, sorted, which is the order of their indexes.
pub(crate) fn names_of(root: &DeTable<'_>, key: &str) -> Vec<String> {
    let blocks = root.get(key).and_then(|node| node.get_ref().as_table());
    blocks
        .into_iter()
        .flat_map(|table| table.keys())
        .map(|name| name.get_ref().to_string())
        .collect()
}

/// Reads every block under `key`. Their order is the order of their names.
pub(crate) fn read_blocks<T: Section>(
    key: &'static str,
    table: &mut TableReader<'_, '_, '_>,
) -> Option<Vec<T>> {
    let Some(node) = table.node(key) else { return Some(Vec::new()) };
    let span = table.span_of(key);
    table.reader.below(key, |reader| {
        let Some(blocks) = node.get_ref().as_table() else {
            return reader.refuse(node, wrong_type(&format!("[{key}.NAME]"), node));
        };
        if blocks.len() > BLOCKS_MAX {
            let problem = format!("{} blocks, at most {BLOCKS_MAX}", blocks.len());
            return reader.contradict(span, problem);
        }
        let read: Vec<Option<T>> =
            blocks.iter().map(|(name, node)| read_block(name.get_ref(), node, reader)).collect();
        read.into_iter().collect()
    })
}

fn read_block<T: Section>(name: &str, node: Node<'_>, reader: &mut Reader<'_>) -> Option<T> {
    reader.below(name, |reader| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed);
        let block = <T as Setting>::read(node, &(), reader);
        if !fits {
            let problem = "a name has letters, digits, - and _, at most 64 of them".to_owned();
            return reader.refuse(node, problem);
        }
        block
    })
}

/// The schema of a table of blocks.
pub(crate) fn blocks_schema<T: Section>() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "additionalProperties": <T as Setting>::schema(&()),
    })
}

const NAME_BYTES_MAX: usize = 64;

/// Blocks of one kind.
const BLOCKS_MAX: usize = 10_000;
