//! Paths in the form in which routes are matched; what is forwarded stays as it was received.
//!
//! Two paths that an origin may take for one must match one route, or a rule that guards `/admin`
//! is passed by `/x/%2e%2e//admin`. Of what origins read in different ways, `/x%2f..%2fadmin`, all
//! readings must match one route.

use thiserror::Error;

use super::limits::Lenient;

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
    decode(path, Lenient::NONE, out)?;
    let bytes = resolve(out)?;
    out.truncate(bytes);
    Ok(out)
}

/// What of `path` some origins read as its structure and others as its text; named as the waivers
/// that settle it.
#[inline]
pub fn doubts(path: &[u8]) -> Lenient {
    match memchr::memchr3(b'%', b'\\', b';', path) {
        None => Lenient::NONE,
        Some(at) => doubts_behind(&path[at..]),
    }
}

fn doubts_behind(path: &[u8]) -> Lenient {
    let mut doubts = Lenient::NONE;
    for (at, byte) in path.iter().enumerate() {
        match (byte, path.get(at + 1), path.get(at + 2)) {
            (b'\\', ..) | (b'%', Some(b'5'), Some(b'c' | b'C')) => {
                doubts.insert(Lenient::BACKSLASH);
            }
            (b'%', Some(b'2'), Some(b'f' | b'F')) => doubts.insert(Lenient::ESCAPED_SLASH),
            (b';', ..) => doubts.insert(Lenient::PATH_PARAMETERS),
            _ => {}
        }
    }
    doubts
}

/// Writes the normal form of `path` to `out`, which is cleared, if what is in `structure` is read
/// as structure: `%2F`, `\` and `%5C` as slashes, and `;` as where a segment's parameters begin,
/// which are no part of it.
///
/// # Errors
/// When the path has no normal form.
pub fn normalise_as(path: &[u8], structure: Lenient, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    decode(path, structure, out)?;
    if structure.contains(Lenient::PATH_PARAMETERS) {
        let mut inside = false;
        out.retain(|&byte| {
            inside = byte != b'/' && (inside || byte == b';');
            !inside
        });
    }
    if out.first() == Some(&b'/') {
        let bytes = resolve(out)?;
        out.truncate(bytes);
    }
    Ok(())
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

/// RFC 3986 §6.2.2.1 and §6.2.2.2, and what is in `slashes` as slashes.
fn decode(path: &[u8], slashes: Lenient, out: &mut Vec<u8>) -> Result<(), PathError> {
    let backslash = slashes.contains(Lenient::BACKSLASH);
    let text = |raw: &[u8], out: &mut Vec<u8>| {
        let start = out.len();
        out.extend_from_slice(raw);
        if backslash {
            out[start..].iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
    };
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        text(&rest[..at], out);
        let Some(&[high, low]) = rest.get(at + 1..at + 3) else {
            return Err(PathError::InvalidPercent);
        };
        let byte = match (digit(high), digit(low)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(PathError::InvalidPercent),
        };
        match byte {
            0 => return Err(PathError::EncodedNul),
            b'/' if slashes.contains(Lenient::ESCAPED_SLASH) => out.push(b'/'),
            b'\\' if backslash => out.push(b'/'),
            b'-' | b'.' | b'_' | b'~' => out.push(byte),
            byte if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = &rest[at + 3..];
    }
    text(rest, out);
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
