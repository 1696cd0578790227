//! Shared data: values under keys, seen by every shard, written with compare-and-swap.
//!
//! The one thing that filters of different shards have in common. No lock: a value is an
//! immutable version behind an atomic pointer, so that a write replaces the pointer if it still
//! holds the version that was read. A key's place is found in one of 64 immutable tables, each
//! behind a pointer of its own and copied when a key is added, which is rare beside updates.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use penstock_env::{Map, MapSeed};

use crate::queues::Queues;

/// Every `vm_id`'s data; one per process.
#[derive(Debug)]
pub struct SharedData {
    spaces: ArcSwap<Map<Arc<str>, Arc<Space>>>,
    pub(crate) queues: Arc<Queues>,
    seed: MapSeed,
}

impl SharedData {
    /// No data yet, for so many shards. `seed` keeps peers who choose keys from aiming collisions.
    pub fn new(seed: u64, shards: usize) -> SharedData {
        let queues = Arc::new(Queues::new(shards));
        SharedData { spaces: ArcSwap::default(), queues, seed: MapSeed::new(seed) }
    }

    /// The data of this `vm_id`, which outlives every filter that uses it.
    pub(crate) fn space(&self, vm_id: &Arc<str>) -> Arc<Space> {
        let fresh = Arc::new(Space::new(self.seed));
        self.spaces.rcu(|spaces| {
            let mut spaces = Map::clone(spaces);
            spaces.entry(Arc::clone(vm_id)).or_insert_with(|| Arc::clone(&fresh));
            spaces
        });
        self.spaces.load().get(vm_id).map_or(fresh, Arc::clone)
    }
}

/// The data of one `vm_id`.
#[derive(Debug)]
pub(crate) struct Space {
    tables: Box<[ArcSwap<Table>]>,
    bytes: AtomicUsize,
    seed: MapSeed,
}

type Table = Map<Box<[u8]>, Arc<ArcSwap<Version>>>;

/// A value as it was at one time.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) value: Box<[u8]>,
    /// Changes with every write, and is never 0.
    pub(crate) cas: u32,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// Another version is there than the writer read.
    CasMismatch,
    /// The data would grow beyond its limit.
    OverLimit,
}

impl Space {
    fn new(seed: MapSeed) -> Space {
        let tables = (0..TABLES).map(|_| ArcSwap::from_pointee(Table::with_hasher(seed))).collect();
        Space { tables, bytes: AtomicUsize::new(0), seed }
    }

    /// The value under `key`.
    pub(crate) fn read(&self, key: &[u8]) -> Option<Guard<Arc<Version>>> {
        self.table(key).load().get(key).map(|place| place.load())
    }

    /// Writes the value under `key`; unless `cas` is 0, only over the version that has it. A key
    /// that isn't there takes any `cas`, as in Envoy.
    pub(crate) fn write(
        &self,
        key: &[u8],
        value: &[u8],
        cas: u32,
        bytes_max: usize,
    ) -> Result<(), WriteError> {
        if let Some(place) = self.table(key).load().get(key) {
            return self.replace(place, value, cas, bytes_max);
        }
        // Reserved before the key is seen, so that the limit holds against every shard at once.
        self.reserve(key.len() + KEY_BYTES, bytes_max)?;
        if let Err(error) = self.reserve(value.len(), bytes_max) {
            self.release(key.len() + KEY_BYTES);
            return Err(error);
        }
        let first = Version { value: value.into(), cas: 1 };
        let place = Arc::new(ArcSwap::from_pointee(first));
        let table = self.table(key);
        let mut current = table.load();
        loop {
            if let Some(other) = current.get(key) {
                // Another shard was first with this key.
                self.release(key.len() + KEY_BYTES + value.len());
                return self.replace(other, value, cas, bytes_max);
            }
            let mut next = Table::clone(&current);
            next.insert(key.into(), Arc::clone(&place));
            let seen = table.compare_and_swap(&*current, Arc::new(next));
            if Arc::ptr_eq(&seen, &current) {
                return Ok(());
            }
            current = seen;
        }
    }

