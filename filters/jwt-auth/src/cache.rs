//! Tokens that were found good. RS256 and ES256 take far longer to verify than a request should.
//!
//! Two generations of a map: when the young one is full it becomes the old one, and what the old
//! one had is forgotten unless it was asked for meanwhile. So memory is bounded and the tokens in
//! use stay, with no list to keep in order.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use penstock::random;

use crate::claims::{Forwarded, Times};

/// Tokens by their hash, which nobody outside can predict: so a guess is never compared with a
/// token byte by byte, where the time taken would tell how much of it was right.
pub(crate) struct Cache {
    seed: u64,
    young: BTreeMap<u64, Verdict>,
    old: BTreeMap<u64, Verdict>,
}

/// A token that was found good.
pub(crate) struct Verdict {
    pub(crate) token: String,
    /// Of the keys that it was judged by.
    pub(crate) generation: u64,
    pub(crate) times: Times,
    pub(crate) forwarded: Forwarded,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { seed: random::number(), young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// What the keys of `generation` said of the token.
    pub(crate) fn find(&mut self, token: &str, generation: u64) -> Option<&Verdict> {
        let id = self.id(token);
        if let Some(verdict) = self.old.remove(&id) {
            self.insert_as(id, verdict);
        }
        let found = self.young.get(&id)?;
        (found.generation == generation && same(&found.token, token)).then_some(found)
    }

    pub(crate) fn insert(&mut self, verdict: Verdict) {
        self.insert_as(self.id(&verdict.token), verdict);
    }

    fn insert_as(&mut self, id: u64, verdict: Verdict) {
        if self.young.len() >= YOUNG_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, verdict);
    }

    /// SipHash of the seed and the end of the signature, which tells tokens apart as well as all
    /// of it does. Whoever can present the end of a good one has all of it.
    fn id(&self, token: &str) -> u64 {
        let token = token.as_bytes();
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(&token[token.len().saturating_sub(ID_BYTES)..]);
        hasher.finish()
    }
}

/// Whether two texts are the same, eight bytes at a time: in WASM `==` goes byte by byte.
fn same(one: &str, other: &str) -> bool {
    let (words, rest) = one.as_bytes().as_chunks::<8>();
    let (other_words, other_rest) = other.as_bytes().as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    words.iter().map(word).eq(other_words.iter().map(word)) && rest == other_rest
}

/// 192 bits of the signature.
const ID_BYTES: usize = 32;

/// With the token and the forwarded fields about 1 KiB each: both generations stay near 1 MiB per
/// shard, and near 8 MiB if every token is as long as it may be.
const YOUNG_MAX: usize = 512;
