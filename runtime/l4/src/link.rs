//! The frame around a packet: who gets it next.

use core::cell::Cell;

use crate::packet::{Fields, Packet};
use crate::value::{Flow, Link};
use crate::{Cause, Verdict, word};

/// Where a frame goes: a [`Link`] in words, as both stations stand in a frame's header.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// The destination, and the first two bytes of the source.
    head: u64,
    /// The rest of the source.
    tail: u32,
    interface: u32,
}

impl Way {
    /// Nothing to write, for packets without a link header.
    const fn bare(interface: u32) -> Self {
        Way { head: 0, tail: 0, interface }
    }

    /// The way of a link.
    ///
    /// # Safety
    /// `link` may be read.
    #[inline(always)]
    unsafe fn along(link: *const Link, interface: u32) -> Self {
        let bytes = link.cast::<u8>();
        // SAFETY: a link begins with both stations' twelve bytes, and may be read as bytes.
        unsafe {
            Way { head: word::load_u64::<0>(bytes), tail: word::load_u32::<8>(bytes), interface }
        }
    }

    /// Back to who sent the frame, by the interface that it came in on, which is written 0.
    #[inline(always)]
    pub(crate) fn back<P: Packet>(packet: &P) -> Self {
        if P::LINK_BYTES == 0 {
            return Way::bare(0);
        }
        let Some(ethernet) = packet.bytes::<14>(0) else { return Way::bare(0) };
        let (head, tail) = (u64::from_le(ethernet.u64::<0>()), u32::from_le(ethernet.u32::<8>()));
        // Six bytes of destination and six of source change places.
        let swapped = head >> 48 | u64::from(tail) << 16 | head << 48;
        Way { head: swapped.to_le(), tail: ((head >> 16) as u32).to_le(), interface: 0 }
    }

    /// Addresses the frame, and says by which interface it goes.
    #[inline(always)]
    pub(crate) fn address<P: Packet>(self, packet: &mut P, ethertype: u16) -> Verdict {
        if P::LINK_BYTES != 0 {
            let Some(ethernet) = packet.bytes_mut::<14>(0) else {
                return Verdict::Drop(Cause::HeaderTruncated);
            };
            ethernet.put::<0, 8>(self.head.to_ne_bytes());
            ethernet.put::<8, 4>(self.tail.to_ne_bytes());
            ethernet.put::<12, 2>(ethertype.to_be_bytes());
        }
        Verdict::Send { interface: self.interface }
    }
}

/// The way back to who sent the frame.
#[inline(always)]
pub(crate) fn arrival<P: Packet>(packet: &P) -> Link {
    let way = Way::back(packet);
    let rest = [way.tail, packet.interface()];
    // SAFETY: both are sixteen bytes of integers, without padding. Field by field it would be
    // taken apart and put together on the kernel's small stack.
    unsafe { core::mem::transmute::<(u64, [u32; 2]), Link>((way.head, rest)) }
}

/// `link`, or back where the packet came from when it says nothing.
#[inline(always)]
pub(crate) fn or_back<P: Packet>(packet: &P, link: &Link) -> Way {
    match link.interface {
        0 => Way::back(packet),
        // SAFETY: a reference may be read.
        interface => unsafe { Way::along(link, interface) },
    }
}

/// The link of a flow's entry, or back where the packet came from when it says nothing.
#[inline(always)]
pub(crate) fn of_flow<P: Packet>(packet: &P, flow: &Cell<Flow>) -> Way {
    // SAFETY: the cell is alive while it is borrowed. In the kernel another processor may be
    // writing it anew for the same client: then a frame goes by one router or the other.
    let link = unsafe { &raw const (*flow.as_ptr()).link };
    // SAFETY: as above.
    match unsafe { (*link).interface } {
        0 => Way::back(packet),
        // SAFETY: as above.
        interface => unsafe { Way::along(link, interface) },
    }
}
