//! Answers of our own: failures, fixed responses, redirects.

use penstock_config::{FixedResponse, Redirect, TemplatePart};
use penstock_env::{Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_wire::http1::{
    Connection, Framing, KnownSet, Method, ResponseHead, ResponseOutbound, date, reason,
    write_response,
};

use super::Scratch;
use super::connection::Downstream;
use super::download::connection_of;
use super::exchange::{After, Exchange};
use super::head::Arrival;
use super::record::Record;
use crate::failure::{Cause, Next};
use crate::worker::{Plan, Worker};

use std::rc::Rc;

/// Answers bytes that are no request, counts them, and logs them.
pub(crate) async fn refuse<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    down: &Downstream<E>,
    scratch: &mut Scratch,
    cause: Cause,
    arrival: Arrival,
) -> After {
    let listener = &plan.snapshot.listeners[down.life.listener];
    let mut exchange = Exchange { worker, plan, down, listener, record: Record::new(arrival) };
    // What the parser left is half a head: nothing of it is shown or trusted.
    scratch.request.clear();
    scratch.upload.restart(Framing::None, Framing::None);
    let after = fail(&mut exchange, scratch, cause).await;
    exchange.finish(scratch);
    after
}

/// Answers a failure, as far as an answer can be given.
pub(crate) async fn fail<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
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
    send(exchange, scratch, status, retry_after, body.as_bytes(), closes).await
}

/// A response from the config.
pub(crate) async fn fixed<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
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
    send(exchange, scratch, fixed.status, &fields, fixed.body.as_bytes(), false).await
}

/// A redirect from the config.
pub(crate) async fn redirect<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    redirect: &Redirect,
) -> After {
    let request = &scratch.request;
    let mut target = Vec::new();
    for part in redirect.to.parts() {
        match part {
            TemplatePart::Text(text) => target.extend_from_slice(text.as_bytes()),
            TemplatePart::Host => target.extend_from_slice(request.host().unwrap_or_default()),
            TemplatePart::Path => target.extend_from_slice(same_site(request.path())),
            TemplatePart::Query => {
                if let Some(query) = request.query() {
                    target.push(b'?');
                    target.extend_from_slice(query);
                }
            }
        }
    }
    exchange.fail(Cause::RouteRedirects);
    send(exchange, scratch, redirect.status, &[(b"Location", &target)], b"", false).await
}

/// A path that can't be read as another site's: `//host` would be (RFC 3986 §4.2).
fn same_site(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
    &path[slashes.saturating_sub(1)..]
}

/// Sends an answer with a body that is already there.
pub(crate) async fn send<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    status: u16,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    closes: bool,
) -> After {
    let unread = !scratch.request.framing().is_empty() && !scratch.upload.is_finished();
    let keeps_alive = !closes && !unread && exchange.keeps_alive(scratch);
    let mut out = SendBuf::new(exchange.worker.env().buffer());
    let head = Head { status, fields, body, keeps_alive };
    head.write(exchange, scratch, &mut out);
    // RFC 9110 §9.3.2, §15.3.5, §15.4.5: answers that have no content.
    let has_content = scratch.request.method() != Method::Head && !matches!(status, 204 | 304);
    if has_content {
        out.push(body);
    }
    // Something may still be on its way: an interim answer, or the answer before this one.
    let (down, env) = (exchange.down, exchange.worker.env());
    down.timer.set(env.now() + exchange.listener.config.timeouts.write_stall);
    if !matches!(down.timer.race(down.stream.sent()).await, Some(Ok(()))) {
        return After::Close;
    }
    exchange.record.status = status;
    exchange.record.bytes_out += out.len() as u64;
    exchange.down.stream.start_send(out);
    match (keeps_alive, closes || unread || scratch.request.keep_alive()) {
        (true, _) => After::KeepAlive,
        (false, true) => After::Linger,
        (false, false) => After::Close,
    }
}

struct Head<'a> {
    status: u16,
    fields: &'a [(&'a [u8], &'a [u8])],
    body: &'a [u8],
    keeps_alive: bool,
}

impl Head<'_> {
    fn write<E: Env>(
        &self,
        exchange: &Exchange<'_, E>,
        scratch: &mut Scratch,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) {
        let stamp = date::http_date(exchange.worker.env().unix().us / 1_000_000);
        let mut extra: Vec<(&[u8], &[u8])> = vec![(b"Date", &stamp)];
        let typed = self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        if !self.body.is_empty() && !typed {
            extra.push((b"Content-Type", b"text/plain; charset=utf-8"));
        }
        extra.extend_from_slice(self.fields);
        if let Some(cause) = exchange.record.cause
            && exchange.plan.snapshot.config.observe.cause_header
        {
            extra.push((b"X-Penstock-Cause", cause.name().as_bytes()));
        }
        if exchange.listener.config.via {
            extra.extend_from_slice(super::download::VIA);
        }
        let head: &mut ResponseHead = &mut scratch.response;
        head.clear();
        // A status outside 100..=999 was refused by the config.
        let started = head.start(self.status);
        debug_assert!(started.is_ok(), "{started:?}");
        let framing = match self.status {
            204 | 304 => Framing::None,
            _ => Framing::Length(self.body.len() as u64),
        };
        let connection: Connection = connection_of(self.keeps_alive, scratch.request.version());
        let outbound =
            ResponseOutbound { framing, connection, drop: KnownSet::NONE, extra: &extra };
        out.write(|buffer| write_response(head, &outbound, buffer));
    }
}
