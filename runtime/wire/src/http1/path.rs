//! Paths in the form in which routes are matched; what is forwarded stays as it was received.
//!
//! Two paths that an origin may take for one must match one route, or a rule that guards `/admin`
//! is passed by `/x/%2e%2e//admin`.

use thiserror::Error;

/// Why a path cannot be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// A percent sign without two hexadecimal digits.
    #[error("a percent sign without two hexadecimal digits")]
    InvalidPercent,
    /// An encoded NUL: it ends the path for some and not for others.
    #[error("an encoded NUL")]
    EncodedNul,
    /// More `..` than there are segments: no sender means that.
    #[error("path leaves the root")]
    AboveRoot,
}

impl PathError {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            PathError::InvalidPercent => "invalid_percent",
            PathError::EncodedNul => "encoded_nul",
            PathError::AboveRoot => "path_above_root",
        }
    }
}

/// The normal form of `path`, a path without query: RFC 3986 §6.2.2 and merged slashes.
///
/// Unreserved bytes are decoded, other encodings get upper-case digits (`%2F` stays encoded, it is
/// no separator), dot segments are resolved, empty segments dropped. A path that is already normal
/// is given back as it is; otherwise the form is written to `out`, which is cleared.
///
/// # Errors
/// When the path has no normal form.
pub fn normalise<'a>(path: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], PathError> {
    if path.first() != Some(&b'/') || is_normal(path) {
        return Ok(path);
    }
    out.clear();
    decode(path, out)?;
    let bytes = resolve(out)?;
    out.truncate(bytes);
    Ok(out)
}

/// Whether there is surely nothing to do.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = byte != b'%' && !(before == b'/' && matches!(byte, b'/' | b'.'));
        before = byte;
        plain
    })
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2.
fn decode(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some(&[high, low]) = rest.get(at + 1..at + 3) else {
            return Err(PathError::InvalidPercent);
        };
        let byte = match (digit(high), digit(low)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(PathError::InvalidPercent),
        };
        match byte {
            0 => return Err(PathError::EncodedNul),
            b'-' | b'.' | b'_' | b'~' => out.push(byte),
            byte if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// RFC 3986 §5.2.4, in place; the answer is how many bytes are left.
fn resolve(path: &mut [u8]) -> Result<usize, PathError> {
    let mut written = 0;
    let mut read = 0;
    while read < path.len() {
        // `read` stands on a slash; a segment reaches to the next one.
        let start = read + 1;
        let end = memchr::memchr(b'/', &path[start..]).map_or(path.len(), |at| start + at);
        let is_last = end == path.len();
        match &path[start..end] {
            b"" | b"." => {}
            b".." => {
                let parent = memchr::memrchr(b'/', &path[..written]);
                written = parent.ok_or(PathError::AboveRoot)?;
            }
            segment => {
                let bytes = segment.len();
                path.copy_within(read..end, written);
                written += 1 + bytes;
                read = end;
                continue;
            }
        }
        if is_last {
            path[written] = b'/';
            written += 1;
        }
        read = end;
    }
    Ok(written)
}
