//! Services of layer 4: a connection in, a connection to an endpoint, and bytes both ways.
//!
//! ```text
//! accept -> session -> connect (pick, try, try another) -> carry (two directions) -> record
//! ```
//! Nobody looks at the bytes. Each direction ends for itself (half-close); a reset of one side is
//! passed on to the other. Not for upgrades of HTTP, which end with their exchange.

mod carry;
mod connect;
mod direction;
mod record;
mod session;

pub(crate) use session::serve;
