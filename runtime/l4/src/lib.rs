//! Packet logic of layer 4: parse, look up, rewrite; one code for the eBPF program and userland.
//!
//! [`handle`] takes a packet's bytes through [`Packet`] and all that is known through [`Tables`],
//! changes the packet and says what becomes of it. Modes are `nat` (both directions pass through
//! the appliance) and `dsr` (the backend answers directly). Not for what fills the tables (health,
//! configuration, the Maglev build: `balance` and `control`), nor for what moves packets (`xdp`).
//!
//! The crate has no dependency, allocates nothing and has no panic in what it does with a packet.
//! Its shape is what the BPF verifier can follow: every loop has a constant bound, every header is
//! taken once as an array, no value is zeroed by a call to `memset`.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
// For `word` alone; the compiler of the eBPF program is told to allow it.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(any(feature = "std", test))]
mod buffer;
mod cause;
mod checksum;
mod conntrack;
mod dsr;
mod handle;
mod hash;
mod icmp;
mod link;
#[cfg(any(feature = "std", test))]
pub mod memory;
mod mss;
mod nat;
mod packet;
mod parse;
mod placement;
#[cfg(any(feature = "std", test))]
mod seam;
mod sources;
mod steady;
mod tables;
#[cfg(any(feature = "testing", test))]
pub mod testing;
mod transport;
pub mod value;
mod word;

#[cfg(any(feature = "std", test))]
pub use buffer::{Buffer, HEADROOM_BYTES};
pub use cause::{CAUSE_COUNT, Cause, Verdict};
pub use conntrack::{Tick, seen};
pub use handle::handle;
pub use hash::flow_hash;
#[cfg(any(feature = "std", test))]
pub use memory::MemoryTables;
pub use packet::Packet;
#[cfg(any(feature = "std", test))]
pub use seam::{CheckWay, Kept};
pub use tables::{Count, Subject, Tables, Tenure};
pub use word::forget;

#[cfg(test)]
mod tests;

/// Slots of a Maglev table; the same number as in `balance`, where they are filled.
pub const MAGLEV_SLOTS: u32 = 65_537;
