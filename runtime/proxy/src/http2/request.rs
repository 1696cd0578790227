//! A request's head, from HTTP/2's fields to the head that an exchange knows.
//!
//! It goes through the parser of HTTP/1, written as the message that an endpoint would get. What
//! that parser refuses is what smuggles requests where HTTP/2 is turned into HTTP/1: it has one
//! reading, ours. Not for what `h2` refuses before: RFC 9113 §8.2 and §8.3 on names, order and
//! number of pseudo-fields, fields of the connection, and `TE`.

use http::header::{COOKIE, HOST, HeaderMap};
use http::request::Parts;
use http::{Method, Version};
use penstock_wire::http1::{Framing, Lenient, Limits, Parsed, RequestHead, host, parse_request};

use crate::failure::Cause;

/// Fills `head` from what came on a stream, with `text` as room to write in. `bare` says that the
/// stream ended with its head. The bytes of the head are the answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(
    parts: &Parts,
    bare: bool,
    (limits, lenient): (&Limits, Lenient),
    text: &mut Vec<u8>,
    head: &mut RequestHead,
) -> Result<usize, Cause> {
    debug_assert_eq!(parts.version, Version::HTTP_2);
    text.clear();
    write_line(parts, text)?;
    write_fields(&parts.headers, parts.uri.authority().is_some(), text)?;
    text.extend_from_slice(b"\r\n");
    match parse_request(text, limits, lenient, head) {
        Ok(Parsed::Complete { head_bytes }) if head_bytes == text.len() => {}
        // An empty line within: values hold no line feed, so there is none.
        Ok(Parsed::Complete { .. } | Parsed::Partial) => return Err(Cause::InvalidFieldValue),
        Err(error) => return Err(error.into()),
    }
    if !bare && head.framing() == Framing::None && parts.method != Method::CONNECT {
        head.set_framing(Framing::Chunked);
    }
    Ok(text.len())
}

/// The request line, and `Host` behind it.
fn write_line(parts: &Parts, text: &mut Vec<u8>) -> Result<(), Cause> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    text.extend_from_slice(parts.method.as_str().as_bytes());
    text.push(b' ');
    if parts.method == Method::CONNECT {
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

fn write_fields(fields: &HeaderMap, has_host: bool, text: &mut Vec<u8>) -> Result<(), Cause> {
    for (name, value) in fields {
        let value = value.as_bytes();
        // RFC 9113 §8.2.1: a value does not begin or end with a blank.
        if [value.first(), value.last()].iter().flatten().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Cause::InvalidFieldValue);
        }
        if name == COOKIE || (name == HOST && has_host) {
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
    Ok(())
}

fn put(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
