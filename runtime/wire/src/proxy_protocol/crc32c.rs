//! The checksum of a header: CRC-32C (Castagnoli), bit by bit: headers are short and rare.

use super::HeaderError;

/// Whether the four bytes at `at` are the checksum of `header` with zeros in their place (§2.2.3).
pub(super) fn verify(header: &[u8], at: usize) -> Result<(), HeaderError> {
    let said = header.get(at..at + 4).ok_or(HeaderError::BadLength)?;
    let zeroed = |(index, byte): (usize, &u8)| match (at..at + 4).contains(&index) {
        true => 0,
        false => *byte,
    };
    match crc32c(header.iter().enumerate().map(zeroed)).to_be_bytes() == said {
        true => Ok(()),
        false => Err(HeaderError::BadChecksum),
    }
}

pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg())
        })
    })
}

/// 0x1EDC6F41, the bits in the order of the wire.
const POLYNOMIAL: u32 = 0x82f6_3b78;
