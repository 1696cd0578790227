//! Heads of requests that are larger than most: what a shard, and each source there, may hold of
//! them.
//!
//! A head is held from its first bytes to the end of its exchange, and over HTTP/2 a hundred bytes
//! can name 60 KiB of one (RFC 7541 §6.1). Small ones are bounded by the number of connections and
//! of streams.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::capacity::who_has;

/// Up to here a head is small: most have less, and ten thousand streams 40 MiB.
pub(crate) const SMALL_BYTES: usize = 4 * 1024;
/// The part of them that one source may have: others have room beside three of its kind.
const SOURCE_PART: u64 = 4;

/// Whose head it is; nobody's that comes from this machine by a socket's path.
type Source = Option<IpAddr>;

/// The large heads of one shard.
#[derive(Default)]
pub(crate) struct LargeHeads {
    bytes: Cell<u64>,
    by_source: RefCell<BTreeMap<Source, u64>>,
}

/// One of them, until it is dropped.
pub(crate) struct LargeHead {
    bytes: u64,
    source: Source,
    all: Rc<LargeHeads>,
}

impl LargeHeads {
    /// Counts a head of `peer` that has `bytes` (so far) in `head`; false when all of them would
    /// have more than `max`, or that source's more than its part of it.
    #[inline]
    pub(crate) fn hold(
        self: &Rc<Self>,
        head: &mut Option<LargeHead>,
        peer: impl FnOnce() -> Option<IpAddr>,
        bytes: usize,
        max: u64,
    ) -> bool {
        bytes <= SMALL_BYTES || self.hold_large(head, peer, bytes as u64, max)
    }

    fn hold_large(
        self: &Rc<Self>,
        head: &mut Option<LargeHead>,
        peer: impl FnOnce() -> Option<IpAddr>,
        bytes: u64,
        max: u64,
    ) -> bool {
        let before = head.as_ref().map_or(0, |head| head.bytes);
        let more = bytes.saturating_sub(before);
        let source = head.as_ref().map_or_else(|| peer().map(who_has), |head| head.source);
        let mut by_source = self.by_source.borrow_mut();
        let of_source = by_source.get(&source).copied().unwrap_or(0) + more;
        // Who comes by a path is counted with all others alone.
        let is_too_much = source.is_some() && of_source > max / SOURCE_PART;
        if is_too_much || self.bytes.get() + more > max {
            return false;
        }
        self.bytes.set(self.bytes.get() + more);
        by_source.insert(source, of_source);
        head.get_or_insert_with(|| LargeHead { bytes: 0, source, all: Rc::clone(self) }).bytes +=
            more;
        true
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.get() == 0 && self.by_source.borrow().is_empty()
    }
}

impl Drop for LargeHead {
    fn drop(&mut self) {
        self.all.bytes.set(self.all.bytes.get() - self.bytes);
        let mut by_source = self.all.by_source.borrow_mut();
        let left = by_source.get(&self.source).expect("it is counted") - self.bytes;
        match left {
            0 => by_source.remove(&self.source),
            _ => by_source.insert(self.source, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::rc::Rc;

    use super::{LargeHead, LargeHeads, SMALL_BYTES};

    const MAX: u64 = 80_000;

    #[track_caller]
    fn check(all: &Rc<LargeHeads>, head: &mut Option<LargeHead>, host: u32, bytes: usize) -> bool {
        let peer = || Some(IpAddr::V4(Ipv4Addr::from_bits(host)));
        all.hold(head, peer, bytes, MAX)
    }

    #[test]
    fn large_heads_are_counted_as_they_grow_and_until_they_are_gone() {
        let all = Rc::<LargeHeads>::default();
        let (mut small, mut one, mut two) = (None, None, None);
        assert!(all.hold(&mut small, || None, SMALL_BYTES, 0) && all.is_empty());
        assert!(check(&all, &mut one, 1, 10_000) && check(&all, &mut one, 1, 15_000));
        // A source has a quarter.
        assert!(!check(&all, &mut two, 1, 5_001) && two.is_none());
        assert!(check(&all, &mut two, 1, 5_000) && !check(&all, &mut two, 1, 5_001));
        let mut others = [const { None }; 3];
        for (host, other) in (2..).zip(&mut others) {
            assert!(check(&all, other, host, 20_000));
        }
        // And all of them no more than all of it.
        let mut last = None;
        assert!(!check(&all, &mut last, 9, 5_000));
        drop(one);
        assert!(check(&all, &mut last, 9, 15_000) && !check(&all, &mut last, 9, 15_001));
        drop((small, two, others, last));
        assert!(all.is_empty());
    }

    #[test]
    fn who_comes_by_a_path_may_have_all_of_it() {
        let (all, mut head) = (Rc::<LargeHeads>::default(), None);
        assert!(all.hold(&mut head, || None, MAX as usize, MAX));
        assert!(!check(&all, &mut None, 1, 5_000));
    }
}
