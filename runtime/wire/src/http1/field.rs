//! A field of a head: two spans into the head's bytes, what it is, and whether it lives.

use std::ops::Range;

use super::known::Known;

/// A range of a head's bytes, 8 bytes small; heads are limited far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// Index after the last byte.
    pub end: u32,
}

impl Span {
    /// The span of `start..end`.
    ///
    /// # Panics
    /// Never for a head: [`super::Fields`] refuses to grow past its limit, which is below 4 GiB.
    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span { start: start as u32, end: end as u32 }
    }

    /// The span as a range of indexes.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of `bytes` that the span covers.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }

    /// Whether it covers nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line: `name: value CRLF` stands at `name.start..line_end` in the head's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as it was received.
    pub name: Span,
    /// The value without blanks around it.
    pub value: Span,
    /// Index after the line's CRLF.
    pub line_end: u32,
    /// What the name means to a proxy.
    pub known: Known,
    /// Why it is not (or no longer) part of the message; 0 for a live one.
    pub(super) flags: u8,
}

impl Field {
    /// Whether the field is part of the message as filters see it and the peer gets it.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.flags == 0
    }

    /// Whether the field speaks of the connection and so ends here (RFC 9110 §7.6.1).
    #[inline]
    pub fn is_hop_by_hop(&self) -> bool {
        self.flags & HOP != 0
    }
}

/// Ends at this hop: one of the fixed names, or nominated by `Connection`.
pub(super) const HOP: u8 = 1;
/// Received, and refused a place in the message: underscore in the name, `Proxy`.
pub(super) const DROPPED: u8 = 2;
/// Removed by an edit.
pub(super) const REMOVED: u8 = 4;
