//! What version 2 says beside the addresses: fields of a type and a length (§2.2.7).

use super::HeaderError;

/// Bytes of the application protocol (RFC 7301 §3.1).
pub const ALPN_BYTES_MAX: usize = 255;
/// Bytes of the host that was asked for: those of a name in the DNS, and some.
pub const AUTHORITY_BYTES_MAX: usize = 255;
/// Bytes of the connection's name (§2.2.4).
pub const UNIQUE_ID_BYTES_MAX: usize = 128;

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CHECKSUM: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;

/// The fields that are read; of the others only the lengths are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlvs<'a> {
    /// The application protocol that was agreed on.
    pub alpn: Option<&'a [u8]>,
    /// The host that was asked for.
    pub authority: Option<&'a str>,
    /// What the connection is called by the proxy.
    pub unique_id: Option<&'a [u8]>,
    checksum_at: Option<usize>,
}

impl<'a> Tlvs<'a> {
    pub(super) fn read(fields: &'a [u8]) -> Result<Tlvs<'a>, HeaderError> {
        let (mut tlvs, mut rest) = (Tlvs::default(), fields);
        while let Some((head, behind)) = rest.split_at_checked(3) {
            let (kind, length) = (head[0], usize::from(u16::from_be_bytes([head[1], head[2]])));
            let at = fields.len() - behind.len();
            let (value, behind) = behind.split_at_checked(length).ok_or(HeaderError::BadLength)?;
            rest = behind;
            let bad = HeaderError::BadField { kind };
            let repeated = match kind {
                ALPN => tlvs.alpn.replace(bounded(value, ALPN_BYTES_MAX, bad)?).is_some(),
                AUTHORITY => {
                    let value = bounded(value, AUTHORITY_BYTES_MAX, bad)?;
                    // §2.2.2: UTF-8. Control characters have no business in a name.
                    let text = std::str::from_utf8(value).map_err(|_| bad)?;
                    if text.chars().any(char::is_control) {
                        return Err(bad);
                    }
                    tlvs.authority.replace(text).is_some()
                }
                UNIQUE_ID => {
                    tlvs.unique_id.replace(bounded(value, UNIQUE_ID_BYTES_MAX, bad)?).is_some()
                }
                CHECKSUM if length != 4 => return Err(bad),
                CHECKSUM => tlvs.checksum_at.replace(at).is_some(),
                _ => false,
            };
            if repeated {
                return Err(HeaderError::RepeatedField { kind });
            }
        }
        if rest.is_empty() { Ok(tlvs) } else { Err(HeaderError::BadLength) }
    }

    /// Where the checksum is, from the first field on.
    pub(super) fn checksum_at(&self) -> Option<usize> {
        self.checksum_at
    }
}

fn bounded(value: &[u8], max: usize, bad: HeaderError) -> Result<&[u8], HeaderError> {
    if (1..=max).contains(&value.len()) { Ok(value) } else { Err(bad) }
}
