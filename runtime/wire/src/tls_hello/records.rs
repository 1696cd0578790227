//! The records that a ClientHello comes in: mostly one, but it may be cut over several.

use super::{HELLO_BYTES_MAX, HelloError};

/// RFC 8446 §5.1: type, version, length.
const HEADER_BYTES: usize = 5;
/// RFC 8446 §4: type and length of a handshake message.
const MESSAGE_HEADER_BYTES: usize = 4;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// The message's body, without its header.
pub(super) enum Message<'a> {
    Partial {
        more: usize,
    },
    /// It lies in one record.
    InOne(&'a [u8]),
    /// It was put together.
    InScratch,
}

pub(super) fn message<'a>(
    input: &'a [u8],
    scratch: &mut Vec<u8>,
) -> Result<Message<'a>, HelloError> {
    scratch.clear();
    let (mut rest, mut first, mut wanted) = (input, true, None);
    loop {
        let (fragment, missing, behind) = record(rest, first)?;
        if first
            && missing == 0
            && let Some((length, body)) = fragment.split_at_checked(MESSAGE_HEADER_BYTES)
        {
            let length = message_length(length)?;
            if body.len() >= length {
                return Ok(Message::InOne(&body[..length]));
            }
        }
        scratch.extend_from_slice(fragment);
        if wanted.is_none() && !scratch.is_empty() {
            // What can be said of a type alone is said at once.
            kind_of(scratch[0])?;
            if let Some(length) = scratch.get(..MESSAGE_HEADER_BYTES) {
                wanted = Some(MESSAGE_HEADER_BYTES + message_length(length)?);
            }
        }
        if let Some(wanted) = wanted.filter(|&wanted| scratch.len() >= wanted) {
            scratch.truncate(wanted);
            scratch.drain(..MESSAGE_HEADER_BYTES);
            return Ok(Message::InScratch);
        }
        if missing > 0 {
            let lacking = wanted.map_or(1, |wanted| wanted - scratch.len());
            // The message may end before its record does.
            return Ok(Message::Partial { more: missing.min(lacking).max(1) });
        }
        (rest, first) = (behind, false);
    }
}

/// What is there of the next record's content, how many bytes of it (or of its header) are
/// missing, and what is behind it.
fn record(input: &[u8], first: bool) -> Result<(&[u8], usize, &[u8]), HelloError> {
    let wrong = if first { HelloError::NotTls } else { HelloError::BadRecord };
    // RFC 8446 §5.1: 0x0301 in the first record, 0x0303 in later ones; TLS 1.0's own is 0x0301.
    let right = |(index, byte): (usize, &u8)| match index {
        0 => *byte == HANDSHAKE,
        1 => *byte == 3,
        2 => *byte <= 3,
        _ => true,
    };
    if !input.iter().take(HEADER_BYTES).enumerate().all(right) {
        return Err(wrong);
    }
    let Some((header, rest)) = input.split_at_checked(HEADER_BYTES) else {
        return Ok((&[], HEADER_BYTES - input.len(), &[]));
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    // RFC 8446 §5.1: no empty fragments of handshake messages.
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err(wrong);
    }
    match rest.split_at_checked(length) {
        Some((fragment, behind)) => Ok((fragment, 0, behind)),
        None => Ok((rest, length - rest.len(), &[])),
    }
}

fn kind_of(kind: u8) -> Result<(), HelloError> {
    if kind == CLIENT_HELLO { Ok(()) } else { Err(HelloError::NotAClientHello { kind }) }
}

fn message_length(header: &[u8]) -> Result<usize, HelloError> {
    kind_of(header[0])?;
    let length = header[1..4].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    match length {
        0..=HELLO_BYTES_MAX => Ok(length),
        _ => Err(HelloError::TooLarge { length, max: HELLO_BYTES_MAX }),
    }
}
