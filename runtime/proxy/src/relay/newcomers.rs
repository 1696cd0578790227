//! Flows of datagrams that have proven nothing yet, by age: where there is no room, the oldest of
//! them go first.
//!
//! Anybody can send a datagram in anybody's name. A flow is proven as in `nat`: its client went on
//! after an answer, so that it was there to hear it.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Those of one shard, each known by `K`.
pub(super) struct Newcomers<K> {
    next_id: u64,
    by_service: BTreeMap<u32, BTreeMap<u64, K>>,
    by_source: BTreeMap<IpAddr, BTreeMap<u64, K>>,
}

/// A newcomer: whose it is, and how old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newcomer {
    service: u32,
    source: IpAddr,
    id: u64,
}

impl<K> Default for Newcomers<K> {
    fn default() -> Self {
        Newcomers { next_id: 0, by_service: BTreeMap::new(), by_source: BTreeMap::new() }
    }
}

impl<K: Copy> Newcomers<K> {
    /// One more.
    pub(super) fn add(&mut self, service: u32, source: IpAddr, key: K) -> Newcomer {
        let id = self.next_id;
        self.next_id += 1;
        self.by_service.entry(service).or_default().insert(id, key);
        self.by_source.entry(source).or_default().insert(id, key);
        Newcomer { service, source, id }
    }

    /// It has proven itself, or is over.
    pub(super) fn remove(&mut self, newcomer: Newcomer) {
        let Newcomer { service, source, id } = newcomer;
        remove(&mut self.by_service, service, id);
        remove(&mut self.by_source, source, id);
    }

    /// How many a service has.
    pub(super) fn count(&self, service: u32) -> usize {
        self.by_service.get(&service).map_or(0, BTreeMap::len)
    }

    /// The oldest of a service.
    pub(super) fn oldest_to(&self, service: u32) -> Option<K> {
        self.by_service.get(&service)?.first_key_value().map(|(_, key)| *key)
    }

    /// The oldest of a source.
    pub(super) fn oldest_from(&self, source: IpAddr) -> Option<K> {
        self.by_source.get(&source)?.first_key_value().map(|(_, key)| *key)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_service.is_empty() && self.by_source.is_empty()
    }
}

fn remove<A: Ord, K>(all: &mut BTreeMap<A, BTreeMap<u64, K>>, of: A, id: u64) {
    let some = all.get_mut(&of).expect("it was added");
    some.remove(&id).expect("it is removed once");
    if some.is_empty() {
        all.remove(&of);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::Newcomers;

    #[test]
    fn the_oldest_is_known_by_service_and_by_source() {
        let source = |host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let mut all = Newcomers::default();
        let added = [(1, 1, 'a'), (2, 1, 'b'), (1, 2, 'c'), (1, 1, 'd')]
            .map(|(service, host, key)| all.add(service, source(host), key));
        assert_eq!((all.count(1), all.count(2), all.count(3)), (3, 1, 0));
        assert_eq!(
            (all.oldest_to(1), all.oldest_to(2), all.oldest_to(3)),
            (Some('a'), Some('b'), None)
        );
        assert_eq!(
            (all.oldest_from(source(1)), all.oldest_from(source(2))),
            (Some('a'), Some('c'))
        );
        all.remove(added[0]);
        assert_eq!((all.oldest_to(1), all.oldest_from(source(1))), (Some('c'), Some('b')));
        added[1..].iter().for_each(|&one| all.remove(one));
        assert!(all.is_empty());
    }
}
