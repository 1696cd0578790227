//! How many connections the appliance may have: all of them together, and each source's.
//!
//! All of them are counted where the other metrics are, a cell per shard. Sources are counted in
//! a table of fixed size that all shards share: a source has a cell in each of two rows, found by
//! a keyed hash, and its count is the smaller of the two (the count-min sketch of Cormode and
//! Muthukrishnan, 2005). It is never too low, so no source gets more than it may; it is too high
//! for a source that meets busy others in both of its cells.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use penstock_env::MapSeed;

/// Cells of a row: 512 KiB for both rows, of which a quiet appliance touches little.
const CELLS: usize = 1 << 16;

/// What every Snapshot of a process shares about connections.
pub struct Capacity {
    /// Connections that the machine has room for: what `connections_max = "auto"` is.
    pub connections_auto: u32,
    seed: MapSeed,
    rows: [Box<[AtomicU32]>; 2],
}

impl Capacity {
    /// Room for `connections_auto` connections. `seed` is secret: who knows it can make others
    /// look busy.
    pub fn new(connections_auto: u32, seed: u64) -> Arc<Capacity> {
        let row = || (0..CELLS).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Capacity { connections_auto, seed: MapSeed::new(seed), rows: [row(), row()] })
    }

    /// A permit for another connection of `source`, if it has fewer than `max`.
    pub(crate) fn enter(self: &Arc<Self>, source: IpAddr, max: u32) -> Option<SourcePermit> {
        let hash = self.seed.hash_one(who_has(source));
        let permit =
            SourcePermit { capacity: Arc::clone(self), cells: [hash as u16, (hash >> 16) as u16] };
        let before = permit.cells().map(|cell| cell.fetch_add(1, Relaxed));
        // Dropped where there is none, and so counted out again.
        (before[0].min(before[1]) < max).then_some(permit)
    }
}

/// Who an address is of, whichever way it came in: one of IPv4 itself, of IPv6 whoever has the /64
/// (RFC 6177 §2: a site gets that much at least, and may change the rest at will).
pub(crate) fn who_has(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A connection in the count of its source, until it is dropped.
pub(crate) struct SourcePermit {
    capacity: Arc<Capacity>,
    cells: [u16; 2],
}

impl SourcePermit {
    fn cells(&self) -> [&AtomicU32; 2] {
        [0, 1].map(|row| &self.capacity.rows[row][usize::from(self.cells[row])])
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        for cell in self.cells() {
            let before = cell.fetch_sub(1, Relaxed);
            assert!(before > 0, "more connections of a source ended than began");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::Capacity;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_source_gets_as_many_as_it_may_and_again_when_they_are_gone() {
        let capacity = Capacity::new(1, 7);
        let permits: Vec<_> = (0..3).map_while(|_| capacity.enter(source(1), 2)).collect();
        assert_eq!(permits.len(), 2);
        let mapped = IpAddr::V6(Ipv4Addr::from_bits(1).to_ipv6_mapped());
        assert!(capacity.enter(mapped, 2).is_none());
        assert!(capacity.enter(IpAddr::V6(Ipv6Addr::LOCALHOST), 2).is_some());
        // Who has one address of a /64 has all of them.
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        let held: Vec<_> =
            ["fd00::1", "fd00::ffff:0:0:2"].map(|one| capacity.enter(of(one), 2)).into();
        assert!(held.iter().all(Option::is_some) && capacity.enter(of("fd00::3"), 2).is_none());
        assert!(capacity.enter(of("fd00:0:0:1::3"), 2).is_some());
        drop((permits, held));
        assert!(capacity.enter(mapped, 1).is_some());
        let left = capacity.rows.iter().flatten().filter(|cell| cell.load(super::Relaxed) > 0);
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_hundred_thousand_others_do_not_make_a_source_look_busy() {
        let capacity = Capacity::new(1, 7);
        // Each has ten; a cell has 15 on average then, and the default limit is 1,024.
        let others: Vec<_> = (0..100_000_u32)
            .flat_map(|other| (0..10).map(move |_| other))
            .filter_map(|other| capacity.enter(source(other), 1_024))
            .collect();
        assert_eq!(others.len(), 1_000_000);
        let asked =
            (200_000..210_000).filter(|&other| capacity.enter(source(other), 128).is_none());
        assert_eq!(asked.count(), 0);
    }
}
