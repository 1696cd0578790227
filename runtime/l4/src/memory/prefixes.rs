//! Rules by prefix, the longest first.

use std::collections::BTreeMap;

use crate::value::{Address, SourceRule};

/// One map for each length of prefix that occurs: a look-up asks each once.
#[derive(Default)]
pub(super) struct Prefixes {
    lengths: Vec<(u8, BTreeMap<u128, SourceRule>)>,
}

impl Prefixes {
    /// Sets the rule of a prefix, or takes it away.
    pub(super) fn set(&mut self, address: Address, bits: u8, rule: Option<SourceRule>) {
        let prefix = masked(&address, bits);
        // Longest first.
        let place = self.lengths.binary_search_by(|(other, _)| bits.cmp(other));
        match (place, rule) {
            (Ok(at), Some(rule)) => {
                self.lengths[at].1.insert(prefix, rule);
            }
            (Ok(at), None) => {
                self.lengths[at].1.remove(&prefix);
                if self.lengths[at].1.is_empty() {
                    self.lengths.remove(at);
                }
            }
            (Err(at), Some(rule)) => {
                self.lengths.insert(at, (bits, BTreeMap::from([(prefix, rule)])));
            }
            (Err(_), None) => {}
        }
    }

    /// The rule of the longest prefix that holds the address.
    pub(super) fn find(&self, address: &Address) -> Option<&SourceRule> {
        self.lengths.iter().find_map(|(bits, rules)| rules.get(&masked(address, *bits)))
    }
}

fn masked(address: &Address, bits: u8) -> u128 {
    let all = u128::from_be_bytes(address.octets());
    match u32::from(bits) {
        0 => 0,
        bits => all & u128::MAX << 128_u32.saturating_sub(bits),
    }
}
