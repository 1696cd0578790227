//! Bytes from outside, made fit for a line: no byte of a request can end a line or a field.
//!
//! Most texts have nothing to escape. They are looked at eight bytes at a time and copied as they
//! are, so that a text costs little more than its copy.

use super::number::hex;

/// Appends `bytes` as the inside of a JSON string (RFC 8259 §7). A byte that is not UTF-8 is
/// written as `\xNN`, with its backslash escaped: JSON has no way to say a byte.
#[inline]
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    // RFC 8259 §7: the quote, the backslash and U+0000 to U+001F must be escaped.
    if any(bytes, |word| above(word, 0x7f) | below(word, 0x20) | has(word, b'"') | has(word, b'\\'))
    {
        json_slow(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
}

#[cold]
fn json_slow(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut rest = 0;
        for (place, &byte) in valid.iter().enumerate() {
            // RFC 8259 §7: the quote, the backslash and U+0000 to U+001F must be escaped.
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            out.extend_from_slice(&valid[rest..place]);
            rest = place + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                _ => {
                    out.extend_from_slice(b"\\u00");
                    hex(out, &[byte]);
                }
            }
        }
        out.extend_from_slice(&valid[rest..]);
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            hex(out, &[byte]);
        }
    }
}

/// Appends `bytes` with everything but printable ASCII as `\xNN`, as nginx does; also the
/// quote, the backslash, and the byte `also`, which ends the field.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8], also: u8) {
    let odd = |word| {
        above(word, b'~') | below(word, b' ') | has(word, b'"') | has(word, b'\\') | has(word, also)
    };
    if any(bytes, odd) {
        text_slow(out, bytes, also);
    } else {
        out.extend_from_slice(bytes);
    }
}

#[cold]
fn text_slow(out: &mut Vec<u8>, bytes: &[u8], also: u8) {
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' && byte != also {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, &[byte]);
        }
    }
}

/// Whether `odd` finds something in any eight bytes.
#[inline]
fn any(bytes: &[u8], odd: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        found |= odd(u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        // The last eight bytes once more, or all that there are, filled up with what is not odd.
        let word = bytes.last_chunk().copied().unwrap_or_else(|| {
            let mut word = [b'x'; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        found |= odd(u64::from_le_bytes(word));
    }
    found & HIGH_BITS != 0
}

// Each sets a byte's high bit where the byte is meant; above a byte that is meant there may be
// others. Anderson, "Bit Twiddling Hacks": hasless, hasmore, hasvalue.

/// `limit` is at most 128.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW_BITS * u64::from(limit)) & !word
}

/// `limit` is at most 127.
#[inline]
fn above(word: u64, limit: u8) -> u64 {
    word.wrapping_add(LOW_BITS * u64::from(127 - limit)) | word
}

#[inline]
fn has(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW_BITS * u64::from(byte)), 1)
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
