//! Tests over both sides at once: authorities, certificates, whole sessions in memory.

mod certificates;
mod handshakes;
mod names;
mod proofs;
mod revocations;
mod staples;
mod tickets;
mod traffic;
mod world;
mod x509;
