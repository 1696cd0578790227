//! What is wrong with a header.

use thiserror::Error;

/// Why bytes are no header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Neither version begins like this.
    #[error("no PROXY header")]
    NotAHeader,
    /// A line of version 1 that has no end within 107 bytes.
    #[error("a line of more than 107 bytes")]
    LineTooLong,
    /// A line of version 1 that is not as it has to be.
    #[error("a line that is none")]
    BadLine,
    /// Neither of the two commands of version 2.
    #[error("command {command}")]
    UnknownCommand {
        /// Its number.
        command: u8,
    },
    /// An address family or transport that version 2 does not have.
    #[error("family and transport {family:#04x}")]
    UnknownFamily {
        /// Its byte.
        family: u8,
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
    /// Something that is said twice: two readers could each take another one.
    #[error("field {kind:#04x} repeated")]
    RepeatedField {
        /// Its type.
        kind: u8,
    },
    /// A field that is not as it has to be.
    #[error("field {kind:#04x} is none")]
    BadField {
        /// Its type.
        kind: u8,
    },
    /// The checksum is not that of the header.
    #[error("a checksum of something else")]
    BadChecksum,
}
