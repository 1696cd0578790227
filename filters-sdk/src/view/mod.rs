//! What a callback is given: the message or connection as it passes, borrowed for as long as the
//! callback runs.

mod body;
mod connection;
mod fields;
mod message;
mod plugin;

pub use body::{Body, Content};
pub use connection::{Connection, Data};
pub use fields::{Fields, Refused};
pub use message::{Log, Request, Response, Trailers};
pub use plugin::{Plugin, Reply};
