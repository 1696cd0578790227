//! Answers of our own: failures, fixed responses, redirects.

use std::borrow::Cow;
use std::rc::Rc;

use penstock_config::{FixedResponse, Redirect, TemplatePart};
use penstock_env::{Env, SendBuf, Timer, TimerExt};
use penstock_wire::grpc::{Code, Kind};
use penstock_wire::http1::{
    EditError, Framing, Known, KnownSet, Method, RequestHead, ResponseOutbound, Version, date,
    reason,
};

use super::Scratch;
use super::download::{connection_of, via};
use super::filtered::{Filtered, Heads};
use super::record::Arrival;
use super::record::Record;
use super::scratch::detail_of;
use super::{After, Exchange};
use crate::downstream::{Downstream, Rest};
use crate::failure::{Cause, Next};
use crate::grpc::{self, TrailersOnly};
use crate::snapshot::HttpProof;
use crate::worker::{Plan, Worker};

/// Answers bytes that are no request, counts them, and logs them.
pub(crate) async fn refuse<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    down: Downstream<'_, E>,
    scratch: &mut Scratch,
    cause: Cause,
    arrival: Arrival,
) -> After {
    let listener = &plan.snapshot.listeners[down.listener()];
    let mut exchange = Exchange { worker, plan, down, listener, record: Record::new(arrival) };
    // What the parser left is half a head: nothing of it is shown or trusted.
    scratch.begin();
    scratch.request.clear();
    scratch.upload.begin_nothing();
    let after = fail(&mut exchange, scratch, cause).await;
    exchange.finish(scratch);
    after
}

/// Answers for filters that stopped the exchange, or a failure that they are shown.
pub(crate) async fn stopped<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    filtered: &Filtered<'_, E>,
    cause: Cause,
) -> After {
    let Some(response) = filtered.take_response() else {
        return fail_filtered(exchange, scratch, Some(filtered), cause).await;
    };
    scratch.detail = detail_of(&response);
    let accepted = cause == Cause::FilterResponds && (200..300).contains(&response.status);
    if !accepted {
        exchange.fail(cause);
    }
    let mut fields: Vec<(&[u8], &[u8])> =
        response.headers.iter().filter(|(name, _)| !name.starts_with(b":")).collect();
    if !fields.iter().any(|(name, _)| Known::of(name) == Known::ContentType) {
        // In which encoding its text is, the filter alone knows. As in Envoy.
        fields.extend(
            (!response.body.is_empty())
                .then_some((b"Content-Type" as &[u8], b"text/plain" as &[u8])),
        );
    }
    let code = response.grpc_status.map(Code::of_number);
    let answer = Answer { status: response.status, fields: &fields, body: &response.body, code };
    send(exchange, scratch, Some(filtered), &answer, false).await
}

/// Answers a failure, as far as an answer can be given.
pub(crate) async fn fail<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    cause: Cause,
) -> After {
    fail_filtered(exchange, scratch, None, cause).await
}

/// As [`fail`], and the filters see the answer.
pub(crate) async fn fail_filtered<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    filtered: Option<&Filtered<'_, E>>,
    cause: Cause,
) -> After {
    exchange.fail(cause);
    let (status, closes) = match cause.next() {
        Next::Respond(status) => (status, false),
        Next::RespondAndClose(status) => (status, true),
        Next::Close => return After::Close,
    };
    let mut body = status.to_string();
    body.push(' ');
    body.push_str(reason(status));
    body.push('\n');
    let retry_after: &[(&[u8], &[u8])] =
        if status == 503 { &[(b"Retry-After", b"1")] } else { &[] };
    let code = Some(grpc::code_of(cause));
    let answer = Answer { status, fields: retry_after, body: body.as_bytes(), code };
    send(exchange, scratch, filtered, &answer, closes).await
}

/// A response from the config.
pub(crate) async fn fixed<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    filtered: Option<&Filtered<'_, E>>,
    fixed: &FixedResponse,
) -> After {
    if !(200..300).contains(&fixed.status) {
        exchange.fail(Cause::RouteResponds);
    }
    let fields: Vec<(&[u8], &[u8])> = fixed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_str().as_bytes()))
        .collect();
    let (status, body) = (fixed.status, fixed.body.as_bytes());
    let answer = Answer { status, fields: &fields, body, code: None };
    send(exchange, scratch, filtered, &answer, false).await
}

