//! Patterns that routes match with: hosts, paths, header and query values.
//!
//! Patterns are data here; the tables that match quickly are built from them by the proxy. The
//! `matches` functions are the meaning that those tables are held to.

use std::fmt;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// The hosts that a route answers for. Always lower case, never with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `"example.com"`: this host alone.
    Exact(Box<str>),
    /// `"*.example.com"`: every host below, however deep, but not `example.com` itself. Holds
    /// the suffix with its dot: `.example.com`.
    Suffix(Box<str>),
}

impl HostPattern {
    /// True if `host` (no port, any case, no trailing dot) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(exact) => host.eq_ignore_ascii_case(exact),
            HostPattern::Suffix(suffix) => {
                let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
                host.len() > suffix.len()
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HostPattern, BadText> {
        if text == "*" {
            return Err(BadText("leave `host` out to match every host"));
        }
        if !text.is_ascii() {
            return Err(BadText("a host is written in its ASCII form, which starts with \"xn--\""));
        }
        let lower = text.to_ascii_lowercase();
        if lower.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(BadText("an IPv6 host is written in brackets, as in \"[::1]\""));
        }
        let literal = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if literal.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()) {
            return Ok(HostPattern::Exact(lower.into()));
        }
        if lower.contains(':') {
            return Err(BadText("a host is written without a port"));
        }
        match lower.strip_prefix("*.") {
            Some(host) if is_host(host) => Ok(HostPattern::Suffix(format!(".{host}").into())),
            None if is_host(&lower) => Ok(HostPattern::Exact(lower.into())),
            _ => Err(BadText("a host is a name such as \"example.com\" or \"*.example.com\"")),
        }
    }
}

/// RFC 1123 §2.1 names, and underscores, which names of services have.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_allowed)
    };
    host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
}

/// The paths that a route answers for. Compared with the normalised path, never the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// `"/health"`: this path alone.
    Exact(Box<str>),
    /// `"/v2/*"`: `/v2`, `/v2/` and everything below, but not `/v2x`. Holds the prefix without
    /// its last slash: `/v2`; empty for `"/*"`, which is every path.
    Prefix(Box<str>),
    /// `"/users/*/avatar"`: each star stands for one segment that is not empty; a last `/**`
    /// stands for the rest.
    Glob(Box<str>),
}

impl PathPattern {
    /// Every path.
    pub fn everything() -> PathPattern {
        PathPattern::Prefix("".into())
    }

    /// True if `path` (normalised, without the query) is meant.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            PathPattern::Exact(exact) => path == &**exact,
            PathPattern::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            PathPattern::Glob(glob) => glob_matches(glob, path),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(text) | PathPattern::Glob(text) => f.write_str(text),
            PathPattern::Prefix(prefix) => write!(f, "{prefix}/*"),
        }
    }
}

impl FromStr for PathPattern {
    type Err = BadText;

    fn from_str(text: &str) -> Result<PathPattern, BadText> {
        check_path(text)?;
        if text.contains("/:") {
            return Err(BadText("any one segment is `*`, as in \"/id/*/x\"; it has no name"));
        }
        let Some(prefix) = text.strip_suffix("/*") else {
            return path_without_prefix(text);
        };
        if prefix.contains('*') {
            return path_without_prefix(text);
        }
        Ok(PathPattern::Prefix(prefix.into()))
    }
}

fn path_without_prefix(text: &str) -> Result<PathPattern, BadText> {
    if !text.contains('*') {
        return Ok(PathPattern::Exact(text.into()));
    }
    let last = text.split('/').count() - 1;
    let is_star = |(index, part): (usize, &str)| match part {
        "**" => index == last,
        part => part == "*" || !part.contains('*'),
    };
    if text.split('/').enumerate().all(is_star) {
        return Ok(PathPattern::Glob(text.into()));
    }
    Err(BadText("a star stands for a whole segment, as in \"/users/*/avatar\" or \"/v2/*\""))
}

