//! The XDP datapath on the real kernel: the committed object, namespaces, veth pairs.
//!
//! They need root and a kernel with BPF: elsewhere each prints that it is skipped, and with
//! `PENSTOCK_TEST_ALL=1` fails.

mod differential;
mod harness;
mod lifecycle;
mod nat;
