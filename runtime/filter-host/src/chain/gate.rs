//! What a pausing filter holds of one half of an exchange.
//!
//! Pieces travel link by link: each link sees head, body and trailers as far as they have come,
//! and either lets all it has go to the next, or keeps all until it is resumed. So a link never
//! sees a body whose head it hasn't let pass, and order needs no bookkeeping across links.

use std::ops::Range;

use crate::session::{Body, OverLimit};

/// Pieces of one half on their way; a body's bytes travel beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The head, and whether nothing follows it.
    pub(super) head: Option<bool>,
    /// Some body, and whether nothing follows it.
    pub(super) body: Option<bool>,
    /// The trailers.
    pub(super) trailers: bool,
}

impl Pieces {
    pub(super) fn head(end: bool) -> Pieces {
        Pieces { head: Some(end), ..Pieces::default() }
    }

    pub(super) fn body(end: bool) -> Pieces {
        Pieces { body: Some(end), ..Pieces::default() }
    }

    pub(super) fn trailers() -> Pieces {
        Pieces { trailers: true, ..Pieces::default() }
    }
}

/// Where a filter paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Headers,
    Body,
    Trailers,
}

/// What one link holds of one half.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Where the filter paused; `None` when it holds nothing.
    pub(super) waiting: Option<Stage>,
    /// What it holds.
    pub(super) held: Pieces,
    /// The body it holds.
    pub(super) bytes: Vec<u8>,
}

impl Gate {
    /// Whether it waits to be resumed.
    pub(super) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether it holds anything.
    pub(super) fn holds(&self) -> bool {
        self.held != Pieces::default()
    }

    /// Takes the bytes of `body` in, behind those it holds.
    pub(super) fn take(&mut self, body: &mut dyn Body, bytes_max: usize) -> Result<(), OverLimit> {
        let (before, more) = (self.bytes.len(), body.len());
        if before + more > bytes_max {
            return Err(OverLimit);
        }
        self.bytes.resize(before + more, 0);
        body.copy(0, &mut self.bytes[before..]);
        body.splice(0..more, &[])
    }

    /// Lets everything out: the bytes go before those in `body`.
    pub(super) fn release(&mut self, body: &mut dyn Body) -> Result<Pieces, OverLimit> {
        self.waiting = None;
        if !self.bytes.is_empty() {
            body.splice(0..0, &self.bytes)?;
            self.bytes = Vec::new();
        }
        Ok(std::mem::take(&mut self.held))
    }

    /// Adds pieces to those it holds.
    pub(super) fn hold(&mut self, pieces: Pieces) {
        self.held.head = pieces.head.or(self.held.head);
        self.held.body = pieces.body.or(self.held.body);
        self.held.trailers |= pieces.trailers;
    }
}

/// The held bytes, as the filter sees and changes them: they grow no further than gathering may.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) bytes_max: usize,
}

impl Body for Held {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        self.bytes.copy(start, into);
    }

    fn splice(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), OverLimit> {
        let after = self.bytes.len() - range.len() + bytes.len();
        // A connection's may be over it by what an earlier filter added: less is always taken.
        match after <= self.bytes_max || after <= self.bytes.len() {
            true => Body::splice(&mut self.bytes, range, bytes),
            false => Err(OverLimit),
        }
    }
}
