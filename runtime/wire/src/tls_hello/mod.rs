//! The ClientHello, the first message of a TLS connection: which name is asked for, and which
//! protocols, without taking part in the handshake.
//!
//! For routing connections that are passed on as they are. Whoever ends TLS here has a library
//! for it, and reads nothing with this. Strict where a lenient reader and the endpoint behind
//! could see different names: RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1.

mod error;
mod hello;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod records;
#[cfg(test)]
mod tests;

pub use error::HelloError;
pub use hello::{ClientHello, Protocols};

/// Bytes of a ClientHello; with post-quantum key shares they have some 2,000.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Extensions of a ClientHello; browsers send some 20.
pub const EXTENSIONS_MAX: usize = 64;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a ClientHello: at least this many more bytes are needed.
    Partial {
        /// How many, at least.
        more: usize,
    },
    /// A whole one.
    Complete(ClientHello<'a>),
}

/// Reads the ClientHello at the start of a connection's bytes. `scratch` is used where it came in
/// several records; it is cleared first.
///
/// # Errors
/// The bytes are not TLS, or not a ClientHello that can be believed. More bytes change nothing.
pub fn parse_client_hello<'a>(
    input: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Parsed<'a>, HelloError> {
    match records::message(input, scratch)? {
        records::Message::Partial { more } => Ok(Parsed::Partial { more }),
        records::Message::InOne(body) => hello::parse(body).map(Parsed::Complete),
        records::Message::InScratch => hello::parse(scratch).map(Parsed::Complete),
    }
}
