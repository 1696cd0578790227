//! Packets by the thousand, a world they meet, and what must hold for each: for tests and fuzzing.
//!
//! The same seed gives the same packets, so that the eBPF program and userland can be compared over
//! them. Nothing here shares code with what it tests: headers are written and checksums are
//! verified byte by byte, as the RFCs put it.

mod generate;
mod property;
mod spec;
mod verify;
mod world;

pub use generate::{Dice, Generator, make_partial};
pub use property::{check_bytes, check_sequence};
pub use spec::{Carried, Spec, reply_to};
pub use verify::{Outer, inside, repair_v4_header, transport_checksum_holds, verify};
pub use world::{ETHERNET_BYTES, World, client_v4, client_v6, encaps, world};
