//! HTTP/2 over `h2`: one task per connection; downstream, one more for each of its streams.
//!
//! ```text
//! preface -> handshake -> stream -> exchange -> ended
//!                         stream -> exchange -> ended      ... -> GOAWAY twice -> closed
//! ```
//! `connection` is a connection's life, `settings` what `h2` is told of it, `io` what `h2` reads
//! and writes through, `floods` what a peer may send too much of, `liveness` asks the silent
//! whether they are there, `growth` widens windows, both by `pings`; `share` is what the
//! connections of a shard have in common, `bodies` what the requests of one have. `stream` is an
//! exchange's downstream, `request` and `response` turn heads into those that the exchange knows,
//! and back. `outlet` is what both sides send on a stream, and `upstream` the side of endpoints.

mod bodies;
mod connection;
mod floods;
mod growth;
mod io;
mod liveness;
mod outlet;
mod pings;
mod request;
mod response;
mod settings;
mod share;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use bodies::Awaited;
#[cfg(test)]
pub(crate) use bodies::Bodies;
pub(crate) use connection::serve;
pub(crate) use share::Share;
pub(crate) use stream::Http2Stream;
pub(crate) use upstream::{Asked, Links, lease};
