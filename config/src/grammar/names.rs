//! Names of blocks turned into indexes once, so that nothing downstream looks a string up.

/// Which cluster: an index into `Config::clusters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u32);

impl ClusterId {
    /// The place in `Config::clusters`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which filter: an index into `Config::filters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub u32);

impl FilterId {
    /// The place in `Config::filters`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The names of the blocks that others refer to, sorted, which is the order of their indexes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) clusters: Vec<String>,
    pub(crate) filters: Vec<String>,
}
