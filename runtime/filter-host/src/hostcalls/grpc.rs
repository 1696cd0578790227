//! gRPC calls of the filter's own.
//!
//! Answers are those of Envoy, which public SDKs go by: the one for Rust panics at any other.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::PairList;
use crate::abi::Status;
use crate::grpc::{GrpcCall, Ongoing, Outgoing};
use crate::guest::{Answer, Guest, slice};
use crate::hostcalls::callouts::post;
use crate::hostcalls::headers::PAIRS_MAX;
use crate::session::Callout;
use crate::state::State;

/// Where an argument of the guest lies.
type Span = (u32, u32);

/// Whom a call is for, and with what.
struct Target {
    /// A cluster's name, or a serialised `GrpcService` that holds one.
    cluster: Span,
    service: Span,
    method: Span,
    metadata: Span,
}

/// `proxy_grpc_call`: one message up, one back.
#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
pub(super) fn call(
    guest: &mut Guest<'_>,
    cluster: u32,
    cluster_bytes: u32,
    service: u32,
    service_bytes: u32,
    method: u32,
    method_bytes: u32,
    metadata: u32,
    metadata_bytes: u32,
    message: u32,
    message_bytes: u32,
    timeout_ms: u32,
    out: u32,
) -> Answer {
    let target = Target {
        cluster: (cluster, cluster_bytes),
        service: (service, service_bytes),
        method: (method, method_bytes),
        metadata: (metadata, metadata_bytes),
    };
    open(guest, &target, Some((message, message_bytes)), timeout_ms, out)
}

/// `proxy_grpc_stream`: messages both ways, until a side ends.
#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
pub(super) fn stream(
    guest: &mut Guest<'_>,
    cluster: u32,
    cluster_bytes: u32,
    service: u32,
    service_bytes: u32,
    method: u32,
    method_bytes: u32,
    metadata: u32,
    metadata_bytes: u32,
    out: u32,
) -> Answer {
    let target = Target {
        cluster: (cluster, cluster_bytes),
        service: (service, service_bytes),
        method: (method, method_bytes),
        metadata: (metadata, metadata_bytes),
    };
    open(guest, &target, None, 0, out)
}

fn open(
    guest: &mut Guest<'_>,
    target: &Target,
    message: Option<Span>,
    timeout_ms: u32,
    out: u32,
) -> Answer {
    // Tried before the call is made: a call whose token can't be told could not be awaited.
    guest.write_u32(out, 0)?;
    let (memory, state) = guest.split()?;
    let read = |(at, bytes): Span| slice(memory, at, bytes);
    let (named, metadata) = (read(target.cluster)?, read(target.metadata)?);
    let (service, method) = (read(target.service)?, read(target.method)?);
    let message = message.map(read).transpose()?;
    let pairs = PairList::parse(metadata, PAIRS_MAX).map_err(|_| Status::ParseFailure)?;
    let clusters = Arc::clone(&state.settings.grpc_clusters);
    let place = |wanted: &[u8]| clusters.iter().position(|name| name.as_bytes() == wanted);
    // A name first: some names are messages of `GrpcService`, too, by their bytes.
    let cluster_index = place(named).or_else(|| place(cluster_in(named)?));
    let cluster_index = cluster_index.ok_or(Status::ParseFailure)?;
    let timeout_ms = i32::try_from(timeout_ms).map_err(|_| Status::InternalFailure)?;
    if !is_name(service) || !is_name(method) {
        return Err(Status::InternalFailure.into());
    }
    let limits = state.settings.grpc;
    let bytes = message.map_or(0, <[u8]>::len);
    if !has_room(state)
        || bytes > limits.message_bytes_max
        || bytes + metadata.len() > state.settings.hostcall_bytes_max
    {
        state.counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    let owner = state.caller().ok_or(Status::InternalFailure)?;
    let outgoing = Rc::new(Outgoing::default());
    if let Some(message) = message {
        // A single message is not one that waits: its own limit is enough.
        let _ = outgoing.put(message, true, usize::MAX);
    }
    let streams = message.is_none();
    let path = [b"/", service, b"/", method].concat();
    let cluster = Arc::clone(&clusters[cluster_index]);
    let head = [
        (b":method" as &[u8], b"POST" as &[u8]),
        (b":path", &path),
        (b":authority", cluster.as_bytes()),
    ];
    let token = state.callouts.next_token();
    let callout = Callout {
        token,
        link: 0,
        cluster: Arc::clone(&cluster),
        cluster_index,
        headers: head.into_iter().chain(pairs.iter()).collect(),
        body: Vec::new(),
        trailers: PairList::default(),
        timeout: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.unsigned_abs().into())),
        answer_bytes_max: state.settings.hostcall_bytes_max,
        grpc: Some(GrpcCall {
            streams,
            outgoing: Rc::clone(&outgoing),
            message_bytes_max: limits.message_bytes_max,
        }),
    };
    state.callouts.grpc.insert(token, Ongoing { owner, streams, closed: false, outgoing });
    post(state, owner, callout)?;
    state.counters().grpc_calls.add(1);
    Ok(guest.write_u32(out, token)?)
}

