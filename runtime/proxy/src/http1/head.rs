//! Reads a request's head: in place when it came in one piece, collected when it did not.

use std::io;
use std::time::Duration;

use penstock_config::Http2Mode;
use penstock_env::{Chunk, Env, Stream, StreamExt, Timer, TimerExt};
use penstock_wire::http1::{Parsed, parse_request};
use penstock_wire::http2::Preface;

use super::connection::Http1Connection;
use crate::crumbs;
use crate::exchange::{Arrival, Scratch};
use crate::failure::Cause;
use crate::snapshot::Listener;
use crate::worker::{Plan, Worker};

/// How waiting for a request ended.
pub(crate) enum Head {
    /// A request is in the scratch's head.
    Complete(Arrival),
    /// The peer is done, between requests.
    Ended,
    /// It is HTTP/2. What was read of it is in the scratch's `partial`, or was put back.
    Http2,
    /// What came is no request.
    Refused(Cause, Arrival),
}

/// What a peer said, or that it broke or ended.
pub(crate) type Received<E> = io::Result<Option<<<E as Env>::Stream as Stream>::Chunk>>;

/// Waits up to `idle` for a request to begin; `None` when none did.
pub(crate) async fn begin<E: Env>(
    worker: &Worker<E>,
    down: &Http1Connection<E>,
    idle: Duration,
) -> Option<Received<E>> {
    down.timer.set(worker.env().now() + idle);
    down.timer.race(down.stream.recv()).await
}

/// Waits for the head that begins with `first` to be complete.
pub(crate) async fn read<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    down: &Http1Connection<E>,
    scratch: &mut Scratch,
    first: Received<E>,
) -> Head {
    let Ok(Some(mut chunk)) = first else { return Head::Ended };
    let env = worker.env();
    let listener = &plan.snapshot.listeners[down.life.listener];
    let mut arrival =
        Arrival { first: env.now(), unix: env.unix(), complete: env.now(), bytes: chunk.len() };
    match spoken(down, listener, &chunk) {
        Preface::Whole => {
            scratch.partial.clear();
            down.stream.unread(chunk);
            return Head::Http2;
        }
        Preface::Part => return collect(worker, plan, down, scratch, chunk, (arrival, true)).await,
        Preface::Other => {}
    }
    match parse_request(&chunk, &listener.limits, listener.lenient, &mut scratch.request) {
        Ok(Parsed::Complete { head_bytes }) => {
            chunk.advance(head_bytes);
            if !chunk.is_empty() {
                down.stream.unread(chunk);
            }
            arrival.bytes = head_bytes;
            match worker.holds_head(plan, &mut scratch.large_head, down.stream.peer(), head_bytes) {
                true => Head::Complete(arrival),
                false => Head::Refused(Cause::LargeHeadsMax, arrival),
            }
        }
        Ok(Parsed::Partial) => collect(worker, plan, down, scratch, chunk, (arrival, false)).await,
        Err(error) => Head::Refused(error.into(), arrival),
    }
}

/// Whether `chunk`, with which the connection begins, begins HTTP/2.
fn spoken<E: Env>(down: &Http1Connection<E>, listener: &Listener, chunk: &[u8]) -> Preface {
    if down.life.requests > 0 {
        return Preface::Other;
    }
    // RFC 9113 §3.3: TLS has agreed on it, or not.
    let agreed = down.life.secure.as_ref().map(|facts| facts.http2);
    match (listener.config.http2.mode, agreed) {
        // Whether it begins rightly, `h2` sees.
        (Http2Mode::Only, _) | (Http2Mode::Auto, Some(true)) => Preface::Whole,
        // RFC 9113 §3.4: in the clear, who knows that we speak it begins with its preface.
        (Http2Mode::Auto, None) => Preface::of(chunk),
        (Http2Mode::Auto, Some(false)) | (Http2Mode::Off, _) => Preface::Other,
    }
}

/// The rest of a head whose first piece is `chunk`; `undecided` where it may come to be HTTP/2.
async fn collect<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    down: &Http1Connection<E>,
    scratch: &mut Scratch,
    chunk: <E::Stream as Stream>::Chunk,
    (mut arrival, mut undecided): (Arrival, bool),
) -> Head {
    let (env, listener) = (worker.env(), &plan.snapshot.listeners[down.life.listener]);
    down.timer.set(arrival.first + listener.config.timeouts.request_head);
    scratch.partial.clear();
    crumbs::add(&mut scratch.partial, &chunk);
    drop(chunk);
    loop {
        let mut chunk = match down.timer.race(down.stream.recv()).await {
            Some(Ok(Some(chunk))) => chunk,
            Some(_) => return Head::Refused(Cause::DownstreamGone, arrival),
            None => return Head::Refused(Cause::RequestHeadTimeout, arrival),
        };
        let (before, peer) = (scratch.partial.len(), down.stream.peer());
        if !worker.holds_head(plan, &mut scratch.large_head, peer, before + chunk.len()) {
            crumbs::give_back(&mut scratch.partial);
            return Head::Refused(Cause::LargeHeadsMax, arrival);
        }
        crumbs::add(&mut scratch.partial, &chunk);
        arrival.bytes = scratch.partial.len();
        let was_undecided = undecided;
        if undecided {
            match Preface::of(&scratch.partial) {
                Preface::Whole => return Head::Http2,
                Preface::Part => continue,
                Preface::Other => undecided = false,
            }
        }
        // A head is complete only with a line feed. Looking no sooner keeps a peer that sends
        // byte by byte from making us read its head again for each.
        let may_change = was_undecided
            || memchr::memchr(b'\n', &chunk).is_some()
            || scratch.partial.len() > listener.limits.line_bytes_max;
        if !may_change {
            continue;
        }
        let parsed = parse_request(
            &scratch.partial,
            &listener.limits,
            listener.lenient,
            &mut scratch.request,
        );
        match parsed {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete { head_bytes }) => {
                chunk.advance(head_bytes - before);
                if !chunk.is_empty() {
                    down.stream.unread(chunk);
                }
                arrival.bytes = head_bytes;
                arrival.complete = env.now();
                // The parser has its own.
                crumbs::give_back(&mut scratch.partial);
                return Head::Complete(arrival);
            }
            Err(error) => return Head::Refused(error.into(), arrival),
        }
    }
}
