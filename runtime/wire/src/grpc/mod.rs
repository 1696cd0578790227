//! gRPC over HTTP: what its fields say.
//!
//! Sources: the gRPC project's `PROTOCOL-HTTP2.md` (fields), its `http-grpc-status-mapping.md`, and
//! the names of forms in `PROTOCOL-WEB.md`. Not for HTTP/2, which carries it, and not for messages:
//! a body passes as it is.

mod code;
mod kind;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod text;
mod timeout;

pub use code::Code;
pub use kind::Kind;
pub use text::put_status_message;
pub use timeout::Timeout;

#[cfg(test)]
mod tests;
