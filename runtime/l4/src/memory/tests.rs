//! Memory tables: the longest prefix, the least recently used.

use super::*;
use crate::value::action;

const RULE: SourceRule = SourceRule { action: action::DENY, zero: [0; 3], rate: 0, burst: 0 };

fn key(port: u16) -> FlowKey {
    FlowKey {
        source: Address::v4([192, 0, 2, 1]),
        destination: Address::v4([192, 0, 2, 2]),
        source_port: port,
        destination_port: 80,
        protocol: 6,
        zero: [0; 3],
    }
}

#[test]
fn the_longest_prefix_rules() {
    let mut prefixes = Prefixes::default();
    let rule = |burst| Some(SourceRule { burst, ..RULE });
    prefixes.set(Address::v6([0; 16]), 0, rule(0));
    prefixes.set(Address::v4([10, 0, 0, 0]), 96 + 8, rule(8));
    prefixes.set(Address::v4([10, 1, 0, 0]), 96 + 16, rule(16));
    prefixes.set(Address::v4([10, 1, 0, 7]), 128, rule(32));
    let burst =
        |prefixes: &Prefixes, octets| prefixes.find(&Address::v4(octets)).map(|rule| rule.burst);
    assert_eq!(burst(&prefixes, [10, 1, 0, 7]), Some(32));
    assert_eq!(burst(&prefixes, [10, 1, 0, 8]), Some(16));
    assert_eq!(burst(&prefixes, [10, 2, 0, 8]), Some(8));
    assert_eq!(burst(&prefixes, [11, 0, 0, 1]), Some(0));
    prefixes.set(Address::v4([10, 1, 0, 0]), 96 + 16, None);
    prefixes.set(Address::v6([0; 16]), 0, None);
    assert_eq!(burst(&prefixes, [10, 1, 0, 8]), Some(8));
    assert_eq!(burst(&prefixes, [11, 0, 0, 1]), None);
}

#[test]
fn a_full_cache_forgets_what_was_used_longest_ago() {
    // One set of eight.
    let cache = Cache::new([1, 2], 8, 0_u16);
    for port in 0..8 {
        cache.put(&key(port), port);
    }
    assert_eq!(cache.find(&key(0)).map(Cell::get), Some(0));
    cache.put(&key(8), 8);
    assert!(cache.find(&key(1)).is_none(), "the oldest went");
    for port in [0, 2, 3, 4, 5, 6, 7, 8] {
        assert_eq!(cache.find(&key(port)).map(Cell::get), Some(port));
    }
    cache.remove(&key(3));
    cache.put(&key(9), 9);
    assert_eq!(cache.entries(0, usize::MAX).count(), 8);
    assert!(cache.find(&key(0)).is_some(), "the empty place was taken first");
}
