//! The response on its way down: its head, what is said of the connection, its body.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_config::ClusterTimeouts;
use penstock_env::{Chunk, Env, SendBuf, Stream, Time, Timer, TimerExt};
use penstock_wire::http1::{
    Connection, Framing, HeadError, Known, KnownSet, Lenient, Parsed, RequestHead, ResponseError,
    ResponseHead, ResponseOutbound, Version, parse_response,
};
use penstock_wire::websocket;

use super::attempt::Progress;
use super::body::Passage;
use super::deadlines::{Deadlines, Wait};
use super::edit;
use super::filtered::{Filtered, Heads, Source, Way};
use super::record::{Record, us};
use super::retry::Tries;
use crate::downstream::{Downstream, GONE};
use crate::failure::Cause;
use crate::grpc::{self, Ending};
use crate::http2::Asked;
use crate::route::Route;
use crate::snapshot::Listener;
use crate::upstream::Up;
use crate::worker::Worker;

/// How a response ended.
pub(crate) enum Answer {
    /// It is sent, or on its way.
    Complete {
        /// The upstream connection can take another request.
        reusable: bool,
        /// The downstream was told that it may go on.
        keeps_alive: bool,
        /// From the request sent to the response's head.
        first_byte: Duration,
    },
    /// Both sides speak another protocol from here on.
    Upgraded,
}

/// Everything that bringing a response down touches.
pub(crate) struct Download<'a, E: Env> {
    pub(crate) worker: &'a Worker<E>,
    pub(crate) down: Downstream<'a, E>,
    pub(crate) up: Up<'a, E>,
    pub(crate) request: &'a RequestHead,
    pub(crate) response: &'a mut ResponseHead,
    pub(crate) partial: &'a mut Vec<u8>,
    pub(crate) passage: &'a mut Passage,
    pub(crate) timeouts: &'a ClusterTimeouts,
    pub(crate) listener: &'a Listener,
    pub(crate) route: &'a Route,
    pub(crate) deadlines: &'a Deadlines,
    pub(crate) progress: &'a Progress,
    pub(crate) tries: &'a Tries<'a, E>,
    pub(crate) record: &'a mut Record,
    pub(crate) filtered: Option<&'a Filtered<'a, E>>,
}

/// The fields of RFC 6455's handshake.
const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";
/// How long the head of a call's answer is held for what may follow it.
const TRAILERS_WAIT_MAX: Duration = Duration::from_millis(20);

