//! Internet checksums: whole ones (RFC 1071) and changes to them (RFC 1624).
//!
//! A one's complement sum may be calculated in any byte order if its result is stored in the
//! same one (RFC 1071 §2), so nothing here is ever swapped.

use crate::value::Address;

/// A one's complement sum that is not folded yet. It takes some four thousand million words of
/// 32 bits before it could overflow.
#[derive(Clone, Copy)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) const ZERO: Sum = Sum(0);

    #[inline(always)]
    pub(crate) fn u16(self, word: u16) -> Self {
        Sum(self.0 + u64::from(word))
    }

    #[inline(always)]
    pub(crate) fn u32(self, word: u32) -> Self {
        Sum(self.0 + u64::from(word))
    }

    #[inline(always)]
    pub(crate) fn u64(self, word: u64) -> Self {
        Sum(self.0 + (word & 0xffff_ffff) + (word >> 32))
    }

    /// An address as it stands in a packet: 4 or 16 bytes of it.
    #[inline(always)]
    pub(crate) fn address(self, address: &Address, is_v4: bool) -> Self {
        if is_v4 {
            return self.u32(address.v4_word());
        }
        let [high, low] = address.words();
        self.u64(high).u64(low)
    }

    /// What changing `old` to `new` adds (RFC 1624 §3: ~m + m').
    #[inline(always)]
    pub(crate) fn replace(self, old: u16, new: u16) -> Self {
        self.u16(!old).u16(new)
    }

    /// What changing one address to another adds.
    #[inline(always)]
    pub(crate) fn replace_address(self, old: &Address, new: &Address, is_v4: bool) -> Self {
        if is_v4 {
            return self.u32(!old.v4_word()).u32(new.v4_word());
        }
        let [high, low] = old.words();
        self.u64(!high).u64(!low).address(new, false)
    }

    /// The sum in 16 bits.
    #[inline(always)]
    pub(crate) fn fold(self) -> u16 {
        // At most 2^33 - 2, then 0x1fffe, then 0xffff.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// The checksum after this was added to what it covers (RFC 1624 §3, equation 3:
    /// HC' = ~(~HC + ~m + m')).
    #[inline(always)]
    pub(crate) fn applied_to(self, checksum: u16) -> u16 {
        self.u16(!checksum).checksum()
    }

    /// The checksum of what was summed.
    #[inline(always)]
    pub(crate) fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The checksum after a change.
#[inline(always)]
pub(crate) fn updated(checksum: u16, delta: u16) -> u16 {
    Sum::ZERO.u16(delta).applied_to(checksum)
}

/// What undoes a change: its one's complement.
#[inline(always)]
pub(crate) fn undone(delta: u16) -> u16 {
    !delta
}

/// The sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1).
#[inline(always)]
pub(crate) fn pseudo(
    source: &Address,
    destination: &Address,
    is_v4: bool,
    protocol: u8,
    length: u16,
) -> Sum {
    Sum::ZERO
        .address(source, is_v4)
        .address(destination, is_v4)
        .u16(u16::from(protocol).to_be())
        .u16(length.to_be())
}
