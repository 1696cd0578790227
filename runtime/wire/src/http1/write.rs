//! Rendering heads: what was received and not touched is copied in runs, the rest is added.
//!
//! Nothing that speaks of the connection is copied: framing and `Connection` are written here,
//! from what was decided, so that a peer reads the message exactly as we did.

use super::field::Field;
use super::fields::Fields;
use super::framing::{Framing, decimal};
use super::known::{Known, KnownSet};
use super::request::RequestHead;
use super::response::ResponseHead;
use super::token;

/// What is said about the connection behind a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 stays open by itself.
    #[default]
    Implied,
    /// `keep-alive`, for a peer of HTTP/1.0 that asked to stay.
    KeepAlive,
    /// `close`.
    Close,
    /// `upgrade`, with the head's own `Upgrade`.
    Upgrade,
}

/// How a request goes upstream.
#[derive(Clone, Copy, Debug)]
pub struct RequestOutbound<'a> {
    /// How the body is framed; usually [`RequestHead::framing`].
    pub framing: Framing,
    /// What is said about the connection.
    pub connection: Connection,
    /// Received fields that are left out, usually because `extra` replaces them.
    pub drop: KnownSet,
    /// Fields added behind all others, as name and value.
    pub extra: &'a [(&'a [u8], &'a [u8])],
    /// The `Host` of a request that came without one (HTTP/1.0).
    pub host: &'a [u8],
}

impl RequestOutbound<'_> {
    /// The request as it came.
    pub fn of(head: &RequestHead) -> Self {
        RequestOutbound {
            framing: head.framing(),
            connection: Connection::Implied,
            drop: KnownSet::NONE,
            extra: &[],
            host: b"",
        }
    }
}

/// How a response goes downstream.
#[derive(Clone, Copy, Debug)]
pub struct ResponseOutbound<'a> {
    /// How the body is framed; usually [`ResponseHead::framing_to`] the downstream's version.
    pub framing: Framing,
    /// What is said about the connection.
    pub connection: Connection,
    /// Received fields that are left out, usually because `extra` replaces them.
    pub drop: KnownSet,
    /// Fields added behind all others, as name and value.
    pub extra: &'a [(&'a [u8], &'a [u8])],
}

impl ResponseOutbound<'_> {
    /// The response as it came.
    pub fn of(head: &ResponseHead) -> Self {
        ResponseOutbound {
            framing: head.framing(),
            connection: Connection::Implied,
            drop: KnownSet::NONE,
            extra: &[],
        }
    }
}