/// What an authority asks for, if the request does (RFC 8555 §8.3).
#[inline]
pub(crate) fn proof_for<'p>(
    proofs: &'p [HttpProof],
    request: &RequestHead,
) -> Option<&'p HttpProof> {
    if proofs.is_empty() || request.method() != Method::Get {
        return None;
    }
    proofs.iter().find(|proof| proof.path.as_bytes() == request.path())
}

/// Tells an authority what shows that a host is ours.
pub(crate) async fn proof<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    proof: &HttpProof,
) -> After {
    let fields: &[(&[u8], &[u8])] = &[(b"Content-Type", b"application/octet-stream")];
    let answer = Answer { status: 200, fields, body: proof.answer.as_bytes(), code: None };
    send(exchange, scratch, None, &answer, false).await
}

/// A redirect from the config.
pub(crate) async fn redirect<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    filtered: Option<&Filtered<'_, E>>,
    redirect: &Redirect,
) -> After {
    let request = &scratch.request;
    let mut target = Vec::new();
    for part in redirect.to.parts() {
        match part {
            TemplatePart::Text(text) => target.extend_from_slice(text.as_bytes()),
            TemplatePart::Host => target.extend_from_slice(request.host().unwrap_or_default()),
            TemplatePart::Path => target.extend_from_slice(&same_site(request.path())),
            TemplatePart::Query => {
                if let Some(query) = request.query() {
                    target.push(b'?');
                    target.extend_from_slice(query);
                }
            }
        }
    }
    exchange.fail(Cause::RouteRedirects);
    let fields: &[(&[u8], &[u8])] = &[(b"Location", &target)];
    let answer = Answer { status: redirect.status, fields, body: b"", code: None };
    send(exchange, scratch, filtered, &answer, false).await
}

/// A path that can't be read as another site's: `//host` would be (RFC 3986 §4.2), and to browsers
/// `/\host` is that.
fn same_site(path: &[u8]) -> Cow<'_, [u8]> {
    let slashes = path.iter().take_while(|&&byte| matches!(byte, b'/' | b'\\')).count();
    match &path[slashes.saturating_sub(1)..] {
        [b'\\', rest @ ..] => [b"/", rest].concat().into(),
        path => path.into(),
    }
}

/// An answer with a body that is already there.
struct Answer<'a> {
    status: u16,
    fields: &'a [(&'a [u8], &'a [u8])],
    body: &'a [u8],
    /// What the caller of a gRPC method is told, where the status does not say it well enough.
    code: Option<Code>,
}

impl Answer<'_> {
    const EMPTY: Answer<'static> = Answer { status: 204, fields: &[], body: b"", code: None };

    /// What a gRPC caller gets in its place; `None` for what went well.
    fn to_caller(&self, request: &RequestHead, web: Option<Kind>) -> Option<TrailersOnly> {
        let failed = || !(200..300).contains(&self.status);
        let code = self.code.or_else(|| failed().then(|| Code::of_http_status(self.status)))?;
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(MESSAGE_BYTES_MAX)]);
        Some(match text.trim_end() {
            "" => TrailersOnly::new(request, web, code, reason(self.status)),
            text => TrailersOnly::new(request, web, code, text),
        })
    }
}

/// Of a body that becomes a gRPC caller's message.
const MESSAGE_BYTES_MAX: usize = 1024;

