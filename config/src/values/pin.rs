//! The digest of a public key, as in `sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`.

use std::fmt;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// The SHA-256 of a SubjectPublicKeyInfo in DER (RFC 7469 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPin(pub [u8; 32]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256/")?;
        for group in self.0.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
                let filler = place > group.len();
                write!(f, "{}", if filler { '=' } else { char::from(digit) })?;
            }
        }
        Ok(())
    }
}

impl FromStr for KeyPin {
    type Err = BadText;

    /// RFC 4648 §4: 32 bytes are 43 digits and one `=`, and the last digit's low bits are zero.
    fn from_str(text: &str) -> Result<KeyPin, BadText> {
        const EXPECTED: BadText = BadText("a pin is sha256/ and 44 characters of base64");
        let digits = text.strip_prefix("sha256/").ok_or(EXPECTED)?;
        let digits = digits.strip_suffix('=').ok_or(EXPECTED)?.as_bytes();
        if digits.len() != 43 {
            return Err(EXPECTED);
        }
        let (mut pin, mut bits, mut count, mut at) = ([0; 32], 0_u32, 0, 0);
        for digit in digits {
            let value = ALPHABET.iter().position(|known| known == digit).ok_or(EXPECTED)?;
            bits = bits << 6 | value as u32;
            count += 6;
            if count >= 8 {
                count -= 8;
                pin[at] = (bits >> count) as u8;
                at += 1;
                bits &= (1 << count) - 1;
            }
        }
        if bits == 0 { Ok(KeyPin(pin)) } else { Err(EXPECTED) }
    }
}

text_settings! {
    KeyPin: "sha256/ and the digest of a public key in base64";
}

#[cfg(test)]
mod tests {
    use super::KeyPin;

    #[test]
    fn pins_are_read_as_they_are_written() {
        // The SHA-256 of nothing.
        let text = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let pin: KeyPin = text.parse().expect("a pin");
        assert_eq!(pin.0[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(pin.to_string(), text);
        for wrong in [
            "sha1/x",
            "sha256/",
            &text[..40],
            "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
        ] {
            assert!(wrong.parse::<KeyPin>().is_err(), "{wrong}");
        }
    }
}
