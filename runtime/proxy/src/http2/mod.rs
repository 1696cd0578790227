//! HTTP/2 downstream: one task per connection, one for each of its streams, over `h2`.
//!
//! ```text
//! preface -> handshake -> stream -> exchange -> ended
//!                         stream -> exchange -> ended      ... -> GOAWAY twice -> closed
//! ```
//! `connection` is a connection's life, `io` what `h2` reads and writes through, `floods` what a
//! peer may send too much of. `stream` is an exchange's downstream, `request` and `response` turn
//! heads into those that the exchange knows, and back.

mod connection;
mod floods;
mod io;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::serve;
pub(crate) use stream::Http2Stream;
