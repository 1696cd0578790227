//! The checksum of what a packet carries: where it stands, and when it is none yet.
//!
//! A sender with checksum offload leaves the sum of the pseudo-header in the field and the rest to
//! its hardware; over veth such packets arrive as they are. Nothing marks them here, so the
//! field is compared with that sum. One in 65,536 whole checksums is equal to it by chance; so the
//! rule is to calculate the checksum anew, which is right for both.

use crate::Cause;
use crate::checksum::{pseudo, updated};
use crate::packet::{Fields, Packet};
use crate::parse::{Kind, View};

/// Where the checksum stands in the transport's header.
#[inline(always)]
pub(crate) fn checksum_at(kind: Kind) -> usize {
    match kind {
        Kind::Tcp => 16,
        Kind::Udp => 6,
        _ => 2,
    }
}

/// Whether only the pseudo-header has been summed so far.
#[inline(always)]
pub(crate) fn is_partial<P: Packet>(packet: &P, view: &View) -> bool {
    if !matches!(view.kind, Kind::Tcp | Kind::Udp) {
        return false;
    }
    let Some(field) = packet.bytes::<2>(view.transport + checksum_at(view.kind)) else {
        return false;
    };
    is_pseudo::<P>(field.u16::<0>(), view)
}

/// Whether a checksum is that of the pseudo-header.
#[inline(always)]
pub(crate) fn is_pseudo<P: Packet>(checksum: u16, view: &View) -> bool {
    let key = &view.key;
    let length = payload_length::<P>(view) as u16;
    checksum == pseudo(&key.source, &key.destination, view.is_v4, key.protocol, length).fold()
}

/// Calculates the whole checksum; `view` has the addresses that stand in the packet now.
#[inline(always)]
pub(crate) fn complete<P: Packet>(packet: &mut P, view: &View) -> Result<(), Cause> {
    let at = view.transport + checksum_at(view.kind);
    let length = payload_length::<P>(view);
    let Some(field) = packet.bytes_mut::<2>(at) else { return Err(Cause::HeaderTruncated) };
    *field = [0; 2];
    let Some(sum) = packet.sum(view.transport, length) else {
        return Err(Cause::PartialChecksum);
    };
    let key = &view.key;
    let checksum = pseudo(&key.source, &key.destination, view.is_v4, key.protocol, length as u16)
        .u16(sum)
        .checksum();
    let Some(field) = packet.bytes_mut::<2>(at) else { return Err(Cause::HeaderTruncated) };
    *field = sent(checksum, view.kind).to_ne_bytes();
    Ok(())
}

/// The checksum after a change of what it covers.
#[inline(always)]
pub(crate) fn changed(checksum: u16, delta: u16, kind: Kind) -> u16 {
    // RFC 768: all zero means that the sender made none.
    if kind == Kind::Udp && checksum == 0 {
        return 0;
    }
    sent(updated(checksum, delta), kind)
}

/// RFC 768: a UDP checksum that comes out as zero is sent as all ones.
#[inline(always)]
fn sent(checksum: u16, kind: Kind) -> u16 {
    if kind == Kind::Udp && checksum == 0 { 0xffff } else { checksum }
}

/// Bytes from the transport's header to the end of the IP packet.
#[inline(always)]
fn payload_length<P: Packet>(view: &View) -> usize {
    P::LINK_BYTES + view.length - view.transport
}