/// Segment by segment, without backtracking: `**` can only be last.
fn glob_matches(glob: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in glob.split('/') {
        match (part, segments.next()) {
            ("**", Some(_)) => return true,
            ("*", Some(segment)) if !segment.is_empty() => {}
            (part, Some(segment)) if part == segment && part != "*" => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// A path that a request is sent with in place of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathText(Box<str>);

impl PathText {
    /// The path, starting with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PathText {
    type Err = BadText;

    fn from_str(text: &str) -> Result<PathText, BadText> {
        check_path(text)?;
        Ok(PathText(text.into()))
    }
}

/// RFC 3986 §3.3: what a path holds; a query or fragment would never match.
fn check_path(text: &str) -> Result<(), BadText> {
    if !text.starts_with('/') {
        return Err(BadText("a path starts with \"/\""));
    }
    if text.contains(['?', '#']) {
        return Err(BadText("a path has no query; match that with `query`"));
    }
    let is_graphic = |byte: u8| (b'!'..=b'~').contains(&byte);
    if !text.bytes().all(is_graphic) {
        return Err(BadText("a path is ASCII without spaces; percent-encode the rest"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(BadText("a path has at most 2048 bytes"));
    }
    if text.split('/').any(|part| part == "." || part == "..") || text.contains("//") {
        return Err(BadText("paths are matched normalised: no \".\", \"..\" or \"//\""));
    }
    text.bytes().enumerate().filter(|(_, byte)| *byte == b'%').try_for_each(|(at, _)| {
        check_encoding(text.as_bytes().get(at + 1..at + 3).unwrap_or_default())
    })
}

/// RFC 3986 §6.2.2: in the normal form, unreserved bytes stand for themselves and encodings are
/// upper case. A pattern in any other form would match nothing, and guard nothing.
fn check_encoding(digits: &[u8]) -> Result<(), BadText> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let is_hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u8::from_str_radix(text, 16) {
        Ok(0) if is_hex => Err(BadText("no request can carry an encoded NUL")),
        Ok(byte) if is_hex && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) => {
            Err(BadText("letters, digits and - . _ ~ are matched as themselves, not encoded"))
        }
        Ok(_) if is_hex && text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err(BadText("percent-encodings are matched in upper case"))
        }
        Ok(_) if is_hex => Ok(()),
        _ => Err(BadText("a percent sign needs two hexadecimal digits")),
    }
}

/// What the value of a header field, query parameter or the like must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// `true`: it is there, whatever it says.
    Present,
    /// `false`: it is not there.
    Absent,
    /// `"abc"`: exactly this.
    Exact(Box<str>),
    /// `"abc*"`: starts with this.
    Prefix(Box<str>),
    /// `"*abc"`: ends with this.
    Suffix(Box<str>),
    /// `"*abc*"`: has this in it.
    Contains(Box<str>),
}

impl TextMatch {
    /// True if `value` is as it must be; None where there is no such field.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return matches!(self, TextMatch::Absent) };
        match self {
            TextMatch::Present => true,
            TextMatch::Absent => false,
            TextMatch::Exact(text) => value == text.as_bytes(),
            TextMatch::Prefix(text) => value.starts_with(text.as_bytes()),
            TextMatch::Suffix(text) => value.ends_with(text.as_bytes()),
            TextMatch::Contains(text) => {
                value.windows(text.len()).any(|window| window == text.as_bytes())
            }
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextMatch::Present => f.write_str("true"),
            TextMatch::Absent => f.write_str("false"),
            TextMatch::Exact(text) => f.write_str(text),
            TextMatch::Prefix(text) => write!(f, "{text}*"),
            TextMatch::Suffix(text) => write!(f, "*{text}"),
            TextMatch::Contains(text) => write!(f, "*{text}*"),
        }
    }
}

impl FromStr for TextMatch {
    type Err = BadText;

    fn from_str(text: &str) -> Result<TextMatch, BadText> {
        let inner = text.strip_prefix('*').unwrap_or(text);
        let inner = inner.strip_suffix('*').unwrap_or(inner);
        if inner.is_empty() && !text.is_empty() {
            return Err(BadText("write `true` for any value, `false` for none"));
        }
        if inner.contains('*') {
            return Err(BadText("a star stands only at the start or the end"));
        }
        let is_allowed = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
        if !text.bytes().all(is_allowed) {
            return Err(BadText("has control characters, which no request can carry"));
        }
        let inner_text = inner.into();
        Ok(match (text.starts_with('*'), text.ends_with('*')) {
            (false, false) => TextMatch::Exact(inner_text),
            (false, true) => TextMatch::Prefix(inner_text),
            (true, false) => TextMatch::Suffix(inner_text),
            (true, true) => TextMatch::Contains(inner_text),
        })
    }
}

text_settings! {
    HostPattern: "a host: \"example.com\", or \"*.example.com\" for all below it";
    PathPattern: "a path: \"/exact\", \"/below/*\", or \"/a/*/b\" with one segment for the star";
    PathText: "a path that starts with \"/\"";
}

const HOST_BYTES_MAX: usize = 253;
const PATH_BYTES_MAX: usize = 2_048;
