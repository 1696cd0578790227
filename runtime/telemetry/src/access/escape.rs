//! Bytes from outside, made fit for a line: no byte of a request can end a line or a field.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` as the inside of a JSON string (RFC 8259 §7). A byte that is not UTF-8 is
/// written as `\xNN`, with its backslash escaped: JSON has no way to say a byte.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
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
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8], also: u8) {
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' && byte != also {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, &[byte]);
        }
    }
}

/// Appends two digits for each byte.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}
