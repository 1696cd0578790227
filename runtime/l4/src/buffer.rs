//! A packet in plain memory, for TUN and for tests.

use crate::Packet;
use crate::checksum::Sum;

/// Bytes kept free in front of a packet: room for the largest outer headers.
pub const HEADROOM_BYTES: usize = 256;

/// A packet with `LINK` bytes of link header: 14 for Ethernet, 0 for bare IP.
#[derive(Clone, Debug)]
pub struct Buffer<const LINK: usize> {
    /// Never made smaller: the next packet is written over this one.
    memory: Vec<u8>,
    head: usize,
    end: usize,
    interface: u32,
}

impl<const LINK: usize> Buffer<LINK> {
    /// A packet of these bytes, come in on `interface`.
    pub fn new(bytes: &[u8], interface: u32) -> Self {
        let mut buffer = Buffer { memory: Vec::new(), head: 0, end: 0, interface };
        buffer.refill(bytes);
        buffer
    }

    /// The next packet in the same memory.
    pub fn refill(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.end = HEADROOM_BYTES + bytes.len();
    }

    /// The next packet in the same memory: what `read` puts into `bytes_max` bytes, of which it
    /// says how many they are. When it fails, the packet is empty.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn refill_from<E>(
        &mut self,
        bytes_max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let length = read(self.room(bytes_max))?;
        self.end = HEADROOM_BYTES + length.min(bytes_max);
        Ok(())
    }

    /// The packet from its head to its end.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.head..self.end]
    }

    /// Memory for a new packet of that many bytes, and none in it yet.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = HEADROOM_BYTES + bytes;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        (self.head, self.end) = (HEADROOM_BYTES, HEADROOM_BYTES);
        &mut self.memory[HEADROOM_BYTES..end]
    }
}

impl<const LINK: usize> Packet for Buffer<LINK> {
    const LINK_BYTES: usize = LINK;

    #[inline]
    fn length(&self) -> usize {
        self.end - self.head
    }

    #[inline]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline]
    fn bytes<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
        self.as_slice().get(at..)?.first_chunk()
    }

    #[inline]
    fn bytes_mut<const N: usize>(&mut self, at: usize) -> Option<&mut [u8; N]> {
        self.memory.get_mut(self.head..self.end)?.get_mut(at..)?.first_chunk_mut()
    }

    fn grow_head(&mut self, bytes: usize) -> bool {
        if bytes > self.head {
            return false;
        }
        self.head -= bytes;
        true
    }

    fn shrink_head(&mut self, bytes: usize) -> bool {
        if bytes > self.length() {
            return false;
        }
        self.head += bytes;
        true
    }

    fn truncate(&mut self, length: usize) -> bool {
        if length > self.length() {
            return false;
        }
        self.end = self.head + length;
        true
    }

    fn sum(&self, at: usize, length: usize) -> Option<u16> {
        let bytes = self.as_slice().get(at..)?.get(..length)?;
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = words.iter().fold(Sum::ZERO, |sum, word| sum.u32(u32::from_ne_bytes(*word)));
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum = sum.u32(u32::from_ne_bytes(last));
        Some(sum.fold())
    }
}