/// Whether one more call may be under way. Streams that the other side has closed give way.
fn has_room(state: &mut State) -> bool {
    let (calls, max) = (&mut state.callouts.grpc, state.settings.grpc.calls_max as usize);
    if calls.len() >= max {
        calls.retain(|_, call| !call.closed);
    }
    calls.len() < max
}

/// `proxy_grpc_send`: a message on a stream, the last one if `end`.
pub(super) fn send(
    guest: &mut Guest<'_>,
    token: u32,
    message: u32,
    message_bytes: u32,
    end: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let message = slice(memory, message, message_bytes)?;
    let limits = state.settings.grpc;
    let call = state.callouts.grpc.get(&token).ok_or(Status::NotFound)?;
    if !call.streams || !call.outgoing.is_open() {
        return Err(Status::BadArgument.into());
    }
    // In vain, as in Envoy: the other side reads no more.
    if call.closed {
        return Ok(());
    }
    let fits = message.len() <= limits.message_bytes_max
        && message.len() <= state.settings.hostcall_bytes_max
        && call.outgoing.put(message, end != 0, limits.buffered_bytes_max).is_ok();
    if !fits {
        state.counters().limits.add(1);
        return Err(Status::BadArgument.into());
    }
    Ok(())
}

/// `proxy_grpc_cancel`: nothing of the call is heard any more.
pub(super) fn cancel(guest: &mut Guest<'_>, token: u32) -> Answer {
    let cancelled = guest.state().callouts.grpc.remove(&token);
    cancelled.map(drop).ok_or(Status::NotFound.into())
}

/// `proxy_grpc_close`: no more messages go up on a stream. A call is cancelled by it, as in Envoy.
pub(super) fn close(guest: &mut Guest<'_>, token: u32) -> Answer {
    let calls = &mut guest.state().callouts.grpc;
    let call = calls.get(&token).ok_or(Status::NotFound)?;
    match call.streams && !call.closed {
        true => call.outgoing.end(),
        false => drop(calls.remove(&token)),
    }
    Ok(())
}

/// A part of a path, as `PROTOCOL-HTTP2.md` and protocol buffers have names.
fn is_name(bytes: &[u8]) -> bool {
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    !bytes.is_empty() && bytes.iter().all(of_name)
}

/// The cluster that a serialised `envoy.config.core.v3.GrpcService` names: `cluster_name` (1) of
/// its `envoy_grpc` (1). `None` where it names none, or is no such message.
fn cluster_in(bytes: &[u8]) -> Option<&[u8]> {
    first_field(first_field(bytes)?)
}

/// The bytes of field 1 of a message of protocol buffers, whose other fields are passed over.
fn first_field(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        // <https://protobuf.dev/programming-guides/encoding>: the lowest three bits are the type.
        let value_bytes = match key & 7 {
            0 => {
                number(&mut bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(number(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(value_bytes)?;
        // Of a field that is there twice, the last counts.
        if key == 1 << 3 | 2 {
            found = Some(value);
        }
        bytes = rest;
    }
    found
}

/// A number of up to 64 bits, seven to a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::cluster_in;

    #[track_caller]
    fn check(message: &[u8], expected: Option<&[u8]>) {
        assert_eq!(cluster_in(message), expected);
        // Whatever is cut off, it is read or refused.
        for end in 0..message.len() {
            let _ = cluster_in(&message[..end]);
        }
    }

    #[test]
    fn a_grpc_service_names_its_cluster() {
        check(b"\x0a\x06\x0a\x04auth", Some(b"auth"));
        // An authority (2) beside it, and a timeout (3) of two seconds behind both.
        check(b"\x0a\x09\x0a\x04auth\x12\x01a\x1a\x02\x08\x02", Some(b"auth"));
        // `google_grpc` (2) has no cluster.
        check(b"\x12\x03\x0a\x01x", None);
        check(b"\x0a\x02\x12\x00", None);
        check(b"auth", None);
        check(b"", None);
        check(&[0xff; 16], None);
    }
}
