//! One direction's key of an open TLS 1.3 session: records sealed and opened (RFC 8446 §5.2-5.4).
//!
//! Not for what is in the records, nor for when keys change: that is `traffic`.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, Error, PeerMisbehaved};

/// RFC 8446 §5.1: no fragment is longer.
pub(crate) const FRAGMENT_BYTES_MAX: usize = 16 * 1024;
/// Type, version and length.
pub(crate) const HEADER_BYTES: usize = 5;
/// RFC 8446 §5.2: what is sealed is at most so much longer than what is in it.
const EXPANSION_BYTES_MAX: usize = 256;
/// Of all three suites.
const TAG_BYTES: usize = 16;
/// RFC 8446 §5.1: the outer type of every sealed record.
const APPLICATION_DATA: u8 = 23;

/// Seals records, or opens them.
pub(crate) struct Key {
    aead: LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
    /// The sequence number of the next record.
    next: u64,
}

impl Key {
    /// The key of `secrets`, whose next record has the number `next`.
    ///
    /// # Errors
    /// Secrets of a suite that is not spoken here.
    pub(crate) fn new((next, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Key, Error> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(Error::General("an unknown suite".to_owned())),
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable())?;
        let iv = iv.as_ref().try_into().map_err(|_| unusable())?;
        Ok(Key { aead: LessSafeKey::new(unbound), iv, next })
    }

    /// How many records it has sealed or opened.
    pub(crate) fn used_count(&self) -> u64 {
        self.next
    }

    /// Adds a record to `out`, of content that is cut to [`FRAGMENT_BYTES_MAX`] already.
    ///
    /// # Errors
    /// There is no further number for one.
    pub(crate) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let sealed_bytes = content.len() + 1 + TAG_BYTES;
        let header = header(sealed_bytes);
        let nonce = self.take_nonce()?;
        out.reserve(HEADER_BYTES + sealed_bytes);
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(content);
        out.push(kind);
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..])
            .map_err(|_| Error::EncryptError)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a whole record: adds what is in it to `plain`, and says its type.
    ///
    /// # Errors
    /// It was not sealed with this key, or not as the protocol wants it.
    pub(crate) fn open(&mut self, record: &[u8], plain: &mut Vec<u8>) -> Result<u8, Error> {
        let (header, sealed) = record.split_at(HEADER_BYTES);
        let nonce = self.take_nonce()?;
        let start = plain.len();
        plain.extend_from_slice(sealed);
        let opened = self.aead.open_in_place(nonce, Aad::from(header), &mut plain[start..]);
        let inner = opened.map(|inner| (inner.len(), last_of(inner)));
        let kind = match inner {
            Err(_) => Err(Error::DecryptError),
            // RFC 8446 §5.4: with its type and padding, no more than this.
            Ok((bytes, _)) if bytes > FRAGMENT_BYTES_MAX + 1 => Err(Error::PeerSentOversizedRecord),
            Ok((_, None)) => Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into()),
            Ok((_, Some((content_bytes, kind)))) => {
                plain.truncate(start + content_bytes);
                return Ok(kind);
            }
        };
        plain.truncate(start);
        kind
    }

    /// RFC 8446 §5.3: the number in network order, on the right of the IV.
    fn take_nonce(&mut self) -> Result<Nonce, Error> {
        let (mut nonce, number) = (self.iv, self.next);
        // RFC 8446 §5.3: it never wraps.
        self.next = number.checked_add(1).ok_or(Error::EncryptError)?;
        for (byte, of_number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= of_number;
        }
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// The length of the record at the beginning of `bytes`, with its header; `None` before it can
/// be known.
///
/// # Errors
/// It is none that may come now.
pub(crate) fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    // RFC 8446 §5: behind the handshake, nothing comes in the clear.
    if kind != APPLICATION_DATA {
        return Err(Error::InappropriateMessage {
            expect_types: vec![APPLICATION_DATA.into()],
            got_type: kind.into(),
        });
    }
    // RFC 8446 §5.1: the version is ignored.
    let &[_, _, _, high, low, ..] = bytes else { return Ok(None) };
    let sealed_bytes = usize::from(u16::from_be_bytes([high, low]));
    if sealed_bytes > FRAGMENT_BYTES_MAX + EXPANSION_BYTES_MAX {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok(Some(HEADER_BYTES + sealed_bytes))
}

/// How much content `inner` has, and its type: its last byte but for zeros (RFC 8446 §5.4).
fn last_of(inner: &[u8]) -> Option<(usize, u8)> {
    let at = inner.iter().rposition(|&byte| byte != 0)?;
    Some((at, inner[at]))
}

/// RFC 8446 §5.2: the header of every sealed record, which is sealed with it.
fn header(sealed_bytes: usize) -> [u8; HEADER_BYTES] {
    let [.., high, low] = sealed_bytes.to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

fn unusable() -> Error {
    Error::General("a secret of the wrong length".to_owned())
}
