//! Filters in the order in which a listener or a route runs them.

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::grammar::names::{FilterId, Names};
use crate::grammar::reader::{Node, Reader, TableReader};
use crate::grammar::section::section;
use crate::grammar::setting::{ListOf, Setting};
use crate::grammar::tree::Tree;
use crate::payload::Payload;

/// A filter in a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterUse {
    /// Which filter.
    pub filter: FilterId,
    /// Configuration for this chain in place of the filter's own.
    pub config: Option<Payload>,
}

section! {
    /// A filter in a chain, in its long form.
    pub(crate) struct ConfiguredFilter("filter-use") {
        /// Which filter.
        filter: FilterId;
        /// Configuration for this chain in place of the filter's own.
        config: Payload;
    }
}

impl Setting for FilterUse {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<FilterUse> {
        if let DeValue::Table(_) = node.get_ref() {
            let ConfiguredFilter { filter, config } = Setting::read(node, &(), reader)?;
            return Some(FilterUse { filter, config: Some(config) });
        }
        Some(FilterUse { filter: reader.filter(node)?, config: None })
    }

    fn write(&self, names: &Names) -> Tree {
        match &self.config {
            None => self.filter.write(names),
            Some(config) => {
                let long = ConfiguredFilter { filter: self.filter, config: config.clone() };
                Setting::write(&long, names)
            }
        }
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "anyOf": [FilterId::schema(&()), <ConfiguredFilter as Setting>::schema(&())] })
    }
}

/// Chains are short: every filter costs each request.
pub(crate) const CHAIN: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 32, bare: false };

/// A chain that names a filter twice would run it twice on each request: refused.
pub(crate) fn check_chain(chain: &[FilterUse], table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let is_again = |(index, item): (usize, &FilterUse)| {
        chain[..index].iter().any(|earlier| earlier.filter == item.filter)
    };
    if chain.iter().enumerate().any(is_again) {
        return table.contradict("filters", "one filter is named twice");
    }
    Some(())
}
