//! The four forms of a request target (RFC 9112 §3.2) and which methods allow them.

use std::ops::Range;

use memchr::memchr;

use super::error::RequestError;
use super::request::Method;
use super::{host, token};

/// The form in which a target came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, for CONNECT alone.
    Authority,
    /// `*`, for OPTIONS alone.
    Asterisk,
}

/// The scheme of an absolute target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// The port that an authority without one means.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A target taken apart; ranges are relative to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) form: TargetForm,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<Range<usize>>,
    /// From the path's slash to the query's end; without the slash where an absolute target has
    /// no path.
    pub(super) path_and_query: Range<usize>,
}

/// Takes `target` apart.
pub(super) fn parse(target: &[u8], method: Method) -> Result<Target, RequestError> {
    if !token::is_target(target) {
        return Err(RequestError::InvalidTarget);
    }
    let whole = 0..target.len();
    // RFC 9112 §3.2.3: CONNECT takes the authority form, and nothing else does.
    if method == Method::Connect {
        let valid = host::split(target).is_some_and(|authority| authority.port.is_some());
        let end = target.len();
        return valid
            .then_some(Target {
                form: TargetForm::Authority,
                scheme: None,
                authority: Some(whole),
                path_and_query: end..end,
            })
            .ok_or(RequestError::InvalidTarget);
    }
    let (form, scheme, authority, path_and_query) = match target {
        [b'/', ..] => (TargetForm::Origin, None, None, whole),
        // RFC 9112 §3.2.4: the asterisk form is for a server-wide OPTIONS.
        b"*" if method == Method::Options => (TargetForm::Asterisk, None, None, whole),
        _ => {
            let (scheme, start) = split_scheme(target).ok_or(RequestError::InvalidTarget)?;
            let end = target[start..]
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .map_or(target.len(), |at| start + at);
            // RFC 9110 §4.2.4: user information is refused, it serves to mislead.
            if host::split(&target[start..end]).is_none() {
                return Err(RequestError::InvalidHost);
            }
            (TargetForm::Absolute, Some(scheme), Some(start..end), end..target.len())
        }
    };
    Ok(Target { form, scheme, authority, path_and_query })
}

/// Bytes of the path in `path_and_query`.
pub(super) fn path_bytes(path_and_query: &[u8]) -> usize {
    memchr(b'?', path_and_query).unwrap_or(path_and_query.len())
}

fn split_scheme(target: &[u8]) -> Option<(Scheme, usize)> {
    let starts = |prefix: &[u8]| {
        target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if starts(b"http://") {
        Some((Scheme::Http, 7))
    } else if starts(b"https://") {
        Some((Scheme::Https, 8))
    } else {
        None
    }
}
