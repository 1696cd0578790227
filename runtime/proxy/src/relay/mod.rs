//! Services of layer 4: a connection in, a connection to an endpoint, and bytes both ways.
//!
//! ```text
//! accept -> session -> [hello] -> connect (pick, try, another) -> carry (two ways) -> record
//! ```
//! Nobody looks at the bytes, but for the TLS hello where there are routes by server name, and for
//! filters where there are some (`filtered`). Each
//! direction ends for itself (half-close); a reset of one side is passed on to the other. Flows of
//! `datagrams` have no connection. Not for upgrades of HTTP, which end with their exchange.

mod carry;
mod connect;
pub(crate) mod datagrams;
mod direction;
mod filtered;
mod hello;
mod introduced;
mod names;
mod newcomers;
mod pace;
mod record;
mod session;

pub use names::ServerNames;
pub(crate) use session::serve;
