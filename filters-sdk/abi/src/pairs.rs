//! Lists of pairs (header maps, metadata) as bytes.
//!
//! Layout, all integers little-endian `u32`: the count; for each pair the lengths of its name
//! and value; then for each pair the name, a NUL, the value, a NUL. An empty list is no bytes,
//! or one zero byte (spec 0.2.1, "Serialization").

/// Bytes that are no list of pairs, or one with more pairs than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A count or length points beyond the end.
    Truncated,
    /// There are more pairs than the reader allows.
    TooMany {
        /// How many pairs the list claims.
        count: u32,
    },
}

/// How many bytes one pair takes.
#[inline]
pub const fn pair_bytes(name_bytes: usize, value_bytes: usize) -> usize {
    8 + name_bytes + 1 + value_bytes + 1
}

/// How many bytes a list of `count` pairs takes, whose names and values are `content_bytes` long
/// together. A list of no pairs takes none.
#[inline]
pub const fn list_bytes(count: usize, content_bytes: usize) -> usize {
    if count == 0 { 0 } else { 4 + count * 10 + content_bytes }
}

/// Writes a list pair by pair into bytes that are exactly as long as [`list_bytes`] says.
///
/// Pairs that no longer fit are not written and [`Writer::finish`] says so: the source changed
/// between measuring and writing.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    lengths_at: usize,
    content_at: usize,
    left: usize,
    fits: bool,
}

impl<'a> Writer<'a> {
    /// Begins a list of `count` pairs.
    pub fn new(out: &'a mut [u8], count: usize) -> Writer<'a> {
        let content_at = 4 + count * 8;
        let fits = content_at <= out.len();
        if fits {
            out[..4].copy_from_slice(&(count as u32).to_le_bytes());
        }
        Writer { out, lengths_at: 4, content_at, left: count, fits }
    }

    /// Adds the next pair.
    #[inline]
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        let end = self.content_at + name.len() + value.len() + 2;
        if !self.fits || self.left == 0 || end > self.out.len() {
            self.fits = false;
            return;
        }
        self.left -= 1;
        let lengths = &mut self.out[self.lengths_at..self.lengths_at + 8];
        lengths[..4].copy_from_slice(&(name.len() as u32).to_le_bytes());
        lengths[4..].copy_from_slice(&(value.len() as u32).to_le_bytes());
        self.lengths_at += 8;
        let content = &mut self.out[self.content_at..end];
        content[..name.len()].copy_from_slice(name);
        content[name.len()] = 0;
        content[name.len() + 1..end - self.content_at - 1].copy_from_slice(value);
        content[end - self.content_at - 1] = 0;
        self.content_at = end;
    }

    /// Whether exactly the announced pairs were written, to the last byte.
    pub fn finish(self) -> bool {
        self.fits && self.left == 0 && self.content_at == self.out.len()
    }
}

/// A checked list: every pair lies within its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    lengths: &'a [u8],
    content: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Checks `bytes` as a list of at most `count_max` pairs.
    ///
    /// The last NUL may be missing: the text speaks of a separator, and Envoy reads both.
    ///
    /// # Errors
    /// When a length leaves `bytes` or there are too many pairs.
    pub fn parse(bytes: &'a [u8], count_max: u32) -> Result<Pairs<'a>, Malformed> {
        if bytes.is_empty() || bytes == [0] {
            return Ok(Pairs { lengths: &[], content: &[] });
        }
        let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
        let count = u32::from_le_bytes(*head);
        if count > count_max {
            return Err(Malformed::TooMany { count });
        }
        let lengths_bytes = (count as usize).checked_mul(8).ok_or(Malformed::Truncated)?;
        if lengths_bytes > rest.len() {
            return Err(Malformed::Truncated);
        }
        let (lengths, content) = rest.split_at(lengths_bytes);
        let mut needed = 0_u64;
        for pair in lengths.chunks_exact(8) {
            needed += u64::from(word(pair, 0)) + u64::from(word(pair, 4)) + 2;
        }
        if needed > content.len() as u64 + 1 {
            return Err(Malformed::Truncated);
        }
        Ok(Pairs { lengths, content })
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.lengths.len() / 8
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The pairs, in order, repeated names and all.
    pub fn iter(&self) -> Iter<'a> {
        Iter { lengths: self.lengths, content: self.content }
    }
}

impl<'a> IntoIterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The pairs of a checked list.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    lengths: &'a [u8],
    content: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (pair, lengths) = self.lengths.split_at_checked(8)?;
        let name_bytes = word(pair, 0) as usize;
        let value_bytes = word(pair, 4) as usize;
        // `Pairs::parse` summed the lengths against the content, so these can't miss.
        let name = self.content.get(..name_bytes)?;
        let value = self.content.get(name_bytes + 1..name_bytes + 1 + value_bytes)?;
        let next = (name_bytes + value_bytes + 2).min(self.content.len());
        self.content = &self.content[next..];
        self.lengths = lengths;
        Some((name, value))
    }
}

/// The little-endian word at `at` of a chunk that holds it.
fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}
