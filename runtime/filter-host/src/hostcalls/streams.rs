//! Letting a held stream go on, cutting it, answering it.
//!
//! These reach any exchange or connection of the instance, not only the one whose callback runs: a
//! filter that made many wait for one answer lets them all go from there. Its own task is woken.

use crate::PairList;
use crate::abi::{Status, StreamType};
use crate::contexts::{Context, Kind};
use crate::guest::{Answer, Guest, slice};
use crate::hostcalls::headers::PAIRS_MAX;
use crate::session::LocalResponse;
use crate::state::State;

/// Changes the effective context, which must be a stream's, and wakes its task.
fn change(state: &mut State, change: impl FnOnce(&mut Context)) -> Answer {
    let (effective, own) = (state.call.effective, state.call.stream);
    match state.contexts.find(effective) {
        Some(context) if matches!(context.kind, Kind::Stream { .. }) => {
            change(context);
            if effective != own {
                context.wake();
            }
            Ok(())
        }
        _ => Err(Status::BadArgument.into()),
    }
}

/// Whether the effective context is a raw connection's.
fn is_raw(state: &mut State) -> bool {
    let context = state.contexts.find(state.call.effective);
    context.is_some_and(|context| matches!(context.kind, Kind::Stream { raw: true, .. }))
}

/// `proxy_continue_stream`. Envoy has nothing for the upstream half of a connection.
pub(super) fn continue_stream(guest: &mut Guest<'_>, stream: u32) -> Answer {
    let stream = StreamType::from_u32(stream).ok_or(Status::BadArgument)?;
    match (stream, is_raw(guest.state())) {
        (StreamType::HttpRequest, false) | (StreamType::Downstream, true) => {
            continue_request(guest)
        }
        (StreamType::HttpResponse, false) | (StreamType::Upstream, true) => {
            continue_response(guest)
        }
        _ => Err(Status::Unimplemented.into()),
    }
}

/// `proxy_continue_request` of 0.1.0.
pub(super) fn continue_request(guest: &mut Guest<'_>) -> Answer {
    change(guest.state(), |context| context.resume_request = true)
}

/// `proxy_continue_response` of 0.1.0.
pub(super) fn continue_response(guest: &mut Guest<'_>) -> Answer {
    change(guest.state(), |context| context.resume_response = true)
}

/// `proxy_close_stream`. Either half of a connection means the whole, as in Envoy.
pub(super) fn close_stream(guest: &mut Guest<'_>, stream: u32) -> Answer {
    StreamType::from_u32(stream).ok_or(Status::BadArgument)?;
    change(guest.state(), |context| context.close = true)
}

/// `proxy_clear_route_cache` of 0.1.0; does nothing without an exchange, as in Envoy.
pub(super) fn clear_route_cache(guest: &mut Guest<'_>) -> Answer {
    if let Ok(session) = guest.state().call.session() {
        session.clear_route();
    }
    Ok(())
}

/// `proxy_send_local_response`. The first one counts, every later one is accepted and ignored. On a
/// raw connection there is nothing to answer with.
#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
pub(super) fn send_local_response(
    guest: &mut Guest<'_>,
    code: u32,
    details: u32,
    details_bytes: u32,
    body: u32,
    body_bytes: u32,
    fields: u32,
    fields_bytes: u32,
    grpc: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let details = slice(memory, details, details_bytes)?;
    let body = slice(memory, body, body_bytes)?;
    let fields = slice(memory, fields, fields_bytes)?;
    let headers = PairList::parse(fields, PAIRS_MAX).map_err(|_| Status::BadArgument)?;
    if is_raw(state) {
        return Err(Status::Unimplemented.into());
    }
    // RFC 9110 §15: 1xx are interim, and no final answer.
    let status = match u16::try_from(code) {
        Ok(status @ 200..=599) => status,
        _ => return Err(Status::BadArgument.into()),
    };
    if body.len() + fields.len() > state.settings.hostcall_bytes_max {
        state.counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    let details = &details[..details.len().min(DETAILS_BYTES_MAX)];
    let response = LocalResponse {
        status,
        details: String::from_utf8_lossy(details).into_owned(),
        headers,
        body: body.to_vec(),
        // -1 is how filters say that there is none.
        grpc_status: Some(grpc).filter(|&grpc| grpc != u32::MAX),
        failed: None,
    };
    change(state, |context| {
        if !context.answered {
            context.answered = true;
            context.mail().local_response = Some(Box::new(response));
        }
    })
}

/// Longer details are cut: they are for one field of the access log.
const DETAILS_BYTES_MAX: usize = 256;
