//! The buckets of all keys, in a fixed number of shared values.
//!
//! Shared data cannot be deleted, so keys have no values of their own: a key's hash tells the row
//! that its bucket is in, and a row has room for four. A bucket that is full again says nothing
//! and gives its place to whoever needs it. If all four are busy, the one that is nearest to full
//! goes: what is lost is the least that can be.

use std::time::Duration;

use penstock::{NotShared, Shared, SharedValue};

use crate::bucket::Decision;
use crate::config::Limit;

/// Buckets whose keys have their hash's high bits in common.
#[derive(Clone, Copy, Default)]
struct Row([Place; WAYS]);

/// A bucket: whose, and when it is full again.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    key: u64,
    full_at: u64,
}

/// Takes a token of `limit` from the bucket of the key with this hash.
pub(crate) fn take(limit: &Limit, key: u64, now: Duration) -> Result<Decision, NotShared> {
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    // The high half chooses the row; the whole hash tells keys of a row apart.
    let row = ((key >> 32) * u64::from(limit.rows)) >> 32;
    let shared = Shared::<Row>::new(format!("rate-limit {} {row:x}", limit.name));
    let mut decision = None;
    shared.update(|present| {
        let mut row = present.unwrap_or_default();
        let place = row.place_for(key, now);
        let full_at = if place.key == key { place.full_at } else { 0 };
        let (full_at, decided) = limit.rate.take(full_at, now);
        *place = Place { key, full_at };
        decision = Some(decided);
        // A refusal changes nothing, so it is not worth a write: a flood stays cheap.
        matches!(decided, Decision::Granted { .. }).then_some(row)
    })?;
    decision.ok_or(NotShared::Refused)
}

impl Row {
    /// The place of `key`: its own, or the one that is missed least.
    fn place_for(&mut self, key: u64, now: u64) -> &mut Place {
        let own = self.0.iter().position(|place| place.key == key && place.full_at > now);
        let least = || {
            let places = self.0.iter().enumerate();
            places.min_by_key(|(_, place)| place.full_at).map_or(0, |(index, _)| index)
        };
        let index = own.unwrap_or_else(least);
        &mut self.0[index]
    }
}

impl SharedValue for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        for place in &self.0 {
            out.extend_from_slice(&place.key.to_le_bytes());
            out.extend_from_slice(&place.full_at.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let mut row = Self::default();
        for place in &mut row.0 {
            *place = Place { key: words.next()?.ok()?, full_at: words.next()?.ok()? };
        }
        words.next().is_none().then_some(row)
    }
}

/// How many buckets a row has: 64 bytes, one read and one write per request.
pub(crate) const WAYS: usize = 4;