impl<E: Env> Download<'_, E> {
    /// Brings the response down.
    pub(crate) async fn run(mut self) -> Result<Answer, Cause> {
        loop {
            self.head().await?;
            // 101 is the last word of HTTP on the connection, not an interim one.
            if self.response.status() == 101 {
                return self.upgrade().await;
            }
            if !self.response.is_informational() {
                break;
            }
            self.pass_informational().await?;
        }
        // RFC 8441 §5: any 2xx says that there is a tunnel now.
        if self.down.is_tunnel() && (200..300).contains(&self.response.status()) {
            return Err(Cause::UpstreamBadUpgrade);
        }
        self.record.answered = self.response.status();
        self.tries.heed(self.response);
        if self.gives_way().await {
            return Err(Cause::UpstreamUnavailable);
        }
        let first_byte = self.now().since(self.record.sent);
        self.record.phases.first_byte_us = us(first_byte);
        if is_event_stream(self.response) {
            // By the endpoint's word, and not by what is asked for: that would lift the limit for
            // whoever says so.
            self.timeouts = self.tries.timeouts_of_streams();
        }
        let keeps_alive = self.body().await?;
        if self.record.call.is_some() && self.record.code.is_none() {
            self.record.code = Some(grpc::code_in(self.response, self.passage.decoder.trailers()));
        }
        let reusable = self.response.keep_alive()
            && self.response.framing() != Framing::UntilClose
            && !self.progress.drops_rest.get();
        Ok(Answer::Complete { reusable, keeps_alive, first_byte })
    }

    /// Whether another endpoint is asked in place of this one, of whose answer nothing went down.
    async fn gives_way(&self) -> bool {
        let status = self.response.status();
        if self.record.call.is_none() {
            return self.tries.gives_way(status, None, self.progress);
        }
        let mut ending = grpc::ending_in(self.response.fields());
        if let Up::Http2(asked) = self.up
            && ending.is_none()
            && !self.response.framing().is_empty()
            && self.tries.looks_at_codes()
        {
            // Boxed: few calls may be asked again, and no other shall carry the room for it.
            ending = Box::pin(self.ending_without_content(asked)).await;
        }
        self.tries.gives_way(status, ending, self.progress)
    }

    /// The end in trailers that follow the head at once. An endpoint whose head comes long before
    /// its first message means it to be seen.
    async fn ending_without_content(&self, asked: &Asked<E>) -> Option<Ending> {
        let timer = self.worker.env().timer();
        timer.set(self.now() + TRAILERS_WAIT_MAX);
        timer.race(poll_fn(|context| asked.poll_ending(context))).await.flatten()
    }

    fn now(&self) -> Time {
        self.worker.env().now()
    }

    /// Reads a response head.
    async fn head(&mut self) -> Result<(), Cause> {
        match self.up {
            Up::Http1(up) => self.head_of_http1(up).await,
            // Boxed: HTTP/1 shall not carry the room for it.
            Up::Http2(asked) => Box::pin(self.head_of_http2(asked)).await,
        }
    }

    /// As [`Download::head`]; what follows it in its last chunk is put back.
    async fn head_of_http1(&mut self, up: &E::Stream) -> Result<(), Cause> {
        let (limits, method) = (&self.listener.limits, self.request.method());
        let mut chunk = self.recv_head(up).await?;
        self.partial.clear();
        let mut parsed = parse_response(&chunk, method, limits, Lenient::NONE, self.response);
        let mut before = 0;
        let head_bytes = loop {
            if let Parsed::Complete { head_bytes } = parsed.map_err(cause_of)? {
                break head_bytes;
            }
            if before == 0 {
                self.partial.extend_from_slice(&chunk);
            }
            chunk = self.recv_head(up).await?;
            before = self.partial.len();
            self.partial.extend_from_slice(&chunk);
            parsed = parse_response(self.partial, method, limits, Lenient::NONE, self.response);
        };
        chunk.advance(head_bytes - before);
        if !chunk.is_empty() {
            up.unread(chunk);
        }
        Ok(())
    }

    async fn recv_head(&self, up: &E::Stream) -> Result<<E::Stream as Stream>::Chunk, Cause> {
        let received = self.watched(|context| up.poll_recv(context).map(Ok)).await?;
        match received {
            Ok(Some(chunk)) => {
                self.progress.heard.set(true);
                Ok(chunk)
            }
            Ok(None) | Err(_) => Err(Cause::UpstreamReset),
        }
    }

    async fn head_of_http2(&mut self, asked: &Asked<E>) -> Result<(), Cause> {
        let (of, mut text) = ((self.request.method(), &self.listener.limits), Vec::new());
        std::mem::swap(&mut text, self.partial);
        let mut head = std::mem::take(self.response);
        let read = self.watched(|context| asked.poll_head(context, of, &mut text, &mut head)).await;
        (*self.partial, *self.response) = (text, head);
        // A malformed head was heard as well: the endpoint has seen the request.
        if !matches!(read, Err(Cause::UpstreamRefused | Cause::UpstreamReset)) {
            self.progress.heard.set(true);
        }
        read
    }

    /// Waits for the endpoint, while filters may have something to say.
    async fn watched<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Cause>>,
    ) -> Result<T, Cause> {
        let Some(filtered) = self.filtered else { return poll_fn(poll).await };
        let mut heads = Heads::sent(self.request);
        poll_fn(|context| {
            let _ = filtered.poll(context, &mut heads)?;
            poll(context)
        })
        .await
    }

    /// Writes the head of the answer, and counts it.
    fn write_head(
        &mut self,
        outbound: &ResponseOutbound<'_>,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) {
        let bytes = self.down.write_head(self.response, outbound, out);
        self.record.wrote_head(bytes, self.down.sends_heads_apart());
    }

    /// RFC 9110 §15.2: 1xx go down to those who know them; HTTP/1.0 does not.
    async fn pass_informational(&mut self) -> Result<(), Cause> {
        if self.request.version() == Version::Http10 {
            return Ok(());
        }
        let outbound = ResponseOutbound {
            framing: Framing::None,
            connection: Connection::Implied,
            drop: KnownSet::NONE,
            extra: &[],
        };
        let mut out = self.down.send_buf(self.worker);
        self.write_head(&outbound, &mut out);
        // What is left in the passage is of the exchange before.
        self.passage.begin_nothing();
        self.send(out).await
    }

    async fn upgrade(&mut self) -> Result<Answer, Cause> {
        // RFC 9110 §7.8: an upgrade is one of those that were asked for.
        let agreed = match (self.route.upgrade_of(self.request), self.response.upgrade()) {
            (Some(asked), Some(given)) => asked.eq_ignore_ascii_case(given),
            _ => false,
        };
        if !agreed || !self.shakes_hands()? {
            return Err(Cause::UpstreamBadUpgrade);
        }
        // RFC 9110 §7.8: the request ends in the protocol that it began in. Whoever drives this
        // brings its body up first.
        poll_fn(|_| match self.progress.uploaded.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        edit::response(self.response, self.route).map_err(|_| Cause::Internal)?;
        self.passage.begin_nothing();
        if let Some(filtered) = self.filtered {
            self.hold(filtered).await?;
        }
        let outbound = ResponseOutbound {
            framing: Framing::None,
            connection: Connection::Upgrade,
            drop: KnownSet::NONE,
            extra: &[],
        };
        let mut out = self.down.send_buf(self.worker);
        self.write_head(&outbound, &mut out);
        self.record.status = self.down.status_of_switch();
        self.progress.begun.set(true);
        self.deadlines.suspend_download();
        self.send(out).await?;
        Ok(Answer::Upgraded)
    }

    /// RFC 8441 §5: where one side speaks HTTP/2, the handshake of RFC 6455 §4 is done by us with
    /// the other. Whether that went well.
    fn shakes_hands(&mut self) -> Result<bool, Cause> {
        let Some(key) = self.request.fields().value_of(KEY) else { return Ok(true) };
        match (self.down, self.up) {
            (Downstream::Http2(_), Up::Http1(_)) => {
                let accept = websocket::accept_of(key);
                Ok(self.response.fields().value_of(ACCEPT) == Some(accept.as_bytes()))
            }
            (Downstream::Http1(_), Up::Http2(_)) => {
                let accept = websocket::accept_of(key);
                let set = self.response.fields_mut().set(ACCEPT, accept.as_bytes());
                set.map(|()| true).map_err(|_| Cause::UpstreamHeadTooLarge)
            }
            _ => Ok(true),
        }
    }

    /// Sends head and body; whether the downstream was told that it may go on.
    async fn body(&mut self) -> Result<bool, Cause> {
        edit::response(self.response, self.route).map_err(|_| Cause::Internal)?;
        let limits = &self.listener.body_limits;
        self.passage.begin(self.up.decoder(self.response, limits));
        self.passage.messages = self.record.counted();
        let held = match self.filtered {
            Some(filtered) => self.hold(filtered).await?,
            None => None,
        };
        let held = self.turn_head(held)?;
        if self.response.framing().is_empty() && !self.passage.decoder.is_done() {
            // A filter has said 204 or 304 since (RFC 9110 §15.3.5, §15.4.5): what comes is not
            // waited for.
            self.progress.drops_rest.set(true);
            self.passage.begin_nothing();
        }
        let framing = self.framing_down(held.as_ref());
        self.passage.frame_as(framing);
        let requests_max = self.listener.config.limits.connection_requests_max;
        // An answer before the request's end leaves bytes behind that nobody waits for: the
        // connection ends, and that has to be said now (RFC 9112 §9.6).
        let keeps_alive = self.request.keep_alive()
            && self.progress.uploaded.get()
            && framing != Framing::UntilClose
            && !self.down.is_at_its_end(self.worker, requests_max);
        let outbound = ResponseOutbound {
            framing,
            connection: connection_of(keeps_alive, self.request.version()),
            drop: KnownSet::NONE,
            extra: if self.listener.config.via { self.up.via(self.response) } else { &[] },
        };
        let mut out = self.down.send_buf(self.worker);
        self.write_head(&outbound, &mut out);
        self.record.status = self.response.status();
        self.progress.begun.set(true);
        self.progress.until_close.set(framing == Framing::UntilClose);
        self.deadlines.suspend_download();
        match held {
            Some(held) => {
                self.emit(&held.bytes, held.ended, &mut out)?;
                self.pass_pieces(held.shown, out).await?;
            }
            None => {
                self.passage.finish_if_empty(&mut out);
                self.pass_rest(out).await?;
            }
        }
        Ok(keeps_alive)
    }

    /// Makes the head gRPC-Web's where the caller speaks that. The body has to follow piece by
    /// piece then, and what is held of it already is the first.
    fn turn_head(&mut self, held: Option<Held>) -> Result<Option<Held>, Cause> {
        let Some(kind) = self.record.web else { return Ok(held) };
        // What is no gRPC, as a proxy's page, goes down as it is.
        let turned = grpc::web::answer(self.response, kind).map_err(|_| Cause::Internal)?;
        if !turned || self.response.framing().is_empty() {
            self.record.web = None;
            return Ok(held);
        }
        let none = Held { bytes: Vec::new(), ended: false, shown: false };
        let mut held = held.unwrap_or(none);
        self.turn(&mut held.bytes, held.ended);
        Ok(Some(held))
    }

    /// Makes a piece of the body gRPC-Web's where the caller speaks that.
    fn turn(&mut self, piece: &mut Vec<u8>, ended: bool) {
        let Some(kind) = self.record.web else { return };
        self.passage.note(piece);
        if !ended {
            return grpc::web::turn(kind, piece, None);
        }
        let trailers = self.passage.decoder.trailers();
        let code = grpc::code_in(self.response, trailers);
        grpc::web::turn(kind, piece, Some((trailers, code)));
        self.passage.decoder.clear_trailers();
        self.record.code = Some(code);
    }

    /// Puts a piece of the body into a send.
    fn emit(
        &mut self,
        piece: &[u8],
        ended: bool,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> Result<(), Cause> {
        match self.record.web {
            // It was noted before it was turned.
            Some(_) => {
                self.passage.put(piece, ended, out);
                Ok(())
            }
            None => self.passage.emit_filtered(piece, ended, out),
        }
    }

    /// Shows the filters the head, and the body until they let the head go. `None` when the body
    /// need not pass them.
    async fn hold(&mut self, filtered: &Filtered<'_, E>) -> Result<Option<Held>, Cause> {
        let end = self.passage.decoder.is_done();
        let mut held = Held { bytes: Vec::new(), ended: end, shown: true };
        let mut heads = Heads::of_response(self.request, self.response);
        if !filtered.head(Way::Response, heads.reborrow(), end)? {
            let (env, before) = (self.worker.env(), filtered.spent());
            let begun = env.now();
            self.deadlines.download(begun + self.timeouts.idle, Wait::Filter);
            let (source, bytes) = (Source::Response(self.up), &mut held.bytes);
            let released = filtered.next_piece(source, &mut heads, self.passage, bytes).await;
            filtered.held_since(begun, before);
            held.ended = released?;
        }
        if filtered.frees_length(Way::Response) {
            self.response.forget_length();
        }
        let passes = filtered.wants_body(Way::Response) || !held.bytes.is_empty() || held.ended;
        Ok((passes && !self.response.framing().is_empty()).then_some(held))
    }

    /// How the body goes down: what filters have let go as a whole as long as it is, what becomes
    /// gRPC-Web of any length, the rest as its head says.
    fn framing_down(&self, held: Option<&Held>) -> Framing {
        match held {
            Some(held) if held.ended => Framing::Length(held.bytes.len() as u64),
            Some(_) if self.record.web.is_some() => self.down.framing_of_unknown(self.request),
            _ => self.down.framing_of(self.response, self.request),
        }
    }

    /// As [`Download::pass_rest`], piece by piece: through the filters where it is `shown`, and
    /// to gRPC-Web.
    async fn pass_pieces(
        &mut self,
        shown: bool,
        mut out: SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> Result<(), Cause> {
        loop {
            if self.down.is_due(&out, self.passage.is_finished()) {
                self.send(out).await?;
                if let Some(filtered) = self.filtered {
                    let request_body = filtered.sizes.get().request_body;
                    filtered.sizes.set(self.record.sizes(request_body));
                }
            }
            if self.passage.is_finished() {
                return Ok(());
            }
            out = self.down.send_buf(self.worker);
            self.deadlines.download(self.now() + self.timeouts.idle, Wait::ResponseBody);
            let mut piece = self.worker.env().buffer();
            let ended = match self.filtered.filter(|_| shown) {
                Some(filtered) => {
                    let mut heads = Heads::both_sent(self.request, self.response);
                    let source = Source::Response(self.up);
                    filtered.next_piece(source, &mut heads, self.passage, &mut piece).await?
                }
                None => {
                    poll_fn(|context| self.up.poll_decode(context, self.passage, &mut piece))
                        .await?;
                    self.passage.decoder.is_done()
                }
            };
            self.deadlines.suspend_download();
            self.turn(&mut piece, ended);
            self.emit(&piece, ended, &mut out)?;
            self.worker.env().recycle(piece);
        }
    }

    /// Brings the body down as fast as the downstream reads: at most one send is under way, and
    /// the next is not filled before it is done.
    async fn pass_rest(
        &mut self,
        mut out: SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> Result<(), Cause> {
        loop {
            let filled = self.fill(&mut out);
            // What came before the body broke off goes down, with the head that may be in front of
            // it: who asked shall see an answer that was cut, and not none.
            if self.down.is_due(&out, self.passage.is_finished()) {
                self.send(out).await?;
                out = self.down.send_buf(self.worker);
            }
            filled?;
            if self.passage.is_finished() {
                self.worker.env().recycle(out.into_parts().0);
                return Ok(());
            }
            self.deadlines.download(self.now() + self.timeouts.idle, Wait::ResponseBody);
            poll_fn(|context| self.up.poll_push(context, self.passage, &mut out)).await?;
            self.deadlines.suspend_download();
        }
    }

    /// Puts what is there of the body into `out`.
    fn fill(&mut self, out: &mut SendBuf<<E::Stream as Stream>::Chunk>) -> Result<(), Cause> {
        let most = self.worker.env().send_bytes_max();
        while !self.passage.is_finished()
            && out.len() < most
            && self.up.push_ready(self.passage, out)?
        {}
        Ok(())
    }

    async fn send(&mut self, out: SendBuf<<E::Stream as Stream>::Chunk>) -> Result<(), Cause> {
        self.record.bytes_out += out.len() as u64;
        self.deadlines.write(self.now(), self.listener.config.timeouts.write_stall);
        self.down.sent().await.map_err(|_| GONE)?;
        self.deadlines.sending(out.len());
        self.down.start_send(out, self.passage.rest());
        if self.passage.is_finished() {
            return Ok(());
        }
        // Before more is fetched: a peer with many streams and no window would have us hold it all.
        self.down.settled().await.map_err(|_| GONE)
    }
}

/// Content that is there before the response's head goes down, and what is done with the rest.
struct Held {
    bytes: Vec<u8>,
    /// Whether that is all of it.
    ended: bool,
    /// Whether what follows goes through the filters too.
    shown: bool,
}

/// What a response says of its connection. HTTP/1.1 stays open by itself, HTTP/1.0 does not.
pub(crate) fn connection_of(keeps_alive: bool, version: Version) -> Connection {
    match (keeps_alive, version) {
        (true, Version::Http11) => Connection::Implied,
        (true, Version::Http10) => Connection::KeepAlive,
        (false, _) => Connection::Close,
    }
}

/// Whether events follow as they happen (the HTML standard's server-sent events).
fn is_event_stream(head: &ResponseHead) -> bool {
    let kind = head.fields().value_of_known(Known::ContentType).unwrap_or_default();
    let end = kind.iter().position(|&byte| byte == b';').unwrap_or(kind.len());
    kind[..end].trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// What a malformed response head is called.
pub(crate) fn cause_of(error: ResponseError) -> Cause {
    match error {
        ResponseError::Head(
            HeadError::HeadTooLarge { .. }
            | HeadError::LineTooLong { .. }
            | HeadError::TooManyFields { .. },
        ) => Cause::UpstreamHeadTooLarge,
        _ => Cause::UpstreamMalformed,
    }
}

/// RFC 9110 §7.6.3: the version in which the message was received, and a pseudonym.
pub(crate) fn via(version: Version) -> &'static [(&'static [u8], &'static [u8])] {
    match version {
        Version::Http10 => &[(b"Via", b"1.0 penstock")],
        Version::Http11 => &[(b"Via", b"1.1 penstock")],
    }
}
