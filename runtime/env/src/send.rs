//! What is given to a stream to send: our own bytes and received chunks, in order, in one go.

use crate::Chunk;

/// Chunks shorter than this are copied into the buffer: below it a copy is cheaper than one more
/// entry in the kernel's scatter list, and it frees the lent buffer at once.
const COPY_BELOW_BYTES: usize = 2048;

/// A piece of a [`SendBuf`].
#[derive(Debug)]
pub enum Part<C> {
    /// The next this many bytes of the buffer's own.
    Own(usize),
    /// A received chunk, forwarded where it lies.
    Chunk(C),
}

/// Bytes to send, owned. While `parts` is empty it is simply `bytes`; after the first large
/// chunk, `parts` lists everything in order.
#[derive(Debug)]
pub struct SendBuf<C> {
    bytes: Vec<u8>,
    parts: Vec<Part<C>>,
    chunk_bytes: usize,
}

impl<C: Chunk> SendBuf<C> {
    /// An empty send that writes into `buffer` (from [`crate::Env::buffer`]).
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        SendBuf { bytes: buffer, parts: Vec::new(), chunk_bytes: 0 }
    }

    /// A send of `bytes` and nothing else.
    #[inline]
    pub fn of(bytes: Vec<u8>) -> Self {
        SendBuf { bytes, parts: Vec::new(), chunk_bytes: 0 }
    }

    /// A send of `parts`, whose own bytes are in `bytes`; without parts, of `bytes`.
    ///
    /// # Panics
    /// When the parts' own bytes are not as many as there are.
    pub fn of_parts(bytes: Vec<u8>, parts: Vec<Part<C>>) -> Self {
        let (mut own, mut chunk_bytes) = (0, 0);
        for part in &parts {
            match part {
                Part::Own(count) => own += count,
                Part::Chunk(chunk) => chunk_bytes += chunk.len(),
            }
        }
        assert!(parts.is_empty() || own == bytes.len(), "every own byte is in a part");
        SendBuf { bytes, parts, chunk_bytes }
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.own(bytes.len());
    }

    /// Lets `write` append to the buffer. It must not take anything away.
    ///
    /// # Panics
    /// When `write` shortened the buffer.
    #[inline]
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        assert!(self.bytes.len() >= before, "a send buffer only grows");
        self.own(self.bytes.len() - before);
    }

    /// Appends a chunk: copied when it is small, else sent from where it lies.
    pub fn push_chunk(&mut self, chunk: C) {
        if chunk.len() < COPY_BELOW_BYTES {
            self.push(&chunk);
            return;
        }
        if self.parts.is_empty() && !self.bytes.is_empty() {
            self.parts.push(Part::Own(self.bytes.len()));
        }
        self.chunk_bytes += chunk.len();
        self.parts.push(Part::Chunk(chunk));
    }

    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.chunk_bytes
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Our own bytes, and the order of the parts; without parts, the bytes are all there is.
    pub fn into_parts(self) -> (Vec<u8>, Vec<Part<C>>) {
        (self.bytes, self.parts)
    }

    /// Our own bytes, and the order of the parts.
    #[inline]
    pub fn parts(&self) -> (&[u8], &[Part<C>]) {
        (&self.bytes, &self.parts)
    }

    /// Everything in one piece; for tests and for the simulator.
    pub fn to_vec(&self) -> Vec<u8> {
        if self.parts.is_empty() {
            return self.bytes.clone();
        }
        let (mut all, mut at) = (Vec::with_capacity(self.len()), 0);
        for part in &self.parts {
            match part {
                Part::Own(len) => {
                    all.extend_from_slice(&self.bytes[at..at + len]);
                    at += len;
                }
                Part::Chunk(chunk) => all.extend_from_slice(chunk),
            }
        }
        all
    }

    #[inline]
    fn own(&mut self, len: usize) {
        match self.parts.last_mut() {
            None => {}
            Some(Part::Own(last)) => *last += len,
            Some(Part::Chunk(_)) if len > 0 => self.parts.push(Part::Own(len)),
            Some(Part::Chunk(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Deref;

    use super::SendBuf;
    use crate::Chunk;

    struct Plain(Vec<u8>);

    impl Deref for Plain {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Chunk for Plain {
        fn advance(&mut self, count: usize) {
            self.0.drain(..count);
        }

        fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }
    }

    #[test]
    fn parts_come_out_in_the_order_they_went_in() {
        let mut send = SendBuf::new(Vec::new());
        let (mut expected, large) = (Vec::new(), vec![b'x'; 5000]);
        for (round, piece) in
            [&b"head"[..], &large, b"a", b"b", &large, &large, b"tail"].into_iter().enumerate()
        {
            if round % 2 == 0 || piece.len() > 100 {
                send.push_chunk(Plain(piece.to_vec()));
            } else {
                send.push(piece);
            }
            expected.extend_from_slice(piece);
            assert_eq!(send.to_vec(), expected);
            assert_eq!(send.len(), expected.len());
        }
    }

    #[test]
    fn small_chunks_are_copied_and_lent_buffers_go_back() {
        let mut send = SendBuf::new(Vec::new());
        send.push_chunk(Plain(vec![1; 100]));
        assert!(send.parts().1.is_empty());
    }
}
