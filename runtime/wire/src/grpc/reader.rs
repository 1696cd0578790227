//! Takes messages out of a body: for who reads them, not for who passes them on.

/// Finds messages in the pieces of a body, which may be cut anyhow.
///
/// A message over the limit is refused by its prefix: nothing of it is kept.
#[derive(Clone, Debug)]
pub struct MessageReader {
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    message: Vec<u8>,
}

/// Why a body can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A message is longer than may be kept.
    #[error("a message of {bytes} bytes: at most {max}")]
    TooLong {
        /// How long it says that it is.
        bytes: u32,
        /// The limit.
        max: usize,
    },
    /// A message is compressed, which it may be for those alone who said that they can read it.
    #[error("a compressed message, which was not asked for")]
    Compressed,
    /// A flag that the protocol doesn't know: this is no gRPC.
    #[error("a message with the unknown flag {0}")]
    UnknownFlag(u8),
}

impl MessageReader {
    /// Takes messages of up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> MessageReader {
        MessageReader { bytes_max, prefix: [0; PREFIX_BYTES], prefix_bytes: 0, message: Vec::new() }
    }

    /// Takes bytes from the front of `piece` until a message is whole, or none is left.
    ///
    /// # Errors
    /// What follows is no message that may be read. Nothing more of the body can be.
    pub fn read(&mut self, piece: &mut &[u8]) -> Result<Option<Vec<u8>>, MessageError> {
        while self.prefix_bytes < PREFIX_BYTES {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(None) };
            self.prefix[self.prefix_bytes] = byte;
            self.prefix_bytes += 1;
            *piece = rest;
            if self.prefix_bytes == PREFIX_BYTES {
                self.check_prefix()?;
            }
        }
        let missing = self.length() as usize - self.message.len();
        let (taken, rest) = piece.split_at(missing.min(piece.len()));
        self.message.extend_from_slice(taken);
        *piece = rest;
        if taken.len() < missing {
            return Ok(None);
        }
        self.prefix_bytes = 0;
        Ok(Some(std::mem::take(&mut self.message)))
    }

    /// Whether the body may end here: it is between two messages.
    pub fn is_whole(&self) -> bool {
        self.prefix_bytes == 0
    }

    fn check_prefix(&self) -> Result<(), MessageError> {
        let (bytes, max) = (self.length(), self.bytes_max);
        match self.prefix[0] {
            0 if bytes as usize > max => Err(MessageError::TooLong { bytes, max }),
            0 => Ok(()),
            1 => Err(MessageError::Compressed),
            flag => Err(MessageError::UnknownFlag(flag)),
        }
    }

    fn length(&self) -> u32 {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length)
    }
}

/// The prefix of a message of so many bytes (`PROTOCOL-HTTP2.md`, Length-Prefixed-Message), which
/// is not compressed.
pub fn message_prefix(bytes: u32) -> [u8; 5] {
    let [a, b, c, d] = bytes.to_be_bytes();
    [0, a, b, c, d]
}

const PREFIX_BYTES: usize = 5;