    /// How many bytes keys and values take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn replace(
        &self,
        place: &ArcSwap<Version>,
        value: &[u8],
        cas: u32,
        bytes_max: usize,
    ) -> Result<(), WriteError> {
        self.reserve(value.len(), bytes_max)?;
        let mut current = place.load();
        loop {
            if cas != 0 && cas != current.cas {
                self.release(value.len());
                return Err(WriteError::CasMismatch);
            }
            let next = Version { value: value.into(), cas: current.cas.wrapping_add(1).max(1) };
            let seen = place.compare_and_swap(&*current, Arc::new(next));
            if Arc::ptr_eq(&seen, &current) {
                self.release(current.value.len());
                return Ok(());
            }
            current = seen;
        }
    }

    /// Counts bytes before they are there.
    pub(crate) fn reserve(&self, bytes: usize, bytes_max: usize) -> Result<(), WriteError> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > bytes_max {
            self.release(bytes);
            return Err(WriteError::OverLimit);
        }
        Ok(())
    }

    /// Counts bytes that are gone.
    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn table(&self, key: &[u8]) -> &ArcSwap<Table> {
        let mut hasher = self.seed.build_hasher();
        hasher.write(key);
        &self.tables[hasher.finish() as usize % TABLES]
    }
}

/// With 10,000 keys, adding one copies 160 pointers.
const TABLES: usize = 64;
/// What a key takes beside its bytes: two headers, two pointers, a table's slot.
const KEY_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{SharedData, WriteError};

    #[test]
    fn a_write_needs_the_version_it_read() {
        let space = SharedData::new(7, 1).space(&"vm".into());
        assert!(space.read(b"k").is_none());
        assert_eq!(space.write(b"k", b"one", 42, 1_000), Ok(()), "a new key takes any cas");
        let cas = space.read(b"k").expect("it was written").cas;
        assert_eq!(space.write(b"k", b"two", cas, 1_000), Ok(()));
        assert_eq!(space.write(b"k", b"three", cas, 1_000), Err(WriteError::CasMismatch));
        assert_eq!(space.write(b"k", b"four", 0, 1_000), Ok(()));
        assert_eq!(&*space.read(b"k").expect("it was written").value, b"four");
        assert_eq!(space.bytes(), 1 + 96 + 4);
    }

    #[test]
    fn nothing_grows_beyond_the_limit() {
        let space = SharedData::new(7, 1).space(&"vm".into());
        assert_eq!(space.write(b"k", &[0; 100], 0, 200), Ok(()));
        assert_eq!(space.write(b"l", &[0; 100], 0, 200), Err(WriteError::OverLimit));
        assert_eq!(space.write(b"k", &[0; 150], 0, 200), Err(WriteError::OverLimit));
        assert_eq!(space.bytes(), 197, "a refused write leaves nothing behind");
    }

    #[test]
    fn one_vm_id_is_one_space() {
        let data = SharedData::new(7, 1);
        assert!(Arc::ptr_eq(&data.space(&"a".into()), &data.space(&"a".into())));
        assert!(!Arc::ptr_eq(&data.space(&"a".into()), &data.space(&"b".into())));
    }

    #[test]
    fn increments_from_many_threads_all_count() {
        let data = SharedData::new(7, 1);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let space = data.space(&"vm".into());
                scope.spawn(move || {
                    for round in 0..500_u16 {
                        let key = [b'x', thread, round.to_le_bytes()[0]];
                        space.write(&key, b"1", 0, 1 << 20).expect("there is room");
                        increment(&space);
                    }
                });
            }
        });
        let space = data.space(&"vm".into());
        let total = space.read(b"n").expect("it was written").value[..].try_into();
        assert_eq!(u32::from_le_bytes(total.expect("four bytes")), 2_000);
    }

    fn increment(space: &super::Space) {
        loop {
            let (value, cas) = space.read(b"n").map_or((0, 0), |version| {
                let bytes = version.value[..].try_into().expect("four bytes");
                (u32::from_le_bytes(bytes), version.cas)
            });
            // The first write of all must not be made twice: it claims a version, and the loser
            // of the race for the new key is told.
            let cas = if cas == 0 { u32::MAX } else { cas };
            match space.write(b"n", &(value + 1).to_le_bytes(), cas, 1 << 20) {
                Ok(()) => return,
                Err(WriteError::CasMismatch) => {}
                Err(WriteError::OverLimit) => panic!("the limit is far away"),
            }
        }
    }
}
