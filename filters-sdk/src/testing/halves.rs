//! What a host does with one half of an exchange: shows its pieces, holds them, lets them go.

use penstock_filters_sdk_abi::{Action, BufferType, MapType, StreamType};

use crate::filter::Filter;
use crate::runtime::{Http, Runtime, Tail};
use crate::sys::native::{self, Fields, Half, LocalAnswer, Stage, Stream};

/// How the host stands with a half.
pub(super) fn of(stream: &mut Stream, half: StreamType) -> &mut Half {
    &mut stream.halves[usize::from(half == StreamType::HttpResponse)]
}

/// A head has come; `end` if nothing follows it.
pub(super) fn show_head<F: Filter>(
    runtime: &Runtime<Http<F>>,
    context: u32,
    half: StreamType,
    end: bool,
) {
    step(runtime, context, half, Stage::Head, || match half {
        StreamType::HttpRequest => runtime.on_request_headers(context, end),
        _ => runtime.on_response_headers(context, end),
    });
}

/// A part of a body has come. The host holds it behind a head that waits, unless that is held
/// alone.
pub(super) fn show_body<F: Filter>(
    runtime: &Runtime<Http<F>>,
    context: u32,
    half: StreamType,
    bytes: &[u8],
    end: bool,
) {
    let shown = native::with(|double| {
        let heads_only = double.heads_only;
        let stream = stream(double, context);
        let state = of(stream, half);
        if state.waits == Some(Stage::Head) && !heads_only {
            let (body, ended) = state.unseen.body.get_or_insert_default();
            body.extend_from_slice(bytes);
            *ended = end;
            return None;
        }
        state.ended |= end;
        let held = state.waits.is_some();
        let body = stream.bodies.entry(buffer(half) as u32).or_default();
        if !held {
            body.clear();
        }
        body.extend_from_slice(bytes);
        Some(body.len())
    });
    let Some(length) = shown else { return };
    step(runtime, context, half, Stage::Body, || match half {
        StreamType::HttpRequest => runtime.on_request_body(context, length, end),
        _ => runtime.on_response_body(context, length, end),
    });
}

/// Trailers have come, likewise.
pub(super) fn show_trailers<F: Filter>(runtime: &Runtime<Http<F>>, context: u32, half: StreamType) {
    let has = native::with(|double| {
        let heads_only = double.heads_only;
        let stream = stream(double, context);
        let state = of(stream, half);
        if state.waits == Some(Stage::Head) && !heads_only {
            state.unseen.trailers = true;
            return None;
        }
        let (held, ended) = (state.waits.is_some(), state.ended);
        state.ended = true;
        if !held {
            // What has gone on is not shown again.
            stream.bodies.remove(&(buffer(half) as u32));
        }
        Some(Tail { body: !ended, trailers: true })
    });
    let Some(has) = has else { return };
    step(runtime, context, half, Stage::Trailers, || match half {
        StreamType::HttpRequest => runtime.on_request_trailers(context, has),
        _ => runtime.on_response_trailers(context, has),
    });
}

/// After a reply: what it let go goes on, and what came behind that is shown.
pub(crate) fn catch_up<F: Filter>(runtime: &Runtime<Http<F>>) {
    let contexts: Vec<u32> = native::with(|double| double.streams.keys().copied().collect());
    for context in contexts {
        for half in [StreamType::HttpRequest, StreamType::HttpResponse] {
            let unseen = native::with(|double| {
                let stream = stream(double, context);
                let continued = continued(stream, half);
                let state = of(stream, half);
                if state.waits.is_none() || state.continued == continued {
                    return None;
                }
                state.waits = None;
                Some(core::mem::take(&mut state.unseen))
            });
            let Some(unseen) = unseen else { continue };
            if let Some((body, end)) = unseen.body {
                show_body(runtime, context, half, &body, end);
            }
            if unseen.trailers {
                show_trailers(runtime, context, half);
            }
        }
        show_answer(runtime, context);
    }
}

/// Runs a callback, and remembers what it said.
fn step<F: Filter>(
    runtime: &Runtime<Http<F>>,
    context: u32,
    half: StreamType,
    stage: Stage,
    callback: impl FnOnce() -> u32,
) {
    let before = native::with(|double| {
        double.context = context;
        continued(stream(double, context), half)
    });
    let action = callback();
    native::with(|double| {
        let stream = stream(double, context);
        let now = continued(stream, half);
        let pauses = action == Action::Pause as u32 && now == before;
        let state = of(stream, half);
        state.waits = pauses.then_some(stage);
        state.continued = now;
    });
    show_answer(runtime, context);
}

/// An answer to a request passes the filter's callbacks for responses, which may change it and not
/// hold it.
fn show_answer<F: Filter>(runtime: &Runtime<Http<F>>, context: u32) {
    let body = native::with(|double| {
        double.context = context;
        let stream = stream(double, context);
        let head = MapType::ResponseHeaders as u32;
        let (Some(answer), false) = (&stream.answer, stream.maps.contains_key(&head)) else {
            return None;
        };
        if core::mem::replace(&mut stream.answer_shown, true) {
            return None;
        }
        let status = (":status".to_owned(), answer.status.to_string().into_bytes());
        let fields = [status].into_iter().chain(answer.headers.iter().cloned());
        stream.maps.insert(head, fields.collect());
        stream.bodies.insert(BufferType::ResponseBody as u32, answer.body.clone());
        Some(answer.body.len())
    });
    let Some(length) = body else { return };
    let goes_on = |action| action == Action::Continue as u32;
    let mut taken = goes_on(runtime.on_response_headers(context, length == 0));
    if taken && length > 0 {
        taken = goes_on(runtime.on_response_body(context, length, true));
    }
    native::with(|double| {
        let Stream { maps, bodies, answer, .. } = stream(double, context);
        let fields = maps.get(&(MapType::ResponseHeaders as u32));
        if let (Some(answer), Some(fields)) = (answer, fields) {
            change(answer, fields);
            let body = bodies.get(&(BufferType::ResponseBody as u32)).filter(|_| taken);
            answer.body = body.cloned().unwrap_or_else(|| core::mem::take(&mut answer.body));
        }
    });
}

/// Puts changed fields in an answer.
fn change(answer: &mut LocalAnswer, fields: &Fields) {
    let (status, headers): (Fields, Fields) =
        fields.iter().cloned().partition(|(name, _)| name == ":status");
    let status = status.first().and_then(|(_, value)| str::from_utf8(value).ok()?.parse().ok());
    answer.status = status.unwrap_or(answer.status);
    answer.headers = headers;
}

fn stream(double: &mut native::Double, context: u32) -> &mut Stream {
    double.streams.get_mut(&context).expect("it lives as long as its exchange")
}

/// How often the filter had this half continued.
fn continued(stream: &Stream, half: StreamType) -> usize {
    stream.continued.iter().filter(|one| **one == half).count()
}

fn buffer(half: StreamType) -> BufferType {
    match half {
        StreamType::HttpRequest => BufferType::RequestBody,
        _ => BufferType::ResponseBody,
    }
}
