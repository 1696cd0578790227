//! `grpc-message`: text in a field.

/// Appends `text` in the field's encoding (`PROTOCOL-HTTP2.md`, Percent-Encoded): every byte but
/// printable ASCII, and the percent sign itself, as `%XX`.
pub fn put_status_message(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f..=0xff => {
                let digit = |value: u8| DIGITS[usize::from(value)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
            }
            plain => out.push(plain),
        }
    }
}

const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
