//! gRPC over HTTP: what its fields say, and where its messages begin and end.
//!
//! Sources: the gRPC project's `PROTOCOL-HTTP2.md` (fields, framing), its
//! `http-grpc-status-mapping.md` and `PROTOCOL-WEB.md`. Not for HTTP/2, which carries it, and not
//! for what a message means: its bytes are the application's.

mod code;
mod kind;
mod messages;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod pushback;
mod reader;
mod text;
mod timeout;
mod web;

pub use code::Code;
pub use kind::Kind;
pub use messages::Messages;
pub use pushback::Pushback;
pub use reader::{MessageError, MessageReader, message_prefix};
pub use text::{put_status_message, status_message};
pub use timeout::Timeout;
pub use web::{TextDecoder, TextError, put_text, put_trailers};

#[cfg(test)]
mod tests;
