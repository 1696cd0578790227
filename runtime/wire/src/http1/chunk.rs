//! Writing bodies in chunks (RFC 9112 §7.1).

use super::fields::Fields;

/// Appends the line in front of a chunk of `bytes` bytes.
///
/// # Panics
/// When `bytes` is 0: that would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, bytes: usize) {
    assert!(bytes > 0, "a chunk of 0 bytes ends the body");
    // 16 hexadecimal digits hold 64 bits.
    let mut line = [0_u8; 18];
    line[16..].copy_from_slice(b"\r\n");
    let mut start = 16;
    let mut rest = bytes;
    while rest > 0 {
        start -= 1;
        line[start] = DIGITS[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&line[start..]);
}

/// Appends what follows the bytes of a chunk.
pub fn write_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk, the live ones of `trailers`, and the end of the body.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        for field in trailers.all().iter().filter(|field| field.is_live()) {
            let line = field.name.start as usize..field.line_end as usize;
            out.extend_from_slice(&trailers.bytes()[line]);
        }
    }
    out.extend_from_slice(b"\r\n");
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