async fn send<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    filtered: Option<&Filtered<'_, E>>,
    answer: &Answer<'_>,
    closes: bool,
) -> After {
    // RFC 8441 §5: a 2xx would say that there is a tunnel now.
    let refusal = Answer { status: 501, body: b"501 Not Implemented\n", ..Answer::EMPTY };
    let answer = match exchange.down.is_tunnel() && (200..300).contains(&answer.status) {
        true => {
            exchange.fail(Cause::TunnelRefused);
            &refusal
        }
        false => answer,
    };
    let (call, web) = (exchange.record.call, exchange.record.web);
    let told = call.and_then(|_| answer.to_caller(&scratch.request, web));
    let (call_fields, call_answer);
    let answer = match &told {
        Some(told) => {
            exchange.record.code = Some(told.code());
            call_fields = told.fields();
            call_answer = Answer { status: 200, fields: &call_fields, body: b"", code: None };
            &call_answer
        }
        None => answer,
    };
    if build(exchange, scratch, answer).is_err() {
        // A filter's answer with fields that can't be sent; one of ours always can.
        scratch.response.clear();
        let started = scratch.response.start(500);
        debug_assert!(started.is_ok(), "500 is a status");
    }
    let (mut body, to_head) =
        (Cow::Borrowed(answer.body), scratch.request.method() == Method::Head);
    if let Some(filtered) = filtered {
        let Scratch { request, response, .. } = &mut *scratch;
        let heads = Heads::of_response(request, response);
        filtered.local_response(heads, body.to_mut(), to_head);
    }
    let status = scratch.response.status();
    let unread = !scratch.upload.decoder.is_done();
    let keeps_alive = !closes && !unread && exchange.keeps_alive(scratch);
    let framing = match status {
        204 | 304 => Framing::None,
        _ if told.is_some() && body.is_empty() => exchange.down.framing_of_nothing(),
        _ => Framing::Length(body.len() as u64),
    };
    let stamp = date::http_date(exchange.worker.env().unix().us / 1_000_000);
    let cause =
        exchange.record.cause.filter(|_| exchange.plan.snapshot.config.observe.cause_header);
    let mut extra: Vec<(&[u8], &[u8])> = vec![(b"Date", &stamp)];
    extra.extend(cause.map(|cause| (&b"X-Penstock-Cause"[..], cause.name().as_bytes())));
    if exchange.listener.config.via {
        extra.extend_from_slice(via(Version::Http11));
    }
    let connection = connection_of(keeps_alive, scratch.request.version());
    let outbound = ResponseOutbound { framing, connection, drop: KnownSet::NONE, extra: &extra };
    let mut out = SendBuf::new(exchange.worker.env().buffer());
    let head_bytes = exchange.down.write_head(&scratch.response, &outbound, &mut out);
    // RFC 9110 §9.3.2, §15.3.5, §15.4.5: answers that have no content.
    if !to_head && framing != Framing::None {
        out.push(&body);
    }
    // Something may still be on its way: an interim answer, or the answer before this one.
    let (down, env) = (exchange.down, exchange.worker.env());
    down.timer().set(env.now() + exchange.listener.config.timeouts.write_stall);
    if !matches!(down.timer().race(down.sent()).await, Some(Ok(()))) {
        return After::Close;
    }
    let sent = (head_bytes, out.len());
    exchange.record.answer(status, sent, down.sends_heads_apart());
    exchange.down.start_send(out, Rest::End(None));
    match (keeps_alive, closes || unread || scratch.request.keep_alive()) {
        (true, _) => After::KeepAlive,
        (false, true) => After::Linger,
        (false, false) => After::Close,
    }
}

/// The answer's head, in the scratch.
fn build<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &mut Scratch,
    answer: &Answer<'_>,
) -> Result<(), EditError> {
    let head = &mut scratch.response;
    head.clear();
    head.start(answer.status)?;
    for (name, value) in answer.fields {
        match head.fields_mut().append(name, value) {
            // The length and its like are ours to say.
            Ok(()) | Err(EditError::Reserved) => {}
            Err(error) => return Err(error),
        }
    }
    let typed = head.fields().value_of_known(Known::ContentType).is_some();
    if !answer.body.is_empty() && !typed {
        head.fields_mut().append(b"Content-Type", b"text/plain; charset=utf-8")?;
    }
    match exchange.record.cause {
        // RFC 9110 §15.5.6: a 405 says what is allowed instead.
        Some(Cause::MethodNotAllowed) => {
            head.fields_mut().append(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        }
        _ => Ok(()),
    }
}
