//! What is wrong with a ClientHello.

use thiserror::Error;

/// Why bytes are no ClientHello that a connection can be routed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first record is none of TLS.
    #[error("not TLS")]
    NotTls,
    /// A record of another kind, empty, or longer than records are.
    #[error("a record that a ClientHello can't be in")]
    BadRecord,
    /// Another message than a ClientHello comes first.
    #[error("handshake message {kind}, not a ClientHello")]
    NotAClientHello {
        /// Its type.
        kind: u8,
    },
    /// Larger than is read.
    #[error("{length} bytes, at most {max}")]
    TooLarge {
        /// How many it says it has.
        length: usize,
        /// How many are read.
        max: usize,
    },
    /// A length that does not fit into what it is in.
    #[error("lengths that do not fit")]
    BadLength,
    /// More extensions than are read.
    #[error("more than {max} extensions")]
    TooManyExtensions {
        /// How many are read.
        max: usize,
    },
    /// An extension that is there twice: two readers could each take another one.
    #[error("extension {kind} repeated")]
    RepeatedExtension {
        /// Its type.
        kind: u16,
    },
    /// The server name is no host name, or there are several.
    #[error("a server name that is none")]
    BadServerName,
    /// The list of protocols is empty, or has an empty one.
    #[error("a list of protocols that is none")]
    BadProtocols,
}