/// Appends the head to `out`, as HTTP/1.1 in origin form, its empty line included.
pub fn write_request(head: &RequestHead, outbound: &RequestOutbound<'_>, out: &mut Vec<u8>) {
    let fields = &head.fields;
    out.reserve(fields.bytes.len() + SPARE_BYTES);
    let mut run = Run::default();
    match head.line {
        Some(line) => run = Run { start: line.start, end: line.end },
        None => {
            out.extend_from_slice(head.method_name());
            out.push(b' ');
            let target = head.path_and_query();
            let connects = target.is_empty();
            out.extend_from_slice(if connects { head.authority().unwrap_or(b"/") } else { target });
            out.extend_from_slice(b" HTTP/1.1\r\n");
        }
    }
    // RFC 9112 §3.2: a request in HTTP/1.1 has a `Host`, right behind the start line.
    if fields.value_of_known(Known::Host).is_none() {
        run.flush(fields, out);
        write_line(out, b"Host", head.authority().unwrap_or(outbound.host));
    }
    let length = match outbound.framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let length_stays = length.is_some() && length == head.length;
    write_fields(fields, outbound.drop, length_stays, run, out);
    write_extra(outbound.extra, out);
    match outbound.framing {
        Framing::Length(length) if !length_stays => write_length(length, out),
        Framing::Chunked => out.extend_from_slice(CHUNKED),
        _ => {}
    }
    write_connection(outbound.connection, head.upgrade(), head.te_trailers, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head to `out`, as HTTP/1.1, its empty line included.
///
/// An HTTP/1.0 downstream understands it as long as the framing is one it knows: a server says
/// its own version (RFC 9110 §6.2).
pub fn write_response(head: &ResponseHead, outbound: &ResponseOutbound<'_>, out: &mut Vec<u8>) {
    let fields = &head.fields;
    out.reserve(fields.bytes.len() + SPARE_BYTES);
    let mut run = Run::default();
    match head.line {
        Some(line) => run = Run { start: line.start, end: line.end },
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(decimal(u64::from(head.status), &mut [0; 20]));
            out.push(b' ');
            out.extend_from_slice(head.reason());
            out.extend_from_slice(b"\r\n");
        }
    }
    // The answer to HEAD, and a 304, say the length of a body that does not follow.
    let length_stays = match outbound.framing {
        Framing::Length(length) => head.length == Some(length),
        Framing::None => head.length.is_some(),
        Framing::Chunked | Framing::UntilClose => false,
    };
    write_fields(fields, outbound.drop, length_stays, run, out);
    write_extra(outbound.extra, out);
    match outbound.framing {
        Framing::Length(length) if !length_stays => write_length(length, out),
        Framing::Chunked => out.extend_from_slice(CHUNKED),
        _ => {}
    }
    write_connection(outbound.connection, head.upgrade(), false, out);
    out.extend_from_slice(b"\r\n");
}

/// Bytes of the head that are copied in one go.
#[derive(Clone, Copy, Default)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    #[inline]
    fn add(&mut self, field: &Field, fields: &Fields, out: &mut Vec<u8>) {
        if field.name.start != self.end {
            self.flush(fields, out);
            self.start = field.name.start;
        }
        self.end = field.line_end;
    }

    #[inline]
    fn flush(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        out.extend_from_slice(&fields.bytes[self.start as usize..self.end as usize]);
        *self = Run { start: self.end, end: self.end };
    }
}

fn write_fields(
    fields: &Fields,
    drop: KnownSet,
    length_stays: bool,
    mut run: Run,
    out: &mut Vec<u8>,
) {
    let drop = if length_stays { drop } else { drop.with(Known::ContentLength) };
    for field in &fields.list {
        if field.is_live() && !drop.contains(field.known) {
            run.add(field, fields, out);
        }
    }
    run.flush(fields, out);
}

fn write_extra(extra: &[(&[u8], &[u8])], out: &mut Vec<u8>) {
    for (name, value) in extra {
        debug_assert!(token::is_token(name) && token::is_field_value(value));
        write_line(out, name, value);
    }
}

fn write_connection(
    connection: Connection,
    upgrade: Option<&[u8]>,
    te_trailers: bool,
    out: &mut Vec<u8>,
) {
    let option: &[u8] = match (connection, upgrade) {
        (Connection::Upgrade, Some(protocol)) => {
            write_line(out, b"Upgrade", protocol);
            b"upgrade"
        }
        (Connection::Implied | Connection::Upgrade, _) => b"",
        (Connection::KeepAlive, _) => b"keep-alive",
        (Connection::Close, _) => b"close",
    };
    // RFC 9110 §10.1.4: who sends `TE` names it in `Connection`.
    if te_trailers {
        write_line(out, b"TE", b"trailers");
    }
    match (option, te_trailers) {
        (b"", false) => {}
        (b"", true) => write_line(out, b"Connection", b"TE"),
        (option, false) => write_line(out, b"Connection", option),
        (option, true) => {
            out.extend_from_slice(b"Connection: ");
            out.extend_from_slice(option);
            out.extend_from_slice(b", TE\r\n");
        }
    }
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    write_line(out, b"Content-Length", decimal(length, &mut [0; 20]));
}

fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Room for what is added to a head, so that it rarely grows twice.
const SPARE_BYTES: usize = 256;
