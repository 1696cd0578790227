//! How much of a message is read before it is refused, and which strictness may be waived.

use std::fmt;
use std::ops::BitOr;

/// No configuration allows more fields than this: the parser's slots live on the stack
/// (256 x 32 bytes = 8 KiB).
pub const FIELDS_CEILING: usize = 256;

/// The limits of a head; what lies over them is refused before it is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head, its empty last line included.
    pub head_bytes_max: usize,
    /// Bytes of one line without its CRLF.
    pub line_bytes_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    /// Field lines of a head, at most [`FIELDS_CEILING`].
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes_max: 64 * 1024,
            line_bytes_max: 32 * 1024,
            target_bytes_max: 8 * 1024,
            fields_max: 100,
        }
    }
}

/// The limits of a body's framing; the content itself is streamed and has none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of chunk extensions in one message. They are dropped, so a peer who sends many
    /// spends our time on nothing (as in CVE-2023-39326).
    pub extension_bytes_max: u32,
    /// Bytes of a trailer section, its empty last line included.
    pub trailer_bytes_max: u32,
    /// Field lines of a trailer section, at most [`FIELDS_CEILING`].
    pub trailer_fields_max: u32,
}

impl Default for BodyLimits {
    fn default() -> Self {
        BodyLimits {
            extension_bytes_max: 16 * 1024,
            trailer_bytes_max: 16 * 1024,
            trailer_fields_max: 64,
        }
    }
}

/// The waivers of strictness that exist, as a set; each is off by default.
///
/// A waiver is offered only where the message that we forward can be read in one way, because
/// we rewrite what was doubtful. `Transfer-Encoding` beside `Content-Length`, bare LF in chunk
/// lines, a bare CR or NUL in a value and two different lengths have no waiver: whoever sits in
/// front of us has already chosen a reading, and no rewriting tells us which.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Lenient(u8);

impl Lenient {
    /// All rules hold.
    pub const NONE: Lenient = Lenient(0);
    /// A folded value is unfolded to blanks (RFC 9112 §5.2); never in a field that frames or
    /// routes, never right after the start line, never a line of blanks only.
    pub const OBS_FOLD: Lenient = Lenient(1);
    /// Lines may end in LF (RFC 9112 §2.2), if all of the head's do: a head that mixes ends is
    /// what a smuggled line looks like. Forwarded with CRLF.
    pub const BARE_LF: Lenient = Lenient(2);
    /// Names with an underscore are forwarded; an origin that maps `-` to `_` (CGI) may then
    /// take them for other names.
    pub const UNDERSCORE: Lenient = Lenient(4);
    /// Equal lengths, repeated, count as one (RFC 9110 §8.6). Forwarded once.
    pub const REPEATED_CONTENT_LENGTH: Lenient = Lenient(8);
    /// `%2F` in a path is its text and never a separator, whatever an origin makes of it.
    pub const ESCAPED_SLASH: Lenient = Lenient(16);
    /// `\` and `%5C` in a path are its text and no separators.
    pub const BACKSLASH: Lenient = Lenient(32);
    /// What follows a `;` in a path's segment is its text: no parameters that an origin drops.
    pub const PATH_PARAMETERS: Lenient = Lenient(64);

    /// Every waiver with the name it has in a configuration.
    pub const NAMES: [(&'static str, Lenient); 7] = [
        ("obs-fold", Lenient::OBS_FOLD),
        ("bare-lf", Lenient::BARE_LF),
        ("underscore", Lenient::UNDERSCORE),
        ("repeated-content-length", Lenient::REPEATED_CONTENT_LENGTH),
        ("escaped-slash", Lenient::ESCAPED_SLASH),
        ("backslash", Lenient::BACKSLASH),
        ("path-parameters", Lenient::PATH_PARAMETERS),
    ];

    /// The waiver called `name`.
    pub fn named(name: &str) -> Option<Lenient> {
        Lenient::NAMES.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    /// The names of the waivers in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Lenient::NAMES.iter().filter(move |row| self.contains(row.1)).map(|row| row.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Lenient) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether some of `other` is in this set.
    pub const fn meets(self, other: Lenient) -> bool {
        self.0 & other.0 != 0
    }

    /// Every set that can be made of this one, but for the empty one.
    pub fn parts(self) -> impl Iterator<Item = Lenient> {
        // Counts down through the numbers whose bits are all in the set.
        let some = |part: u8| (part != 0).then_some(part);
        std::iter::successors(some(self.0), move |part| some((part - 1) & self.0)).map(Lenient)
    }

    pub(super) fn insert(&mut self, other: Lenient) {
        self.0 |= other.0;
    }
}

impl BitOr for Lenient {
    type Output = Lenient;

    fn bitor(self, other: Lenient) -> Lenient {
        Lenient(self.0 | other.0)
    }
}

impl fmt::Debug for Lenient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}
