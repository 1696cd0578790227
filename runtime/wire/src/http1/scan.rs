//! The way to an answer for heads that are not both complete and plain.
//!
//! `httparse` takes LF for CRLF, refuses folds under another name, knows no byte limits and does
//! not say where it stopped. So the lines are walked first, up to the first thing that is wrong
//! with them, and `httparse` sees only what lies before it. Of two errors the one that stands
//! first wins, whatever way the bytes were cut.

use std::mem::MaybeUninit;

use memchr::memchr;

use super::error::HeadError;
use super::known::Known;
use super::limits::{FIELDS_CEILING, Lenient, Limits};
use super::token;

/// The answer of a head's decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Nothing is wrong so far; come back with these bytes and more.
    Partial,
    /// The head is complete and takes this many bytes of the input.
    Complete {
        /// Bytes of the head, forgiven empty lines in front of it included.
        head_bytes: usize,
    },
}

/// Slots for `httparse`, on the stack and not initialised.
pub(super) type Slots<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS_CEILING];

/// How the walk over the lines ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All lines are well-ended so far.
    Partial,
    /// The empty line was reached.
    Complete,
    /// A line is wrong.
    Wrong(HeadError),
    /// The method did not end within its limit.
    MethodTooLong,
    /// The target did not end within its limit.
    TargetTooLong,
}

/// What the walk found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// The bytes that may be parsed: all before the thing that is wrong.
    pub(super) end: usize,
    pub(super) verdict: Verdict,
    /// Folds were met, and are waived.
    pub(super) folded: bool,
    /// Lines end in bare LF, and that is waived.
    pub(super) bare_lf: bool,
}

impl Scan {
    /// The waivers that this head needed.
    pub(super) fn waived(&self) -> Lenient {
        let mut used = Lenient::NONE;
        if self.folded {
            used.insert(Lenient::OBS_FOLD);
        }
        if self.bare_lf {
            used.insert(Lenient::BARE_LF);
        }
        used
    }
}

/// Walks the lines of `input`, a head without empty lines in front.
///
/// `skipped` is how many bytes of the head's limit such lines have used up. `request` asks for
/// the limits of a request line too.
pub(super) fn scan(
    input: &[u8],
    skipped: usize,
    limits: &Limits,
    lenient: Lenient,
    request: bool,
) -> Scan {
    let head_max = limits.head_bytes_max.saturating_sub(skipped);
    let window = &input[..input.len().min(head_max)];
    let mut walk = Walk { window, line: 0, start: 0, ends: None, name: 0..0, folded: false };
    let (end, verdict) = loop {
        match walk.step(limits, lenient, request) {
            Step::Next => {}
            Step::Stop(end, verdict) => break (end, verdict),
            Step::Starved if window.len() == head_max => {
                let max = limits.head_bytes_max;
                break (head_max, Verdict::Wrong(HeadError::HeadTooLarge { max }));
            }
            Step::Starved => break (window.len(), Verdict::Partial),
        }
    };
    Scan { end, verdict, folded: walk.folded, bare_lf: walk.ends == Some(Ends::Lf) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Crlf,
    Lf,
}

struct Walk<'a> {
    window: &'a [u8],
    /// Index of the line, the start line being 0.
    line: usize,
    start: usize,
    /// How the lines so far ended.
    ends: Option<Ends>,
    /// Where the name of the last unfolded field stands.
    name: std::ops::Range<usize>,
    folded: bool,
}

enum Step {
    Next,
    Starved,
    Stop(usize, Verdict),
}

