//! The seam to a packet's bytes: bounded access, and room at its head.
//!
//! Not for what the bytes mean (`parse`), nor for where they come from: the eBPF program implements
//! [`Packet`] over the driver's page, userland over a buffer.

use crate::word;

/// A packet under way, from its link header (if it has one) to its end.
///
/// A length is checked once, where a header is taken as an array; fields are then read at
/// constant places in it. That is the shape in which the BPF verifier follows bounds, and in
/// which there is nothing left to panic.
pub trait Packet {
    /// Bytes of link header in front of the IP header: 14 of Ethernet, or none (TUN).
    const LINK_BYTES: usize;

    /// Bytes from the head to the end, link header and padding included.
    fn length(&self) -> usize;

    /// The interface that it came in on.
    fn interface(&self) -> u32;

    /// `N` bytes from `at` on, or `None` when the packet ends before.
    fn bytes<const N: usize>(&self, at: usize) -> Option<&[u8; N]>;

    /// Like [`Packet::bytes`], to be changed.
    fn bytes_mut<const N: usize>(&mut self, at: usize) -> Option<&mut [u8; N]>;

    /// Moves the head forward by `bytes` bytes, of which nothing is known. False when there is no
    /// room, and nothing has happened.
    fn grow_head(&mut self, bytes: usize) -> bool;

    /// Takes `bytes` bytes away at the head. False when there are not that many.
    fn shrink_head(&mut self, bytes: usize) -> bool;

    /// Cuts the end off. False when the packet is shorter than `length` already.
    fn truncate(&mut self, length: usize) -> bool;

    /// The one's complement sum of `length` bytes from `at` on, in this machine's order and
    /// folded to 16 bits (RFC 1071); of an odd number, a zero is added. `None` when the packet
    /// ends before, or when this many can't be summed here.
    fn sum(&self, at: usize, length: usize) -> Option<u16>;
}

/// Fields at constant places of a header, checked by the compiler. Words are as they are on the
/// wire; who wants to calculate with one says `from_be`.
pub(crate) trait Fields {
    /// One byte.
    fn u8<const AT: usize>(&self) -> u8;
    /// Two bytes.
    fn u16<const AT: usize>(&self) -> u16;
    /// Four bytes.
    fn u32<const AT: usize>(&self) -> u32;
    /// Eight bytes.
    fn u64<const AT: usize>(&self) -> u64;
    /// Puts `M` bytes.
    fn put<const AT: usize, const M: usize>(&mut self, bytes: [u8; M]);
}

impl<const N: usize> Fields for [u8; N] {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        const { assert!(AT < N) }
        self[AT]
    }

    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= N) }
        // SAFETY: AT + 2 <= N was asserted when this was compiled.
        unsafe { word::load_u16::<AT>(self.as_ptr()) }
    }

    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= N) }
        // SAFETY: AT + 4 <= N was asserted when this was compiled.
        unsafe { word::load_u32::<AT>(self.as_ptr()) }
    }

    #[inline(always)]
    fn u64<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= N) }
        // SAFETY: AT + 8 <= N was asserted when this was compiled.
        unsafe { word::load_u64::<AT>(self.as_ptr()) }
    }

    #[inline(always)]
    fn put<const AT: usize, const M: usize>(&mut self, bytes: [u8; M]) {
        const { assert!(AT + M <= N) }
        // SAFETY: AT + M <= N was asserted when this was compiled, and M is what the arm says.
        unsafe {
            let (to, from) = (self.as_mut_ptr(), bytes.as_ptr());
            match M {
                2 => word::store_u16::<AT>(to, from.cast::<u16>().read_unaligned()),
                4 => word::store_u32::<AT>(to, from.cast::<u32>().read_unaligned()),
                8 => word::store_u64::<AT>(to, from.cast::<u64>().read_unaligned()),
                16 => {
                    let from = from.cast::<u64>();
                    word::store_u64::<AT>(to, from.read_unaligned());
                    word::store_u64::<AT>(to.add(8), from.add(1).read_unaligned());
                }
                _ => to.add(AT).cast::<[u8; M]>().write(bytes),
            }
        }
    }
}
