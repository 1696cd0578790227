//! A request's head to HTTP/2's fields, and a response's back to the head that an exchange knows.
//!
//! A response goes through the parser of HTTP/1, as requests do on their way in: it has one
//! reading, ours.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, TE, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Request, Response, StatusCode};
use penstock_wire::http1::{
    Connection, Framing, Known, Lenient, Limits, Method, Parsed, RequestHead, RequestOutbound,
    ResponseHead, parse_response, reason,
};
use penstock_wire::websocket;

use crate::failure::Cause;
use crate::http2::response::put;

/// Whether a request asks for a WebSocket that its route allows. One with a body is none (RFC 6455
/// §4.1: a GET without one).
pub(super) fn asks_for_tunnel(head: &RequestHead, outbound: &RequestOutbound<'_>) -> bool {
    outbound.connection == Connection::Upgrade
        && websocket::is_named_by(head.upgrade())
        && matches!(outbound.framing, Framing::None | Framing::Length(0))
}

/// The request as it goes up, `tunnel` as an extended CONNECT (RFC 8441 §5); `None` when HTTP/2 has
/// no way to say it. What speaks of the connection stays behind (RFC 9113 §8.2.2).
pub(super) fn request_of(
    head: &RequestHead,
    outbound: &RequestOutbound<'_>,
    scheme: &'static str,
    tunnel: bool,
) -> Option<Request<()>> {
    let fields = head.fields();
    let host = fields.value_of_known(Known::Host).or(head.authority()).unwrap_or(outbound.host);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host).ok()?);
    uri.path_and_query = Some(path_and_query(head.path_and_query())?);
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(head.method_name()).ok()?;
    if tunnel {
        *request.method_mut() = http::Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static(websocket::NAME));
    }
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    // The values lie in one buffer: copied once, shared by all of them.
    let bytes = Bytes::copy_from_slice(fields.bytes());
    let mut map = HeaderMap::with_capacity(fields.all().len() + outbound.extra.len() + 2);
    for field in fields.all() {
        let ours = matches!(field.known, Known::Host | Known::ContentLength);
        if !field.is_live() || outbound.drop.contains(field.known) || ours {
            continue;
        }
        // RFC 8441 §5: no key is used.
        let name = field.name.of(&bytes);
        if tunnel && name.eq_ignore_ascii_case(SEC_WEBSOCKET_KEY.as_str().as_bytes()) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value.range()));
        put(&mut map, name, value);
    }
    for (name, value) in outbound.extra {
        put(&mut map, name, HeaderValue::from_bytes(value));
    }
    if let Framing::Length(length) = outbound.framing
        && !tunnel
    {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if head.te_trailers() {
        map.insert(TE, HeaderValue::from_static("trailers"));
    }
    *request.headers_mut() = map;
    Some(request)
}

/// What browsers and others send raw is encoded (RFC 3986 §2.1) where the library wants it so.
fn path_and_query(text: &[u8]) -> Option<PathAndQuery> {
    if let Ok(plain) = PathAndQuery::try_from(text) {
        return Some(plain);
    }
    let mut encoded = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b'"' => encoded.extend_from_slice(b"%22"),
            b'<' => encoded.extend_from_slice(b"%3C"),
            b'>' => encoded.extend_from_slice(b"%3E"),
            b'`' => encoded.extend_from_slice(b"%60"),
            byte => encoded.push(byte),
        }
    }
    PathAndQuery::try_from(encoded).ok()
}

/// What a response's head is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One before the last.
    Interim,
    /// The last; the stream ended with it, if that is true.
    Last { bare: bool },
    /// The last, and the stream is a WebSocket from here on.
    Tunnel,
}

/// Fills `head` from what came on a stream, with `text` as room to write in.
///
/// # Errors
/// It is no response that an HTTP/1 endpoint could have given.
pub(super) fn read<T>(
    response: &Response<T>,
    kind: Kind,
    (method, limits): (Method, &Limits),
    text: &mut Vec<u8>,
    head: &mut ResponseHead,
) -> Result<(), Cause> {
    text.clear();
    // As HTTP/1.1 says it (RFC 6455 §4.2.2).
    let switches = kind == Kind::Tunnel;
    let status = if switches { StatusCode::SWITCHING_PROTOCOLS } else { response.status() };
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(reason(status.as_u16()).as_bytes());
    text.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        // RFC 9110 §9.3.6: a tunnel has no length, whatever is said.
        if !switches || name != CONTENT_LENGTH {
            line(text, name, value.as_bytes());
        }
    }
    if switches {
        line(text, &UPGRADE, websocket::NAME.as_bytes());
        line(text, &CONNECTION, b"upgrade");
    }
    text.extend_from_slice(b"\r\n");
    head.clear();
    match parse_response(text, method, limits, Lenient::NONE, head) {
        Ok(Parsed::Complete { head_bytes }) if head_bytes == text.len() => {}
        Ok(Parsed::Complete { .. } | Parsed::Partial) => return Err(Cause::UpstreamMalformed),
        Err(error) => return Err(crate::exchange::cause_of_response(error)),
    }
    // RFC 9113 §8.6: nothing is switched on a stream.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Cause::UpstreamMalformed);
    }
    if kind == (Kind::Last { bare: true }) && head.framing() == Framing::UntilClose {
        head.set_framing(Framing::Length(0));
    }
    Ok(())
}

fn line(text: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
