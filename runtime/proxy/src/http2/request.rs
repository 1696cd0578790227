//! A request's head, from HTTP/2's fields to the head that an exchange knows.
//!
//! It goes through the parser of HTTP/1, written as the message that an endpoint would get. What
//! that parser refuses is what smuggles requests where HTTP/2 is turned into HTTP/1: it has one
//! reading, ours. Not for what `h2` refuses before: RFC 9113 §8.2 and §8.3 on names, order and
//! number of pseudo-fields, fields of the connection, and `TE`.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, SEC_WEBSOCKET_KEY, TRAILER};
use http::request::Parts;
use http::{Method, Version};
use penstock_wire::http1::{Framing, Lenient, Limits, Parsed, RequestHead, host, parse_request};
use penstock_wire::websocket;

use crate::failure::Cause;

/// What a request of HTTP/2 asks for, beside what its head says.
#[derive(Clone, Copy)]
pub(super) enum Wish<'a> {
    /// An answer; the stream ended with the request's head, if that is true.
    Answer { bare: bool },
    /// That its stream be a WebSocket (RFC 8441 §5). Behind us it may have to be asked for as in
    /// HTTP/1.1, with this key (RFC 6455 §4.1).
    WebSocket { key: &'a str },
}

/// Fills `head` from what came on a stream, with `text` as room to write in. The bytes of the head
/// are the answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(
    parts: &Parts,
    wish: Wish<'_>,
    (limits, lenient): (&Limits, Lenient),
    text: &mut Vec<u8>,
    head: &mut RequestHead,
) -> Result<usize, Cause> {
    debug_assert_eq!(parts.version, Version::HTTP_2);
    text.clear();
    write_line(parts, wish, text)?;
    write_fields(&parts.headers, parts.uri.authority().is_some(), wish, text)?;
    text.extend_from_slice(b"\r\n");
    match parse_request(text, limits, lenient, head) {
        Ok(Parsed::Complete { head_bytes }) if head_bytes == text.len() => {}
        // An empty line within: values hold no line feed, so there is none.
        Ok(Parsed::Complete { .. } | Parsed::Partial) => return Err(Cause::InvalidFieldValue),
        Err(error) => return Err(error.into()),
    }
    let bare = matches!(wish, Wish::Answer { bare: true });
    // RFC 9112 §7.1.2: HTTP/1.1 has room for trailers behind chunks alone. `h2` holds the body to
    // its length.
    let trails =
        matches!(head.framing(), Framing::Length(_)) && parts.headers.contains_key(TRAILER);
    let unframed = head.framing() == Framing::None && parts.method != Method::CONNECT;
    if !bare && (unframed || trails) {
        head.set_framing(Framing::Chunked);
    }
    Ok(text.len())
}

/// The request line, and `Host` behind it.
fn write_line(parts: &Parts, wish: Wish<'_>, text: &mut Vec<u8>) -> Result<(), Cause> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let method = match wish {
        Wish::Answer { .. } => &parts.method,
        // As HTTP/1.1 says it (RFC 6455 §4.1): routes and filters need know nothing of this.
        Wish::WebSocket { .. } => &Method::GET,
    };
    text.extend_from_slice(method.as_str().as_bytes());
    text.push(b' ');
    if *method == Method::CONNECT {
        // RFC 9113 §8.5: no path, and an authority.
        text.extend_from_slice(authority.unwrap_or_default().as_bytes());
    } else {
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        // RFC 9113 §8.3.1: a path begins with a slash; for OPTIONS it may be `*`.
        let server_wide = path == "*" && parts.method == Method::OPTIONS;
        if !path.starts_with('/') && !server_wide {
            return Err(Cause::InvalidTarget);
        }
        text.extend_from_slice(path.as_bytes());
    }
    text.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        // RFC 9113 §8.3.1: `Host` must not name another host than `:authority` does.
        let mut hosts = parts.headers.get_all(HOST).iter();
        if hosts.any(|host| !host::same(host.as_bytes(), authority.as_bytes(), 0)) {
            return Err(Cause::HostMismatch);
        }
        put(text, b"host", authority.as_bytes());
    }
    Ok(())
}

fn write_fields(
    fields: &HeaderMap,
    has_host: bool,
    wish: Wish<'_>,
    text: &mut Vec<u8>,
) -> Result<(), Cause> {
    let asks = matches!(wish, Wish::WebSocket { .. });
    for (name, value) in fields {
        let value = value.as_bytes();
        // RFC 9113 §8.2.1: a value does not begin or end with a blank.
        if [value.first(), value.last()].iter().flatten().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Cause::InvalidFieldValue);
        }
        if name == COOKIE || (name == HOST && has_host) {
            continue;
        }
        // RFC 8441 §5: no key is used; RFC 9110 §9.3.6: nor is there a body.
        if asks && (name == SEC_WEBSOCKET_KEY || name == CONTENT_LENGTH) {
            continue;
        }
        put(text, name.as_str().as_bytes(), value);
    }
    // RFC 9113 §8.2.3: crumbs of a cookie become one field again.
    let mut crumbs = fields.get_all(COOKIE).iter();
    if let Some(first) = crumbs.next() {
        text.extend_from_slice(b"cookie: ");
        text.extend_from_slice(first.as_bytes());
        for crumb in crumbs {
            text.extend_from_slice(b"; ");
            text.extend_from_slice(crumb.as_bytes());
        }
        text.extend_from_slice(b"\r\n");
    }
    if let Wish::WebSocket { key } = wish {
        put(text, b"upgrade", websocket::NAME.as_bytes());
        put(text, b"connection", b"upgrade");
        put(text, SEC_WEBSOCKET_KEY.as_str().as_bytes(), key.as_bytes());
    }
    Ok(())
}

fn put(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
