//! A hash map whose seed comes from the environment: peers can't aim collisions, runs replay.

#![allow(clippy::disallowed_types, reason = "the one place that gives std's map its seed")]

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// A map keyed with a seed of ours; use it wherever a key may come from outside.
pub type Map<K, V> = HashMap<K, V, MapSeed>;

/// The seed of a [`Map`]: `Map::with_hasher(MapSeed::new(env.random()))`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapSeed(u64);

impl MapSeed {
    /// A seed drawn by the caller.
    pub fn new(seed: u64) -> Self {
        MapSeed(seed)
    }
}

impl BuildHasher for MapSeed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
