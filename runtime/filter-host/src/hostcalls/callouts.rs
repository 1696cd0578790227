//! HTTP calls of the filter's own, and how calls that are over ended.

use std::sync::Arc;
use std::time::Duration;

use crate::PairList;
use crate::abi::Status;
use crate::contexts::{ContextId, Kind};
use crate::grpc::GrpcEvent;
use crate::guest::{Answer, Guest, slice};
use crate::hostcalls::headers::PAIRS_MAX;
use crate::session::Callout;
use crate::state::State;

/// `proxy_http_call`. The call belongs to the effective context: it is cancelled when that ends.
/// One that is made at the end is the root context's.
#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
pub(super) fn http_call(
    guest: &mut Guest<'_>,
    cluster: u32,
    cluster_bytes: u32,
    fields: u32,
    fields_bytes: u32,
    body: u32,
    body_bytes: u32,
    trailers: u32,
    trailers_bytes: u32,
    timeout_ms: u32,
    out: u32,
) -> Answer {
    // Tried before the call is made: a call whose token can't be told could not be awaited.
    guest.write_u32(out, 0)?;
    let (memory, state) = guest.split()?;
    let cluster = slice(memory, cluster, cluster_bytes)?;
    let fields = slice(memory, fields, fields_bytes)?;
    let body = slice(memory, body, body_bytes)?;
    let trailers = slice(memory, trailers, trailers_bytes)?;
    let headers = PairList::parse(fields, PAIRS_MAX).map_err(|_| Status::BadArgument)?;
    let trailers = PairList::parse(trailers, PAIRS_MAX).map_err(|_| Status::BadArgument)?;
    let named = |name: &[u8]| headers.value(name).is_some_and(|value| !value.is_empty());
    if ![b":method" as &[u8], b":path", b":authority"].into_iter().all(named) {
        return Err(Status::BadArgument.into());
    }
    let clusters = Arc::clone(&state.settings.clusters);
    let cluster_index = clusters.iter().position(|name| name.as_bytes() == cluster);
    let cluster_index = cluster_index.ok_or(Status::BadArgument)?;
    let timeout_ms = i32::try_from(timeout_ms).map_err(|_| Status::BadArgument)?;
    let over_count = state.callouts.open.len() >= state.settings.callouts_max as usize;
    if over_count || body.len() + fields.len() > state.settings.hostcall_bytes_max {
        state.counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    let owner = state.caller().ok_or(Status::BadArgument)?;
    let token = state.callouts.next_token();
    state.callouts.open.insert(token, owner);
    let callout = Callout {
        token,
        link: 0,
        cluster: Arc::clone(&clusters[cluster_index]),
        cluster_index,
        headers,
        body: body.to_vec(),
        trailers,
        timeout: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.unsigned_abs().into())),
        answer_bytes_max: state.settings.hostcall_bytes_max,
        grpc: None,
    };
    post(state, owner, callout)?;
    Ok(guest.write_u32(out, token)?)
}

/// Puts a call where its owner's task finds it.
pub(super) fn post(state: &mut State, owner: ContextId, callout: Callout) -> Result<(), Status> {
    let context = state.contexts.find(owner).ok_or(Status::BadArgument)?;
    context.has_calls = true;
    context.mail().callouts.push_back(callout);
    match context.kind {
        Kind::Root { .. } => state.callouts.root_waiting = true,
        Kind::Stream { .. } if owner != state.call.stream => context.wake(),
        Kind::Stream { .. } => {}
    }
    Ok(())
}

/// `proxy_get_status`: of the call whose answer is being delivered.
pub(super) fn call_status(guest: &mut Guest<'_>, code: u32, text: u32, bytes: u32) -> Answer {
    let state = guest.state();
    let State { call, scratch, .. } = state;
    let (status, message) = match call.grpc() {
        Some(GrpcEvent::Closed { status, message }) => (*status, &**message),
        Some(_) | None => call.status,
    };
    scratch.clear();
    scratch.extend_from_slice(message.as_bytes());
    guest.write_u32(code, status)?;
    guest.give_scratch(text, bytes)
}
