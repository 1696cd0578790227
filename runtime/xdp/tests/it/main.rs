//! Both datapaths on the real kernel: the committed object, TUN devices, namespaces, veth pairs.
//!
//! They need root, and a kernel with BPF or TUN: elsewhere each prints that it is skipped, and with
//! `PENSTOCK_TEST_ALL=1` fails.

#![allow(clippy::disallowed_methods, reason = "real kernels live in real time")]

mod detour;
mod differential;
mod dsr;
mod harness;
mod lifecycle;
mod nat;
mod userland;
