//! HTTP/2 (RFC 9113), as far as we look at it ourselves: the preface that tells it from HTTP/1,
//! and the heads of its frames, for counting what a peer sends.
//!
//! Not for streams, windows and header compression: `h2` does those, in `proxy`.

mod frames;
#[cfg(test)]
mod tests;

pub use frames::{FrameHead, FrameKind, FrameWalk};

/// What a connection that speaks HTTP/2 begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the first bytes of a connection compare to [`PREFACE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// They begin with all of it.
    Whole,
    /// They are a part of it, and more may come.
    Part,
    /// They are something else.
    Other,
}

impl Preface {
    /// Compares the bytes that a connection began with.
    pub fn of(input: &[u8]) -> Preface {
        if input.starts_with(PREFACE) {
            Preface::Whole
        } else if PREFACE.starts_with(input) {
            Preface::Part
        } else {
            Preface::Other
        }
    }
}
