//! The local admin HTTP API: state, metrics, config and the dashboard.
//!
//! It runs on the control thread, asks [`penstock_control::Control`] and decides nothing itself.
//! Over a unix socket the file's mode says who may connect; over TCP a bearer token does, and
//! requests that a foreign web page could have caused are refused.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the control side lives in real time")]

mod audit;
mod endpoints;
mod guard;
mod guests;
mod problem;
mod server;
mod socket_file;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use penstock_control::Handle;

pub use server::{AdminError, Server};

/// Which events are logged; whoever set up the log implements it.
pub trait LogLevel: Send + Sync {
    /// The filter in force, as in `RUST_LOG`.
    fn show(&self) -> String;

    /// Puts a filter in force.
    ///
    /// # Errors
    /// What is wrong with it.
    fn set(&self, filter: &str) -> Result<(), String>;
}

/// What endpoints work with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) control: Handle,
    pub(crate) log_level: Arc<dyn LogLevel>,
}
