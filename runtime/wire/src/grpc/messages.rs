//! Counts the messages of a body as its bytes pass, without keeping them.

/// Where a body stands between its messages.
///
/// `PROTOCOL-HTTP2.md`, Length-Prefixed-Message: a flag byte, four bytes of length, big-endian,
/// and as many bytes. Nothing is buffered: what is kept is the same few bytes for any body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    begun: u64,
    bytes: u64,
    /// Bytes of the message that are still to come.
    left: u32,
    /// Bytes of the prefix that are there: 0 between messages and while one's bytes come.
    prefix: u8,
    /// A flag was seen that the protocol doesn't know: what follows may be anything.
    unsound: bool,
}

impl Messages {
    /// Bytes of the body, cut anyhow.
    pub fn feed(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len() as u64;
        while let Some(&byte) = piece.first() {
            if self.left > 0 && self.prefix == 0 {
                let taken = piece.len().min(self.left as usize);
                // At most `left`, which is a u32.
                self.left -= taken as u32;
                piece = &piece[taken..];
                continue;
            }
            if self.prefix == 0 {
                self.begun += 1;
                self.left = 0;
                self.unsound |= byte > COMPRESSED;
            } else {
                self.left = self.left << 8 | u32::from(byte);
            }
            self.prefix = (self.prefix + 1) % PREFIX_BYTES;
            piece = &piece[1..];
        }
    }

    /// How many messages have begun.
    pub fn count(&self) -> u64 {
        self.begun
    }

    /// Bytes so far, prefixes included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the body may end here: it is between two messages. Where it ends elsewhere, its
    /// last message is cut.
    pub fn is_whole(&self) -> bool {
        self.left == 0 && self.prefix == 0
    }

    /// Whether every message had flags that the protocol knows; if not, the body is no gRPC, and
    /// the count means nothing.
    pub fn is_sound(&self) -> bool {
        !self.unsound
    }
}

const PREFIX_BYTES: u8 = 5;
/// The one flag that there is.
const COMPRESSED: u8 = 1;