impl Walk<'_> {
    fn step(&mut self, limits: &Limits, lenient: Lenient, request: bool) -> Step {
        let rest = &self.window[self.start..];
        let reach = rest.len().min(limits.line_bytes_max + 2);
        let found = memchr(b'\n', &rest[..reach]);
        let known = &rest[..found.unwrap_or(reach)];
        if self.line == 0
            && request
            && let Some((at, verdict)) = request_line_limits(known, limits)
        {
            return Step::Stop(at, verdict);
        }
        let folds = self.line > 0 && matches!(rest.first(), Some(b' ' | b'\t'));
        if folds && !self.may_fold(lenient) {
            return Step::Stop(self.start, Verdict::Wrong(HeadError::ObsFold));
        }
        self.folded |= folds;
        let Some(at) = found else {
            if rest.len() < limits.line_bytes_max + 2 {
                return Step::Starved;
            }
            let max = limits.line_bytes_max;
            let verdict = Verdict::Wrong(HeadError::LineTooLong { max });
            return Step::Stop(self.start + max + 1, verdict);
        };
        let lf = self.start + at;
        let (content, ends) = match known {
            [content @ .., b'\r'] => (content, Ends::Crlf),
            content => (content, Ends::Lf),
        };
        let waived = ends == Ends::Crlf || lenient.contains(Lenient::BARE_LF);
        if !waived || self.ends.is_some_and(|before| before != ends) {
            return Step::Stop(lf, Verdict::Wrong(HeadError::BareLf));
        }
        self.ends = Some(ends);
        if content.is_empty() && self.line > 0 {
            return Step::Stop(lf + 1, Verdict::Complete);
        }
        if self.line > limits.fields_max {
            let max = limits.fields_max;
            return Step::Stop(lf, Verdict::Wrong(HeadError::TooManyFields { max }));
        }
        if folds {
            // A line of blanks only would end the head for a peer that trims lines.
            if token::trim(content).is_empty() {
                return Step::Stop(lf, Verdict::Wrong(HeadError::ObsFold));
            }
        } else {
            let name_end = memchr(b':', content).unwrap_or(content.len());
            self.name = self.start..self.start + name_end;
        }
        self.line += 1;
        self.start = lf + 1;
        Step::Next
    }

    /// Whether the line at hand may continue the one before it.
    ///
    /// RFC 9112 §2.2: never after the start line. Nor where a peer who reads the continuation as
    /// a line of its own, or skips it, would frame or route the message otherwise than we do.
    fn may_fold(&self, lenient: Lenient) -> bool {
        let name = &self.window[self.name.clone()];
        lenient.contains(Lenient::OBS_FOLD)
            && self.line > 1
            && token::is_token(name)
            && !matches!(Known::of(name), known if known.is_reserved() || known == Known::Expect)
    }
}

/// The first limit that a request line breaks, with where it does.
fn request_line_limits(line: &[u8], limits: &Limits) -> Option<(usize, Verdict)> {
    let Some(space) = memchr(b' ', &line[..line.len().min(METHOD_BYTES_MAX + 1)]) else {
        let over = line.len() > METHOD_BYTES_MAX;
        return over.then_some((METHOD_BYTES_MAX, Verdict::MethodTooLong));
    };
    let target = &line[space + 1..];
    let reach = target.len().min(limits.target_bytes_max + 1);
    if reach > limits.target_bytes_max && memchr(b' ', &target[..reach]).is_none() {
        return Some((space + 1 + limits.target_bytes_max, Verdict::TargetTooLong));
    }
    None
}

/// Copies `head` to `out` with folds as blanks and LF as CRLF.
///
/// RFC 9112 §5.2: each fold is replaced by one or more blanks before the value is used or sent.
pub(super) fn canonicalise(head: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = head;
    while let Some(at) = memchr(b'\n', rest) {
        let content = rest[..at].strip_suffix(b"\r").unwrap_or(&rest[..at]);
        out.extend_from_slice(content);
        rest = &rest[at + 1..];
        match rest.first() {
            Some(b' ' | b'\t') => out.push(b' '),
            _ => out.extend_from_slice(b"\r\n"),
        }
    }
    out.extend_from_slice(rest);
}

/// `httparse`'s verdict in our terms; `Token` is left to the caller, who knows the start line.
pub(super) fn syntax(error: httparse::Error, limits: &Limits) -> Option<HeadError> {
    match error {
        httparse::Error::HeaderName => Some(HeadError::InvalidFieldName),
        httparse::Error::HeaderValue => Some(HeadError::InvalidFieldValue),
        httparse::Error::NewLine => Some(HeadError::InvalidLineEnd),
        httparse::Error::TooManyHeaders => {
            Some(HeadError::TooManyFields { max: limits.fields_max })
        }
        httparse::Error::Version => Some(HeadError::InvalidVersion),
        httparse::Error::Status | httparse::Error::Token => None,
    }
}

/// Longer than every registered method (`UPDATEREDIRECTREF` has 17 bytes).
pub(super) const METHOD_BYTES_MAX: usize = 32;
