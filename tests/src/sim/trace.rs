//! What happened in a run, in order: the thing that two runs of one seed must agree on.

use std::fmt;

use penstock_env::{Time, Wake};

/// Something that the world did. Ids count up from 0 in each world and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say no more than their names")]
pub enum Event {
    /// A task was given to a node.
    Spawned { task: u64, node: u32 },
    /// A task ran until it had to wait.
    Polled { task: u64 },
    /// A task came to its end.
    Done { task: u64 },
    /// A task panicked, and only it.
    Panicked { task: u64 },
    /// A node began to connect.
    Dialed { socket: u64, node: u32 },
    /// A listener got a connection: its end is `socket`, the other one `peer`.
    Accepted { socket: u64, peer: u64 },
    /// A connect succeeded.
    Connected { socket: u64 },
    /// A connect was refused.
    Refused { socket: u64 },
    /// The kernel took bytes of a send.
    Taken { socket: u64, bytes: usize },
    /// A conduit took bytes out of a socket's receive buffer.
    Piped { socket: u64, bytes: usize },
    /// Bytes arrived at a socket's receive buffer.
    Arrived { socket: u64, bytes: usize, digest: u64 },
    /// The end of the peer's direction arrived.
    Ended { socket: u64 },
    /// A reset arrived.
    Reset { socket: u64 },
    /// Bytes were lent to a task.
    Lent { socket: u64, bytes: usize },
    /// A receive had to wait for a lent buffer to come back.
    Starved { socket: u64, node: u32 },
    /// A node let go of a socket.
    Closed { socket: u64 },
    /// A timer's tick came.
    Fired { timer: u64 },
    /// An idle stream was put aside.
    Parked { socket: u64 },
    /// A parked stream was given back.
    Resumed { socket: u64, wake: Wake },
    /// A node died.
    Died { node: u32 },
    /// A fault of the network was planted on a connection.
    Cursed { socket: u64, after_bytes: u64 },
    /// Something that a test or an actor wants in the trace.
    Noted { what: &'static str, value: u64 },
}

/// An event and its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub event: Event,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.at.as_ns() / 1_000;
        write!(f, "{:>6}.{:06} ", us / 1_000_000, us % 1_000_000)?;
        match self.event {
            Event::Noted { what, value } => write!(f, "{what} {value:#x}"),
            event => write!(f, "{event:?}"),
        }
    }
}

/// All events of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    records: Vec<Record>,
}

impl Trace {
    /// Every record, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// One number for the whole run.
    pub fn hash(&self) -> u64 {
        self.records.iter().fold(0, |hash, record| {
            // Debug text is a stable encoding of a `Copy` enum without pointers.
            digest(hash, format!("{record}").as_bytes())
        })
    }

    /// Where two runs part: the position and both records there, if they do.
    pub fn parts_from(&self, other: &Trace) -> Option<(usize, Option<Record>, Option<Record>)> {
        let count = self.records.len().max(other.records.len());
        (0..count)
            .map(|i| (i, self.records.get(i).copied(), other.records.get(i).copied()))
            .find(|(_, ours, theirs)| ours != theirs)
    }

    /// The last `count` records before position `end`, as lines.
    pub fn tail(&self, end: usize, count: usize) -> String {
        let end = end.min(self.records.len());
        self.records[end.saturating_sub(count)..end]
            .iter()
            .map(|record| format!("  {record}\n"))
            .collect()
    }

    pub(super) fn record(&mut self, at: Time, event: Event) {
        self.records.push(Record { at, event });
    }
}

/// A fingerprint of `bytes`, not a cryptographic one: wyrand's multiply, eight bytes a step.
pub fn digest(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(0xa076_1d64_78bd_642f);
    for piece in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        let mixed = u128::from(state ^ u64::from_le_bytes(word)) * 0xe703_7ed1_a0b4_28db_u128;
        state = ((mixed >> 64) ^ mixed) as u64 ^ 0x9e37_79b9_7f4a_7c15;
    }
    state
}
