//! An owned list of fields in the ABI's own layout: one allocation, no copy on the way in.

use penstock_filters_sdk_abi::pairs::{Iter, Malformed, Pairs, Writer, list_bytes};

/// Fields with repeated names and order kept, as `proxy_http_call` and others hand them over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairList {
    // Checked by `Pairs::parse`, or written by `Writer`.
    encoded: Vec<u8>,
}

impl PairList {
    /// Encodes the pairs, which are walked twice: once to measure.
    pub fn new<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> PairList {
        let (count, bytes) = pairs.clone().fold((0, 0), |(count, bytes), (name, value)| {
            (count + 1, bytes + name.len() + value.len())
        });
        let mut encoded = vec![0; list_bytes(count, bytes)];
        if count > 0 {
            let mut writer = Writer::new(&mut encoded, count);
            pairs.for_each(|(name, value)| writer.pair(name, value));
            assert!(writer.finish(), "the iterator gives the same pairs when walked again");
        }
        PairList { encoded }
    }

    /// Takes over a list that a guest encoded.
    ///
    /// # Errors
    /// When it is no list, or has more than `count_max` pairs.
    pub fn parse(encoded: &[u8], count_max: u32) -> Result<PairList, Malformed> {
        Pairs::parse(encoded, count_max)?;
        Ok(PairList { encoded: encoded.to_vec() })
    }

    /// The pairs as the ABI sees them.
    pub fn pairs(&self) -> Pairs<'_> {
        // Every constructor checked or wrote the bytes, so the list is never malformed.
        Pairs::parse(&self.encoded, u32::MAX).unwrap_or_else(|_| PairList::none())
    }

    /// The pairs, in order.
    pub fn iter(&self) -> Iter<'_> {
        self.pairs().iter()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    /// The first value of `name`, compared without regard to case.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The bytes in the ABI's layout.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// An empty list that borrows nothing.
    fn none() -> Pairs<'static> {
        match Pairs::parse(&[], 0) {
            Ok(pairs) => pairs,
            Err(_) => unreachable!("no bytes are an empty list"),
        }
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for PairList {
    fn from_iter<T: IntoIterator<Item = (&'a [u8], &'a [u8])>>(pairs: T) -> PairList {
        let pairs: Vec<_> = pairs.into_iter().collect();
        PairList::new(pairs.iter().copied())
    }
}
