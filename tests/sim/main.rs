//! Simulation: real code in a deterministic world, one seed at a time.
//!
//! A failure prints `PENSTOCK_SEED=...`; set that to see the same run again.

mod capacity;
mod causes;
mod datagrams;
mod denied;
mod early;
mod filters;
mod guards;
mod heads;
mod health;
mod http;
mod http2;
mod large_heads;
mod laws;
mod lengths;
mod limits;
mod modules;
mod planted;
mod proxy;
mod records;
mod relay;
mod reload;
mod retries;
mod roots;
mod routes;
mod services;
mod sizes;
mod slots;
mod streams;
mod strict;
mod tls;
mod trials;
mod waiting;
