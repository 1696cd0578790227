//! A send of several pieces: our own bytes and received chunks, from where they lie.

use penstock_env::Part;

use crate::buffers::Lent;

/// The pieces, and the kernel's view of those still unsent. Boxed: the kernel holds pointers
/// into it while the send is under way.
pub struct Gather {
    bytes: Vec<u8>,
    /// Keeps the lent buffers until the send is done.
    parts: Vec<Part<Lent>>,
    pieces: Vec<libc::iovec>,
    first: usize,
    unsent: usize,
    message: libc::msghdr,
}

impl Gather {
    /// The pieces of a send, in order.
    pub fn new(bytes: Vec<u8>, parts: Vec<Part<Lent>>) -> Box<Gather> {
        let (mut pieces, mut at, mut unsent) = (Vec::with_capacity(parts.len()), 0, 0);
        for part in &parts {
            let piece = match part {
                Part::Own(len) => {
                    at += len;
                    &bytes[at - len..at]
                }
                Part::Chunk(chunk) => chunk,
            };
            unsent += piece.len();
            let base = piece.as_ptr().cast_mut().cast();
            pieces.push(libc::iovec { iov_base: base, iov_len: piece.len() });
        }
        // SAFETY: all zeros is a valid msghdr: no name, no pieces, no control data.
        let message = unsafe { std::mem::zeroed() };
        Box::new(Gather { bytes, parts, pieces, first: 0, unsent, message })
    }

    /// The kernel's description of what is unsent; valid until this is moved or advanced.
    pub fn message(&mut self) -> *const libc::msghdr {
        // The kernel takes at most 1,024 pieces at a time (UIO_MAXIOV).
        let rest = &mut self.pieces[self.first..];
        self.message.msg_iov = rest.as_mut_ptr();
        self.message.msg_iovlen = rest.len().min(1024);
        &raw const self.message
    }

    /// Takes `sent` bytes off the front; how many are left.
    pub fn advance(&mut self, sent: usize) -> usize {
        assert!(sent <= self.unsent, "the kernel sends what there is");
        self.unsent -= sent;
        let mut left = sent;
        while left > 0 {
            let piece = &mut self.pieces[self.first];
            let step = left.min(piece.iov_len);
            // SAFETY: `step` is within the piece.
            piece.iov_base = unsafe { piece.iov_base.cast::<u8>().add(step) }.cast();
            piece.iov_len -= step;
            left -= step;
            if piece.iov_len == 0 {
                self.first += 1;
            }
        }
        self.unsent
    }

    /// Bytes that are left.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// The buffer for the pool; the chunks go back to the kernel.
    pub fn into_bytes(self) -> Vec<u8> {
        drop(self.parts);
        self.bytes
    }
}
