//! What a callback is given: the message as it passes, borrowed for as long as the callback runs.

mod body;
mod fields;
mod message;
mod plugin;

pub use body::Body;
pub use fields::{Fields, Refused};
pub use message::{Log, Request, Response, Trailers};
pub use plugin::{Plugin, Reply};
