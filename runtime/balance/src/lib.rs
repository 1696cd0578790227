//! Which endpoint a request goes to: one file per algorithm, over one view of load.
//!
//! Pure: no clock, no socket, no randomness of its own. Who may be picked is the [`UsableSet`] of a
//! pick, which `health` makes of what checks and requests say. A [`Balancer`] is immutable and
//! shared by all shards; what a shard remembers from pick to pick is its [`ShardState`]; what all
//! shards know together is each endpoint's [`EndpointLoad`].

#![forbid(unsafe_code)]

mod algorithms;
mod balancer;
mod budget;
mod health;
mod load;
mod seed;
mod sets;

pub use algorithms::{ShardState, maglev_table};
pub use balancer::{
    Balancer, BalancerError, ENDPOINTS_MAX, Endpoint, EndpointId, EndpointSpec, Pick,
};
pub use budget::RetryBudget;
pub use health::{EndpointHealth, Fault, HealthState, Probe, View};
pub use load::{EndpointLoad, InFlight, LoadReading};
pub use seed::FleetSeed;
pub use sets::{TRIED_MAX, TriedSet, UsableSet};

#[cfg(test)]
mod tests;
