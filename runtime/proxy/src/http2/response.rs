//! A response's head, from the one that an exchange knows to HTTP/2's fields.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use penstock_wire::grpc::Code;
use penstock_wire::http1::{Fields, Framing, Known, ResponseHead, ResponseOutbound, reason};

/// The head as it goes down. What speaks of the connection stays behind (RFC 9113 §8.2.2).
pub(super) fn head_of(head: &ResponseHead, outbound: &ResponseOutbound<'_>) -> Response<()> {
    let fields = head.fields();
    // RFC 8441 §5: what HTTP/1.1 says by 101, this does by 200.
    let switches = head.status() == 101;
    // The values lie in one buffer: copied once, shared by all of them.
    let bytes = Bytes::copy_from_slice(fields.bytes());
    let mut map = HeaderMap::with_capacity(fields.all().len() + outbound.extra.len() + 1);
    for field in fields.all() {
        // The answer to HEAD, and a 304, say the length of a body that does not follow.
        let is_length = field.known == Known::ContentLength;
        let stays = !is_length || (outbound.framing == Framing::None && !switches);
        if !field.is_live() || outbound.drop.contains(field.known) || !stays {
            continue;
        }
        // RFC 8441 §5: the stream's own success says as much.
        if switches && field.name.of(&bytes).eq_ignore_ascii_case(b"sec-websocket-accept") {
            continue;
        }
        put(
            &mut map,
            field.name.of(&bytes),
            HeaderValue::from_maybe_shared(bytes.slice(field.value.range())),
        );
    }
    for (name, value) in outbound.extra {
        put(&mut map, name, HeaderValue::from_bytes(value));
    }
    if let Framing::Length(length) = outbound.framing {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(if switches { 200 } else { head.status() })
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = map;
    response
}

/// The bytes of a head, as HTTP/1 would say it.
pub(super) fn bytes_of(head: &Response<()>) -> usize {
    let line = b"HTTP/1.1 200 \r\n".len() + reason(head.status().as_u16()).len();
    let fields = head.headers().iter();
    line + fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + 2
}

/// Trailers as they go down; `None` where there are none.
pub(super) fn trailers_of(fields: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter() {
        put(&mut map, name, HeaderValue::from_bytes(value));
    }
    (!map.is_empty()).then_some(map)
}

/// The trailers of a gRPC call that says nothing but how it ended.
pub(super) fn status_of_call(code: Code) -> HeaderMap {
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static(code.digits()));
    HeaderMap::from_iter([status])
}

/// Adds a field. Names and values were checked when they came in; `http` knows a limit of its own
/// on their number, and what lies over it is left out.
pub(super) fn put<Error>(map: &mut HeaderMap, name: &[u8], value: Result<HeaderValue, Error>) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
        let _ = map.try_append(name, value);
    }
}
