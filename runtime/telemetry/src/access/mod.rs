//! The access log: what is kept of a request, how it is written, and to where.
//!
//! A shard fills an [`AccessRecord`], a plain value of fixed size, where it lies in a ring;
//! formatting and writing happen on one thread elsewhere, which looks indexes up in [`Names`],
//! lets a [`Format`] append a line to a buffer, and gives the buffer to a [`Writer`]. With five
//! texts the shard's part takes 17 ns, the line 140 to 160 (`benches/benches/access_log.rs`).

mod civil;
mod escape;
mod format;
mod json;
mod number;
mod record;
mod text;
mod writer;

pub use format::{Format, Names};
pub use record::{AccessRecord, Peer, Phases, Protocol, TEXT_BYTES_MAX, Text, Tls};
pub use writer::{Target, WriteCounts, Writer};

#[cfg(test)]
mod tests;
