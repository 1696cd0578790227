//! What the bodies of a connection's requests share: the way that they come.

use std::cell::Cell;

use penstock_env::Time;

/// The bodies that come on one connection.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    awaited: Cell<u32>,
    came_bytes: Cell<u64>,
    came_at: Cell<Time>,
}

impl Bodies {
    /// Content came, of whichever body.
    pub(crate) fn came(&self, bytes: usize, now: Time) {
        self.came_bytes.set(self.came_bytes.get() + bytes as u64);
        self.came_at.set(now);
    }

    /// One more is waited for, for as long as the result lives.
    pub(crate) fn await_one(&self) -> Awaited<'_> {
        self.awaited.set(self.awaited.get() + 1);
        Awaited(self)
    }

    /// How many are waited for.
    pub(crate) fn awaited(&self) -> u32 {
        self.awaited.get()
    }

    /// Content so far, of all of them.
    pub(crate) fn came_bytes(&self) -> u64 {
        self.came_bytes.get()
    }

    /// When there was some last.
    pub(crate) fn came_at(&self) -> Time {
        self.came_at.get()
    }
}

/// A body that is waited for.
#[derive(Debug)]
pub(crate) struct Awaited<'a>(&'a Bodies);

impl Awaited<'_> {
    /// All that come with it.
    pub(crate) fn all(&self) -> &Bodies {
        self.0
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.awaited.set(self.0.awaited.get() - 1);
    }
}
