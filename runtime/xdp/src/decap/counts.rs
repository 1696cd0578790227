//! What was taken out of its encapsulation, and what was not.

use super::inner::Kind;

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DecapCounts {
    /// Packets by what they were inside of: `gre`, `ipip`, `gue`.
    pub packets: [u64; 3],
    /// Their bytes, without what was around them.
    pub bytes: [u64; 3],
    /// From who is no appliance.
    pub strangers: u64,
    /// Not what an appliance sends, or not whole.
    pub malformed: u64,
    /// Not taken by the kernel.
    pub lost: u64,
}

impl DecapCounts {
    /// What packets are inside of, in the order of the counts.
    pub const KINDS: [&str; 3] = ["gre", "ipip", "gue"];

    pub(super) fn taken(&mut self, kind: Kind, bytes: usize) {
        let place = match kind {
            Kind::Gre { .. } => 0,
            Kind::Bare { .. } => 1,
            Kind::Gue => 2,
        };
        self.packets[place] += 1;
        self.bytes[place] += bytes as u64;
    }
}
