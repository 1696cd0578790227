//! Routes to our addresses, announced by BIRD while we serve.
//!
//! ```text
//! Control: what is to be announced ---Work---> desk ---> bird: its control socket
//!    ^                                          |          include: the file that it reads
//!    +---- what came of it, sessions -----------+
//! ```
//! Not a BGP speaker: sessions, BFD and their timers are BIRD's, and it goes on announcing while
//! this process restarts. What it announces is one file, which is empty of routes unless we serve.

mod bird;
mod desk;
mod include;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use desk::run;
pub(crate) use state::Announcer;
pub use state::{BgpView, FleetView, SessionView};
