//! A deterministic world: clock, tasks, network and faults, all from one seed.
//!
//! [`World`] makes nodes; a node's [`SimEnv`] is an `Env` like the shard's. Nothing in here knows
//! a protocol; who speaks one over it is in `tests/sim`. Not for measuring: time is made up.
//!
//! - `world`, `shared`: the run loop and what everything in a world hangs on;
//! - `tasks`, `timers`, `queue`: who runs next, and when;
//! - `net`, `socket`, `dial`: two byte pipes for each connection; `datagrams` have none;
//! - `env`, `stream`, `conduit`: the traits that the code under test sees;
//! - `io`: the same for libraries;
//! - `faults`, `node`: how badly it all behaves, and who lives in it;
//! - `trace`, `seeds`: what happened, and whether it happens again.

mod conduit;
mod datagrams;
mod dial;
mod env;
mod faults;
mod io;
mod net;
mod node;
mod queue;
mod seeds;
mod shared;
mod socket;
mod stream;
mod tasks;
mod timers;
mod trace;
mod world;

pub use conduit::SimConduit;
pub use datagrams::{SimDatagrams, SimReplies};
pub use env::SimEnv;
pub use faults::Faults;
pub use io::Io;
pub use node::{Death, Limits};
pub use seeds::{
    check_few_seeds, check_heavy_seeds, check_seeds, check_some_seeds, run_seed, seed_count,
};
pub use stream::{SimChunk, SimStream};
pub use timers::SimTimer;
pub use trace::{Event, Record, Trace, digest};
pub use world::{Path, World};
