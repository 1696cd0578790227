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

/// What a field says in that encoding. A percent sign that no two digits follow stands for itself,
/// as the protocol wants it: a message is for people, and better garbled than lost.
pub fn status_message(field: &[u8]) -> String {
    let (mut text, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        match (byte, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                // Two digits of four bits.
                text.push((high << 4 | low) as u8);
                rest = &behind[2..];
            }
            _ => {
                text.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
