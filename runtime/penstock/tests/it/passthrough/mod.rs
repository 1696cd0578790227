//! Services between networks of others, most of which pass packets on, end to end: `penstock run`
//! in a namespace of its own, between a router and backends on which nginx serves.

mod bgp;
mod denied;
mod doctor;
mod down;
mod downloads;
mod dsr;
mod life;
mod nat;
mod site;
mod talk;
mod transparent;
mod ways;

/// Namespaces and what is in them, as the datapath's own tests have it.
#[allow(dead_code, reason = "the harness is shared")]
#[path = "../../../../xdp/tests/it/harness/mod.rs"]
mod ground;
