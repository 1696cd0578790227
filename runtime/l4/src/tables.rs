//! The seam to the tables: BPF maps in the kernel, plain memory in userland.
//!
//! Everything is looked up through a shared reference, because maps are shared by all processors.
//! Tables decide nothing; what an entry means is `conntrack`'s and the modes' affair.

use core::cell::Cell;

use crate::value::{Address, Backend, Bucket, Flow, FlowKey, Settings, SourceRule, Vip, VipKey};
use crate::{Cause, MAGLEV_SLOTS};

/// The two tables of flows. A flood of first packets pushes out other first packets, never a flow
/// that has proven to have two ends. Both forget the least recently used entry when full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// Flows of which a first packet has come.
    New,
    /// Flows whose client has sent again after it was answered.
    Proven,
}

/// Whose counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A VIP by number; 0 for packets that belong to none.
    Vip(u16),
    /// A backend by index.
    Backend(u32),
}

/// What is added to counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// A packet to a backend, of that many bytes.
    Forward(u64),
    /// A packet back to a client, of that many bytes.
    Return(u64),
    /// A packet that was not simply sent on.
    Cause(Cause),
}

/// All that is known besides the packet. Indices out of bounds find nothing.
pub trait Tables {
    /// What holds for all packets.
    fn settings(&self) -> &Settings;

    /// The number of the VIP, from 1 on; 0 for an address of a NAT pool. `None`: not ours.
    fn vip_number(&self, key: &VipKey) -> Option<u16>;

    /// The VIP of a number.
    fn vip(&self, number: u16) -> Option<&Vip>;

    /// The backend in a slot of a Maglev table; `slot` is below [`MAGLEV_SLOTS`].
    fn slot(&self, maglev: u32, slot: u32) -> Option<u32>;

    /// The backend of an index.
    fn backend(&self, index: u32) -> Option<&Backend>;

    /// The entry of a flow. The cell is the table's own memory: other processors may read and
    /// write it at the same time, field by field.
    fn flow(&self, tenure: Tenure, key: &FlowKey) -> Option<&Cell<Flow>>;

    /// Puts an entry in, in place of one with the same key. False when the table would not.
    fn put_flow(&self, tenure: Tenure, key: &FlowKey, flow: &Flow) -> bool;

    /// Takes an entry out, if it is there.
    fn remove_flow(&self, tenure: Tenure, key: &FlowKey);

    /// The rule of the longest prefix that holds `address`.
    fn source_rule(&self, address: &Address) -> Option<&SourceRule>;

    /// The tokens of a source ([`Address::owner`]), made with `full` when there are none yet;
    /// `None` when no room.
    fn bucket(&self, owner: &u64, full: Bucket) -> Option<&Cell<Bucket>>;

    /// Adds to counters.
    fn count(&self, subject: Subject, count: Count);

    /// Which of the lanes handles this packet: the processor or the queue. No two packets are
    /// handled at the same time in one lane.
    fn lane(&self) -> u32;
}

/// The slot that a hash falls into: its upper half, scaled to the table.
#[inline(always)]
pub(crate) fn slot_of(hash: u64) -> u32 {
    (((hash >> 32) * MAGLEV_SLOTS as u64) >> 32) as u32
}
