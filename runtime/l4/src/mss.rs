//! The MSS option of a SYN, lowered to what fits the way to the backend.
//!
//! It holds for what the backend sends. What the client sends is governed by the backend's SYN,
//! which `dsr` never sees: there the answer to a packet that is too big has to do (`icmp`).

use crate::checksum::{Sum, updated};
use crate::packet::{Fields, Packet};
use crate::parse::{Kind, View, flag};

/// Options that are looked through. Stacks send the MSS first; ten are more than any sends.
const OPTIONS_MAX: usize = 10;

/// Lowers the MSS of a SYN to what a packet of `room` bytes can carry. An option that makes no
/// sense ends the search: what is not understood is not changed.
#[inline(never)]
pub(crate) fn clamp<P: Packet>(packet: &mut P, view: &View, room: usize) {
    if view.kind != Kind::Tcp || view.flags & flag::SYN == 0 {
        return;
    }
    // RFC 9293 §3.7.1: the MSS counts neither IP nor TCP headers, nor their options.
    let mss_max = room.saturating_sub(if view.is_v4 { 40 } else { 60 }) as u16;
    let Some(header) = packet.bytes::<20>(view.transport) else { return };
    let end = view.transport + usize::from(header.u8::<12>() >> 4) * 4;
    let mut at = view.transport + 20;
    for _ in 0..OPTIONS_MAX {
        if at + 4 > end {
            return;
        }
        let Some(option) = packet.bytes::<4>(at) else { return };
        match (option.u8::<0>(), option.u8::<1>()) {
            // RFC 9293 §3.1: end of the list; no operation; the MSS; all others have a length.
            (0, _) => return,
            (1, _) => at += 1,
            (2, 4) => return lower(packet, view, at, mss_max),
            (_, length) if length < 2 => return,
            (_, length) => at += usize::from(length),
        }
    }
}

#[inline(always)]
fn lower<P: Packet>(packet: &mut P, view: &View, at: usize, mss_max: u16) {
    let Some(option) = packet.bytes_mut::<4>(at) else { return };
    let (old, new) = (option.u16::<2>(), mss_max.to_be());
    if u16::from_be(old) <= mss_max {
        return;
    }
    option.put::<2, 2>(new.to_ne_bytes());
    // At an odd place its bytes belong to two words of the sum (RFC 1071 §2: swapped).
    let odd = (at - view.transport) & 1 != 0;
    let delta = if odd {
        Sum::ZERO.replace(old.swap_bytes(), new.swap_bytes())
    } else {
        Sum::ZERO.replace(old, new)
    };
    if let Some(header) = packet.bytes_mut::<20>(view.transport) {
        let checksum = updated(header.u16::<16>(), delta.fold());
        header.put::<16, 2>(checksum.to_ne_bytes());
    }
}
