//! gRPC-Web: trailers as the last frame of a body, and bodies as base64 text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Appends the frame that carries trailers (`PROTOCOL-WEB.md`, "Message framing"): the flag 0x80, a
/// length, and the fields as HTTP/1 has them, names in small letters, without an empty line.
///
/// The caller gives names and values that may stand in a head: no CR, LF or NUL.
pub fn put_trailers<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    let start = out.len();
    for (name, value) in fields {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    // Trailers are bounded like heads, far below 4 GiB.
    let bytes = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start - 4..start].copy_from_slice(&bytes.to_be_bytes());
}

/// Appends `piece` as base64, padded: whoever reads gets all of it at once, and takes padding
/// between pieces as it comes (`PROTOCOL-WEB.md`: chunks may be padded wherever a buffer is
/// flushed).
pub fn put_text(piece: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Four letters for each three bytes begun.
    out.resize(start + piece.len().div_ceil(3) * 4, 0);
    // The room is right: nothing can be refused.
    let written = STANDARD.encode_slice(piece, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// Reads a body of base64 text, padded anywhere between two groups of four letters.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextDecoder {
    rest: [u8; 4],
    count: u8,
}

/// A body that is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not base64")]
pub struct TextError;

impl TextDecoder {
    /// Appends what `piece` says to `out`; up to three letters wait for the next piece.
    ///
    /// # Errors
    /// A letter is not of the alphabet, or padding stands where none may. `out` holds what came
    /// before it, and the decoder is of no further use.
    pub fn feed(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
        while self.count > 0
            && let Some((&letter, after)) = piece.split_first()
        {
            self.rest[usize::from(self.count)] = letter;
            self.count = (self.count + 1) % 4;
            piece = after;
            if self.count == 0 {
                decode(&self.rest, out)?;
            }
        }
        let (groups, rest) = piece.split_at(piece.len() / 4 * 4);
        let mut left = groups;
        while !left.is_empty() {
            // Up to and with the next group that is padded: what follows begins anew.
            let padded = left.chunks_exact(4).position(|group| group[3] == b'=');
            let (run, after) = left.split_at(padded.map_or(left.len(), |at| (at + 1) * 4));
            decode(run, out)?;
            left = after;
        }
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
            // Less than four.
            self.count = rest.len() as u8;
        }
        Ok(())
    }

    /// Whether the body may end here.
    pub fn is_whole(&self) -> bool {
        self.count == 0
    }
}

/// Whole groups, padded at most in the last.
fn decode(groups: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
    let start = out.len();
    out.resize(start + groups.len() / 4 * 3, 0);
    match STANDARD.decode_slice(groups, &mut out[start..]) {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(_) => {
            out.truncate(start);
            Err(TextError)
        }
    }
}

const TRAILERS: u8 = 0x80;
