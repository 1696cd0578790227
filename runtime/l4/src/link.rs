//! The frame around a packet: who gets it next.

use crate::packet::{Fields, Packet};
use crate::value::Link;
use crate::{Cause, Verdict};

/// The way back to who sent the frame.
#[inline(always)]
pub(crate) fn arrival<P: Packet>(packet: &P) -> Link {
    let interface = packet.interface();
    if P::LINK_BYTES == 0 {
        return Link { destination: [0; 6], source: [0; 6], interface };
    }
    match packet.bytes::<14>(0) {
        Some(ethernet) => Link {
            destination: ethernet.part::<6, 6>(),
            source: ethernet.part::<0, 6>(),
            interface,
        },
        None => Link { destination: [0; 6], source: [0; 6], interface: 0 },
    }
}

/// Addresses the frame, and says by which interface it goes.
#[inline(always)]
pub(crate) fn address<P: Packet>(packet: &mut P, link: &Link, ethertype: u16) -> Verdict {
    if P::LINK_BYTES != 0 {
        let Some(ethernet) = packet.bytes_mut::<14>(0) else {
            return Verdict::Drop(Cause::HeaderTruncated);
        };
        ethernet.put::<0, 6>(link.destination);
        ethernet.put::<6, 6>(link.source);
        ethernet.put::<12, 2>(ethertype.to_be_bytes());
    }
    Verdict::Send { interface: link.interface }
}

/// `link`, or back where the packet came from when it says nothing.
#[inline(always)]
pub(crate) fn or_back<P: Packet>(packet: &P, link: &Link) -> Link {
    if link.interface != 0 { *link } else { Link { interface: 0, ..arrival(packet) } }
}
