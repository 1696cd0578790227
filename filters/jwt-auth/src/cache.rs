//! Tokens that were found good. RS256 and ES256 take far longer to verify than a request should.
//!
//! Two generations of a map: when the young one is full it becomes the old one, and what the old
//! one had is forgotten unless it was asked for meanwhile. So memory is bounded and the tokens in
//! use stay, with no list to keep in order.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::claims::{Forwarded, Times};

/// What a token is known by: its hash, so that no comparison tells how much of a guess was right.
pub(crate) type Id = [u8; 32];

/// Tokens by their ids.
pub(crate) struct Cache {
    young: BTreeMap<Id, Verdict>,
    old: BTreeMap<Id, Verdict>,
}

/// A token that was found good.
#[derive(Clone)]
pub(crate) struct Verdict {
    /// Of the keys that it was judged by.
    pub(crate) generation: u64,
    pub(crate) times: Times,
    pub(crate) forwarded: Forwarded,
}

/// The id of a token.
pub(crate) fn id(text: &str) -> Id {
    Sha256::digest(text).into()
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// What the keys of `generation` said of the token.
    pub(crate) fn find(&mut self, id: &Id, generation: u64) -> Option<&Verdict> {
        if let Some(verdict) = self.old.remove(id) {
            self.insert(*id, verdict);
        }
        self.young.get(id).filter(|verdict| verdict.generation == generation)
    }

    pub(crate) fn insert(&mut self, id: Id, verdict: Verdict) {
        if self.young.len() >= YOUNG_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, verdict);
    }
}

/// With the forwarded fields some 200 bytes each: both generations stay below 512 KiB per shard.
const YOUNG_MAX: usize = 1024;
