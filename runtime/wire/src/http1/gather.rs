//! From `httparse`'s slots to our fields, noting on the way what framing and routing need.

use memchr::memchr;

use super::field::{DROPPED, Field, HOP, Span};
use super::fields::Fields;
use super::known::Known;
use super::limits::{Lenient, Limits};

/// What stood among the fields: how many of a kind, and where the first of them is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) host: Seen,
    pub(super) length: Seen,
    pub(super) coding: Seen,
    pub(super) connection: Seen,
    pub(super) upgrade: Seen,
    pub(super) te: Seen,
    pub(super) expect: Seen,
    /// Fields that were refused a place in the message.
    pub(super) dropped: u16,
    /// Names with an underscore that were let through.
    pub(super) underscores: u16,
}

/// The count of a kind of field, and the index of the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) count: u16,
    pub(super) first: u16,
}

impl Seen {
    fn note(&mut self, index: usize) {
        if self.count == 0 {
            self.first = index as u16;
        }
        self.count += 1;
    }

    /// The index of the field, if there is exactly one.
    pub(super) fn only(self) -> Option<usize> {
        (self.count == 1).then_some(self.first as usize)
    }
}

/// Whether the lines of a complete head end in CRLF and keep the line limit.
///
/// `source` ends with the head's empty line. A name begins where a line does, because nothing
/// else may stand there, so the two bytes before it must be CRLF (RFC 9112 §2.2).
pub(super) fn lines_are_strict(
    source: &[u8],
    headers: &[httparse::Header<'_>],
    limits: &Limits,
) -> bool {
    let mut line_start = 0;
    for header in headers {
        let start = offset(source, header.name.as_bytes());
        if source[start - 2] != b'\r' || start - line_start > limits.line_bytes_max + 2 {
            return false;
        }
        line_start = start;
    }
    source.len() - 2 - line_start <= limits.line_bytes_max + 2
        && source.len() <= limits.head_bytes_max
        && source.ends_with(b"\r\n\r\n")
}

/// Makes the field list of `headers`, whose parts lie in `source`.
///
/// `source` ends with the head's empty line, which the spans leave out.
pub(super) fn gather(
    list: &mut Vec<Field>,
    source: &[u8],
    headers: &[httparse::Header<'_>],
    lenient: Lenient,
    request: bool,
) -> Facts {
    let mut facts = Facts::default();
    // The next underscore of the whole head: most heads have none, and then this is one search.
    let mut underscore = if request { find_underscore(source, 0) } else { usize::MAX };
    list.clear();
    for (index, header) in headers.iter().enumerate() {
        let name = header.name.as_bytes();
        let start = offset(source, name);
        let value_start = offset(source, header.value);
        if let Some(before) = list.last_mut() {
            before.line_end = start as u32;
        }
        if underscore < start {
            underscore = find_underscore(source, start);
        }
        let known = Known::of(name);
        let mut flags = 0;
        if known != Known::Other {
            flags = facts.note(known, index, request);
        } else if underscore < start + name.len() {
            // A CGI origin reads `X_A` and `X-A` as one name, so the first can forge the second.
            if lenient.contains(Lenient::UNDERSCORE) {
                facts.underscores += 1;
            } else {
                flags = DROPPED;
                facts.dropped += 1;
            }
        }
        list.push(Field {
            name: Span::new(start, start + name.len()),
            value: Span::new(value_start, value_start + header.value.len()),
            line_end: 0,
            known,
            flags,
        });
    }
    if let Some(last) = list.last_mut() {
        last.line_end = source.len() as u32 - 2;
    }
    facts
}

fn find_underscore(source: &[u8], start: usize) -> usize {
    memchr(b'_', &source[start..]).map_or(usize::MAX, |at| start + at)
}

impl Facts {
    /// Notes a field with a meaning; the answer is the flags it gets.
    fn note(&mut self, known: Known, index: usize, request: bool) -> u8 {
        match known {
            Known::Host => self.host.note(index),
            Known::ContentLength => self.length.note(index),
            Known::TransferEncoding => self.coding.note(index),
            Known::Connection => self.connection.note(index),
            Known::Upgrade => self.upgrade.note(index),
            Known::Te => self.te.note(index),
            Known::Expect => self.expect.note(index),
            // CGI origins put it in HTTP_PROXY, which their own clients obey (CVE-2016-5385).
            Known::Proxy if request => {
                self.dropped += 1;
                return DROPPED;
            }
            _ => {}
        }
        if known.is_hop_by_hop() { HOP } else { 0 }
    }
}

/// Puts the gathered head into `fields`: the bytes of `source` without the empty line.
pub(super) fn keep(fields: &mut Fields, source: &[u8]) {
    fields.bytes.clear();
    fields.bytes.extend_from_slice(&source[..source.len() - 2]);
}

/// Where `part`, a slice of `source`, begins in it.
pub(super) fn offset(source: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - source.as_ptr() as usize
}
