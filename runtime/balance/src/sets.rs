//! Two small sets of endpoints: who may be picked at all, and who has been tried already.

use crate::EndpointId;

/// The endpoints that may be picked, one bit each. Whoever knows about health keeps it; a pick
/// only honours it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableSet {
    words: Box<[u64]>,
    len: u32,
    count: u32,
}

impl UsableSet {
    /// All of `len` endpoints.
    pub fn all(len: usize) -> Self {
        let mut set = UsableSet::none(len);
        for index in 0..len as u32 {
            set.set(EndpointId(index), true);
        }
        set
    }

    /// None of `len` endpoints.
    pub fn none(len: usize) -> Self {
        let words = vec![0; len.div_ceil(64)].into_boxed_slice();
        UsableSet { words, len: len as u32, count: 0 }
    }

    /// Puts an endpoint in or takes it out.
    ///
    /// # Panics
    /// When there is no such endpoint.
    pub fn set(&mut self, id: EndpointId, usable: bool) {
        assert!(id.0 < self.len, "endpoint {} of {}", id.0, self.len);
        let (word, bit) = (&mut self.words[id.index() / 64], 1 << (id.0 % 64));
        self.count = self.count - u32::from(*word & bit != 0) + u32::from(usable);
        *word = if usable { *word | bit } else { *word & !bit };
    }

    /// Whether an endpoint is in.
    #[inline]
    pub fn contains(&self, id: EndpointId) -> bool {
        self.words.get(id.index() / 64).is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    /// How many are in.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// How many there are, in or not.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no endpoints at all, in or not.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are in both sets.
    pub(crate) fn count_with(&self, other: &UsableSet) -> usize {
        self.both(other).map(|word| word.count_ones() as usize).sum()
    }

    /// The endpoint with `rank` others of both sets before it.
    pub(crate) fn nth_with(&self, other: &UsableSet, rank: usize) -> Option<EndpointId> {
        let mut rank = rank as u32;
        for (index, mut word) in self.both(other).enumerate() {
            let count = word.count_ones();
            if rank >= count {
                rank -= count;
                continue;
            }
            for _ in 0..rank {
                word &= word - 1;
            }
            return Some(EndpointId(index as u32 * 64 + word.trailing_zeros()));
        }
        None
    }

    fn both<'a>(&'a self, other: &'a UsableSet) -> impl Iterator<Item = u64> + 'a {
        self.words.iter().zip(&other.words).map(|(one, other)| one & other)
    }
}

/// How many endpoints a [`TriedSet`] remembers: more than any request is retried.
pub const TRIED_MAX: usize = 15;

/// The endpoints that one request was sent to already. Empty for nearly all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriedSet {
    ids: [u32; TRIED_MAX],
    count: u32,
}

impl TriedSet {
    /// Remembers an endpoint. After [`TRIED_MAX`] the oldest is forgotten.
    pub fn insert(&mut self, id: EndpointId) {
        if self.contains(id) {
            return;
        }
        if self.count() == TRIED_MAX {
            self.ids.copy_within(1.., 0);
            self.count -= 1;
        }
        self.ids[self.count()] = id.0;
        self.count += 1;
    }

    /// Whether an endpoint was tried.
    #[inline]
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids[..self.count()].contains(&id.0)
    }

    /// How many were tried.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }
}
