//! HTTP/1.0 and HTTP/1.1 (RFC 9112), strict, both directions, over `httparse`.
//!
//! The life of a message: [`parse_request`] or [`parse_response`] fills a reusable head, filters
//! edit its [`Fields`], [`write_request`] or [`write_response`] renders it; a [`BodyDecoder`] finds
//! the body's bytes and [`chunk`] frames them again. Every answer is the same whatever way the
//! bytes were cut into reads, limits bite before anything is buffered beyond them, and nothing
//! allocates once the buffers of a head have grown to their work.
//!
//! Not for HTTP/2, nor for what a proxy decides (routes, retries, forwarded-for policy).

mod body;
pub mod chunk;
mod connection;
pub mod date;
mod error;
mod field;
mod fields;
mod framing;
mod gather;
pub mod host;
mod known;
mod limits;
pub mod path;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod request;
mod request_edit;
mod response;
mod retry_after;
mod scan;
mod status;
mod target;
#[cfg(test)]
mod tests;
pub mod token;
mod write;

pub use body::{BodyDecoder, BodyStep};
pub use error::{BodyError, EditError, HeadError, RequestError, ResponseError};
pub use field::{Field, Span};
pub use fields::{EDITED_BYTES_MAX, Fields};
pub use framing::Framing;
pub use known::{Known, KnownSet};
pub use limits::{BodyLimits, FIELDS_CEILING, Lenient, Limits};
pub use request::{Method, RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};
pub use retry_after::retry_after;
pub use scan::Parsed;
pub use status::reason;
pub use target::{Scheme, TargetForm};
pub use write::{Connection, RequestOutbound, ResponseOutbound, write_request, write_response};

/// The versions that this codec speaks; any other is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: closes by default, knows no chunks, no 1xx and no upgrade.
    Http10,
    /// HTTP/1.1: persistent by default.
    #[default]
    Http11,
}

impl Version {
    /// The version as it stands in a start line.
    pub fn name(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}
