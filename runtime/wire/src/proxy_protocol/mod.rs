//! The PROXY protocol, versions 1 and 2: who a connection is from, said by the proxy before us.
//!
//! After "The PROXY protocol, Versions 1 & 2" (HAProxy, 2020/03/05); sections are cited where a
//! check enforces one. Strict: a header that two readers could take in two ways is refused. Who may
//! send one is not decided here.

mod crc32c;
mod error;
#[cfg(any(test, feature = "property"))]
pub mod property;
#[cfg(test)]
mod tests;
mod tlv;
mod v1;
mod v2;
mod write;

use std::net::SocketAddr;

pub use error::HeaderError;
pub use tlv::{ALPN_BYTES_MAX, AUTHORITY_BYTES_MAX, Tlvs, UNIQUE_ID_BYTES_MAX};
pub use write::{write_v1, write_v2, write_v2_for_datagrams};

/// Bytes of a header of version 2, with what it says beside the addresses. Those seen in the field
/// have some 100.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a header: at least this many more bytes are needed.
    Partial {
        /// How many, at least.
        more: usize,
    },
    /// A whole one.
    Complete(Header<'a>),
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its length; what is behind it is the connection's own.
    pub bytes: usize,
    /// Whose connection it is. None where the proxy speaks for itself (a health check), or does
    /// not know, or where the addresses are those of unix sockets.
    pub addresses: Option<Addresses>,
    /// What else is said.
    pub tlvs: Tlvs<'a>,
}

/// Both ends of the connection that was made to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Who connected.
    pub source: SocketAddr,
    /// To what.
    pub destination: SocketAddr,
}

/// Reads the header at the start of a connection's bytes.
///
/// # Errors
/// The bytes are no header that can be believed. More bytes change nothing.
pub fn parse(input: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    match input.first() {
        None => Ok(Parsed::Partial { more: v1::BYTES_MIN }),
        Some(b'P') => v1::parse(input),
        Some(_) => v2::parse(input),
    }
}
