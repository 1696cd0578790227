//! Asks one endpoint: connect, send, and both bodies at once. `retry` says whom, and who is next.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use penstock_balance::{EndpointId, Fault, InFlight};
use penstock_config::{ClusterId, ClusterProtocol, RetryOn};
use penstock_env::{Env, SendBuf, Timer};
use penstock_wire::http1::{
    Connection, Framing, KnownSet, RequestHead, RequestOutbound, write_request,
};
use penstock_wire::websocket;

use super::deadlines::{Deadlines, Wait};
use super::download::{self, Answer};
use super::filtered::Filtered;
use super::forwarded::Added;
use super::permits::{Found, wait_to_connect};
use super::retry::Tries;
use super::{After, Exchange};
use super::{Scratch, upload};
use crate::admission::{For, Upstream};
use crate::downstream::{Downstream, GONE};
use crate::failure::{self, Cause};
use crate::http2::{self, Asked};
use crate::route::Route;
use crate::secure;
use crate::tunnel;
use crate::upstream::Up;

/// What asking goes by.
pub(crate) struct Ask<'a, 'f, E: Env> {
    pub(crate) deadlines: &'a Deadlines,
    /// The exchange's filters, if it has any.
    pub(crate) filtered: Option<&'a Filtered<'f, E>>,
    /// The body passes the filters: whether what they let go so far is all of it.
    pub(crate) held: Option<bool>,
}

/// How asking ended.
pub(crate) enum Outcome {
    /// The response went down.
    Answered(After),
    /// No response began: we answer.
    Failed(Cause),
    /// The response broke off.
    Cut(Cause, After),
}

/// How one try ended.
pub(crate) enum End {
    Answered(After),
    /// Nothing was sent down.
    Failed(Cause, Verdict),
    Cut(Cause, After),
}

/// What may follow a try of which nothing was sent down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: we answer.
    Final,
    /// A try of another endpoint, if there is one and the budget has it.
    Elsewhere,
    /// A try over another connection, of whichever endpoint: the one that was kept had died,
    /// which says nothing of who it led to, and costs nothing of the budget.
    Afresh,
}

impl Verdict {
    fn elsewhere_if(again: bool) -> Verdict {
        if again { Verdict::Elsewhere } else { Verdict::Final }
    }
}

/// How far an attempt has come, for judging a failure.
#[derive(Default)]
pub(crate) struct Progress {
    /// The upstream said something.
    pub(crate) heard: Cell<bool>,
    /// The response's head went down.
    pub(crate) begun: Cell<bool>,
    /// The response ends with the connection: only a reset tells a cut from an end.
    pub(crate) until_close: Cell<bool>,
    /// Whether the request is wholly with the upstream.
    pub(crate) uploaded: Cell<bool>,
    /// Whether all that went up of its body could go up again.
    pub(crate) replayable: Cell<bool>,
    /// What the endpoint still sends is nobody's.
    pub(crate) drops_rest: Cell<bool>,
}

/// Asks one endpoint.
pub(crate) async fn ask_one<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    route: &Route,
    tries: &Tries<'_, E>,
    ask: &Ask<'_, '_, E>,
) -> End {
    let (worker, plan) = (exchange.worker, exchange.plan);
    let (cluster, endpoint) = (tries.cluster, tries.endpoint());
    let ready = plan.cluster(cluster);
    let sent = (tries, ready.balancer.endpoint(endpoint).begin());
    if ready.config.protocol == ClusterProtocol::Http2 {
        // Boxed: its own way to a connection is nothing that HTTP/1 shall carry the room for.
        return Box::pin(ask_http2(exchange, scratch, route, sent, ask)).await;
    }
    let pool = plan.pool(cluster, endpoint);
    // What is free is theirs that wait for it.
    let pooled = match tries.is_fresh() || !plan.queue(cluster).is_empty(For::Connection) {
        true => None,
        false => pool.take(worker.env().now(), ready.config.timeouts.keep_alive),
    };
    let reused = pooled.is_some();
    let (counters, ids) = (ready.metrics.shard(worker.shard()), &worker.schemas().cluster);
    let up = match pooled {
        Some(up) => {
            counters.increment(ids.reused);
            up
        }
        None => {
            // Boxed: connections are opened far more rarely than used, and an exchange that
            // does not open one shall not carry the room for it.
            match Box::pin(connect(exchange, cluster, endpoint, ask.deadlines)).await {
                Ok(up) => up,
                Err(failure) => {
                    return unconnected(exchange, route, ask.deadlines, failure, sent);
                }
            }
        }
    };
    let mut out = SendBuf::new(worker.env().buffer());
    write_head(exchange, scratch, route, |request, outbound| {
        out.write(|buffer| write_request(request, outbound, buffer));
    });
    if let Err(cause) = upload::first(exchange, scratch, ask.held, &mut out) {
        return End::Failed(cause, Verdict::Final);
    }
    Up::<E>::Http1(&up.stream).start_send(out, scratch.upload.rest());
    let sent = Sent::new(sent, Went::Http1 { up, reused });
    receive(exchange, scratch, route, sent, ask).await
}

/// The request did not get as far as a connection. Whether the endpoint was `asked` for one by
/// then: who waits in a queue of ours, or goes away, learns nothing of an endpoint.
fn unconnected<E: Env>(
    exchange: &Exchange<'_, E>,
    route: &Route,
    deadlines: &Deadlines,
    (cause, asked): (Cause, bool),
    (tries, in_flight): (&Tries<'_, E>, InFlight),
) -> End {
    if !asked || cause.side() == failure::Side::Downstream {
        return End::Failed(cause, Verdict::Final);
    }
    let (worker, ready) = (exchange.worker, exchange.plan.cluster(tries.cluster));
    let counters = ready.metrics.shard(worker.shard());
    counters.increment(worker.schemas().cluster.connect_failures);
    if blames(cause, deadlines) {
        let asked = (tries.cluster, tries.endpoint());
        worker.fail_endpoint(exchange.plan, asked, in_flight, Fault::Connect);
    }
    let again =
        cause != Cause::RouteTimeout && route.config.retry.on.contains(&RetryOn::ConnectFailure);
    End::Failed(cause, Verdict::elsewhere_if(again))
}

/// Asks one endpoint on a stream of a connection that others use as well.
async fn ask_http2<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    route: &Route,
    sent: (&Tries<'_, E>, InFlight),
    ask: &Ask<'_, '_, E>,
) -> End {
    let (worker, plan, begun) = (exchange.worker, exchange.plan, exchange.worker.env().now());
    let (cluster, endpoint) = (sent.0.cluster, sent.0.endpoint());
    let ready = plan.cluster(cluster);
    // Waiting for a connection has limits of its own, for each of its parts.
    ask.deadlines.suspend_download();
    let (lease, reused) = {
        let asked = Cell::new(false);
        let leasing = pin!(http2::lease(worker, plan, (cluster, endpoint), &asked));
        match drive(exchange.down, worker.env(), ask.deadlines, None, leasing).await {
            Ok(leased) => leased,
            Err(cause) => {
                return unconnected(exchange, route, ask.deadlines, (cause, asked.get()), sent);
            }
        }
    };
    match reused {
        true => ready.metrics.shard(worker.shard()).increment(worker.schemas().cluster.reused),
        false => exchange.record.add_connect(worker.env().now().since(begun)),
    }
    let mut out = SendBuf::new(worker.env().buffer());
    let framing = scratch.upload.framing();
    if framing == Framing::Chunked {
        // Frames of the stream are all the framing that it needs.
        scratch.upload.frame_as(Framing::UntilClose);
    }
    if let Err(cause) = upload::first(exchange, scratch, ask.held, &mut out) {
        return End::Failed(cause, Verdict::Final);
    }
    let ends = scratch.upload.is_finished()
        && out.is_empty()
        && scratch.upload.decoder.trailers().count() == 0;
    let scheme = if ready.tls.is_some() { "https" } else { "http" };
    let died = reused && lease.is_over();
    let (mut lease, mut asked) = (Some(lease), Err(Cause::Internal));
    write_head(exchange, scratch, route, |request, outbound| {
        if let Some(lease) = lease.take() {
            asked = Asked::send(lease, request, outbound, scheme, ends);
        }
    });
    let asked = match asked {
        Ok(asked) => asked,
        // Nothing was sent: whatever it is, it can be asked for again, if all of it is kept.
        Err(Cause::UpstreamRefused) if upload::can_replay(&scratch.upload, &scratch.replay) => {
            let verdict = if died { Verdict::Afresh } else { Verdict::Elsewhere };
            return End::Failed(Cause::UpstreamRefused, verdict);
        }
        Err(cause) => return End::Failed(cause, Verdict::Final),
    };
    if !asked.is_tunnel() {
        asked.start_send(out, scratch.upload.rest());
    }
    let sent = Sent::new(sent, Went::Http2 { asked: Box::new(asked), reused });
    receive(exchange, scratch, route, sent, ask).await
}

/// A connection to the endpoint.
///
/// # Errors
/// Why there is none, and whether the endpoint was asked for one by then.
async fn connect<E: Env>(
    exchange: &mut Exchange<'_, E>,
    cluster: ClusterId,
    endpoint: EndpointId,
    deadlines: &Deadlines,
) -> Result<Upstream<E::Stream>, (Cause, bool)> {
    let (worker, ready) = (exchange.worker, exchange.plan.cluster(cluster));
    let _permit = match worker.connection_permit_in_turn(exchange.plan, cluster) {
        Some(permit) => permit,
        None => match wait_to_connect(exchange, cluster, endpoint, deadlines).await {
            Ok(Found::Unused(up)) => return Ok(up),
            Ok(Found::Permit(permit)) => permit,
            Err(cause) => return Err((cause, false)),
        },
    };
    let env = worker.env();
    ready.metrics.shard(worker.shard()).increment(worker.schemas().cluster.connects);
    let begun = env.now();
    deadlines.download(begun + ready.config.timeouts.connect, Wait::Connect);
    let stage = Cell::default();
    let connecting = pin!(secure::connect(worker, exchange.plan, (cluster, endpoint), &stage));
    let connected = drive(exchange.down, env, deadlines, None, connecting).await;
    exchange.record.add_connect(env.now().since(begun));
    match connected {
        Ok(stream) => Ok(Upstream { stream, _permit }),
        Err(Cause::ConnectTimeout) => Err((stage.get().timeout(), true)),
        Err(cause) => Err((cause, true)),
    }
}

/// Brings the response down while the rest of the body goes up.
async fn receive<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    route: &Route,
    sent: Sent<'_, E>,
    ask: &Ask<'_, '_, E>,
) -> End {
    let Ask { deadlines, filtered, held } = *ask;
    let (worker, plan, down) = (exchange.worker, exchange.plan, exchange.down);
    let (tries, up, progress) = (sent.tries, sent.went.up(), &sent.progress);
    let (env, ready) = (worker.env(), plan.cluster(tries.cluster));
    // Over HTTP/1 the name alone makes no call: whoever says it would be free of every time limit.
    let is_call = exchange.record.call.is_some() && matches!(down, Downstream::Http2(_));
    let timeouts = ready.timeouts(is_call);
    let sent_at = env.now();
    exchange.record.sent = sent_at;
    let upload_done = scratch.upload.is_finished() && up.is_settled();
    progress.uploaded.set(upload_done);
    progress.replayable.set(upload::can_replay(&scratch.upload, &scratch.replay));
    let response_head = tries.response_head(timeouts.response_head);
    let wait = if upload_done { sent_at + response_head } else { NEVER };
    deadlines.download(wait, Wait::ResponseHead);
    let Scratch { request, response, partial, upload, download, replay, .. } = scratch;
    let call_idle = is_call.then_some(timeouts.idle);
    let waiting = upload::Waiting { deadlines, progress, call_idle, response_head };
    let answer = {
        let uploading = (!upload_done).then(|| {
            let listener = exchange.listener;
            let parts = upload::Parts { passage: upload, replay, listener, request };
            let through = filtered.filter(|_| held.is_some());
            upload::rest(worker, down, up, parts, through, &waiting, timeouts)
        });
        let downloading = download::Download {
            worker,
            down,
            up,
            request,
            response,
            partial,
            passage: download,
            timeouts,
            listener: exchange.listener,
            route,
            deadlines,
            progress,
            tries,
            record: &mut exchange.record,
            filtered,
        };
        let uploading = uploading.map(|future| Box::pin(future) as Upload<'_>);
        let downloading = pin!(downloading.run());
        drive(down, env, deadlines, uploading, downloading).await
    };
    match answer {
        Ok(Answer::Upgraded) => {
            // It is in flight as long as it lasts.
            sent.in_flight.answered(env.now().since(sent_at), env.now());
            deadlines.lift();
            let sides = (down, sent.went.up());
            let frames = websocket::is_named_by(scratch.request.upgrade());
            // Boxed: few exchanges become a tunnel, and none shall carry the room for it.
            let tunnel = tunnel::run(worker, sides, frames, route, &ready.config.timeouts);
            let carried = Box::pin(tunnel).await;
            scratch.upload.received_bytes += carried.up_bytes;
            exchange.record.bytes_out += carried.down_bytes;
            carried.cut.map_or(End::Answered(After::Gone), |cause| End::Cut(cause, After::Close))
        }
        Ok(Answer::Complete { reusable, keeps_alive, first_byte }) => {
            let goes_on = scratch.request.keep_alive();
            End::Answered(sent.complete(exchange, reusable, (keeps_alive, goes_on), first_byte))
        }
        Err(cause) => sent.failed(exchange, deadlines, cause),
    }
}

/// Where a request went, and what is to be kept or given back behind its answer. `reused` when
/// the connection was there before.
enum Went<E: Env> {
    Http1 {
        up: Upstream<E::Stream>,
        reused: bool,
    },
    /// Boxed: HTTP/1 shall not carry the room for it.
    Http2 {
        asked: Box<Asked<E>>,
        reused: bool,
    },
}

impl<E: Env> Went<E> {
    fn up(&self) -> Up<'_, E> {
        match self {
            Went::Http1 { up, .. } => Up::Http1(&up.stream),
            Went::Http2 { asked, .. } => Up::Http2(asked),
        }
    }

    /// Whether a request that failed so met the end of a kept connection, which says nothing of
    /// its endpoint: that may close one whenever nothing is under way on it.
    fn is_stale(&self, cause: Cause, progress: &Progress) -> bool {
        match (self, cause) {
            (Went::Http1 { reused, .. }, Cause::UpstreamReset) => *reused && !progress.heard.get(),
            // As long as the connection goes on, it is the endpoint that refused, or gave up.
            (Went::Http2 { asked, reused }, Cause::UpstreamReset | Cause::UpstreamRefused) => {
                *reused && !progress.heard.get() && asked.is_over()
            }
            _ => false,
        }
    }
}

/// A request that went to an endpoint, and what is known of it now.
struct Sent<'a, E: Env> {
    tries: &'a Tries<'a, E>,
    in_flight: InFlight,
    went: Went<E>,
    progress: Progress,
}

impl<'a, E: Env> Sent<'a, E> {
    /// On its way.
    fn new((tries, in_flight): (&'a Tries<'a, E>, InFlight), went: Went<E>) -> Sent<'a, E> {
        Sent { tries, in_flight, went, progress: Progress::default() }
    }

    /// The response is down, or on its way.
    fn complete(
        self,
        exchange: &Exchange<'_, E>,
        reusable: bool,
        (keeps_alive, goes_on): (bool, bool),
        first_byte: Duration,
    ) -> After {
        let (worker, plan) = (exchange.worker, exchange.plan);
        let asked = (self.tries.cluster, self.tries.endpoint());
        match exchange.record.is_unserved() {
            true => worker.fail_endpoint(plan, asked, self.in_flight, Fault::Answer),
            false => self.in_flight.finish(first_byte, worker.env().now()),
        }
        let counters = plan.cluster(self.tries.cluster).metrics.shard(worker.shard());
        let first_byte_us = first_byte.as_micros() as u64;
        counters.record(worker.schemas().cluster.first_byte, first_byte_us);
        let uploaded = self.progress.uploaded.get();
        if let Went::Http1 { up, .. } = self.went
            && reusable
            && uploaded
        {
            worker.keep(plan, asked.0, asked.1, up);
        }
        match (uploaded, keeps_alive) {
            (true, true) => After::KeepAlive,
            // The peer did not know that this is the end: its next request may be on its way.
            (true, false) if goes_on => After::Linger,
            (true, false) => After::Close,
            // An answer before the request's end: the rest of the body is still on its way.
            (false, _) => After::Linger,
        }
    }

    /// The endpoint, or the downstream, did not do its part.
    fn failed(self, exchange: &Exchange<'_, E>, deadlines: &Deadlines, cause: Cause) -> End {
        let stale = self.went.is_stale(cause, &self.progress);
        if blames(cause, deadlines) && !stale {
            let asked = (self.tries.cluster, self.tries.endpoint());
            let fault = match cause {
                // Whoever waits for an answer in vain gives it itself: a 504.
                Cause::UpstreamUnavailable | Cause::UpstreamTimeout => Fault::Answer,
                _ => Fault::Other,
            };
            exchange.worker.fail_endpoint(exchange.plan, asked, self.in_flight, fault);
        }
        if self.progress.begun.get() {
            let after = match self.progress.until_close.get() {
                true => After::Reset,
                false if cause.side() == failure::Side::Downstream => After::Close,
                // Its length says that it was cut. Requests behind it may lie unread, and a close
                // would be a reset then, which may overtake answers before it (RFC 9112 §9.6).
                false => After::Linger,
            };
            return End::Cut(cause, after);
        }
        // A request that the endpoint may have acted on is not sent to another, unless doing it
        // twice is the same as doing it once (RFC 9110 §9.2.2).
        let verdict = match self.tries.is_again(cause, &self.progress) {
            true if stale => Verdict::Afresh,
            again => Verdict::elsewhere_if(again),
        };
        End::Failed(cause, verdict)
    }
}

/// Whether the endpoint failed, where a request ended so.
fn blames(cause: Cause, deadlines: &Deadlines) -> bool {
    match cause {
        // An endpoint that leaves, or has enough, says so and did not fail.
        Cause::UpstreamRefused => false,
        // Else whoever asks could have any endpoint ejected, by waiting for nothing.
        Cause::RouteTimeout => !deadlines.is_chosen(),
        cause => cause.side() == failure::Side::Upstream,
    }
}

/// Shows `write` the head as it goes up.
fn write_head<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &mut Scratch,
    route: &Route,
    write: impl FnOnce(&RequestHead, &RequestOutbound<'_>),
) {
    let request = &scratch.request;
    let mut added = Added::new(&mut scratch.values);
    let asked = &*scratch.asked_host;
    let host = if asked.is_empty() { request.authority() } else { Some(asked) };
    let drop: KnownSet = added.forwarded(exchange, request, host);
    let upgrade = route.upgrade_of(request).is_some();
    let (fields, count) = added.fields();
    let outbound = RequestOutbound {
        framing: scratch.upload.framing(),
        connection: if upgrade { Connection::Upgrade } else { Connection::Implied },
        drop,
        extra: &fields[..count],
        host: b"",
    };
    write(request, &outbound);
}

/// A request's body on its way, while the response is waited for.
type Upload<'a> = Pin<Box<dyn Future<Output = Result<(), Cause>> + 'a>>;

/// Runs `download`, and `upload` beside it as long as there is one, until the download has ended,
/// the upload failed, the downstream is gone or the time is over.
pub(crate) async fn drive<E: Env, T>(
    down: Downstream<'_, E>,
    env: &E,
    deadlines: &Deadlines,
    mut upload: Option<Upload<'_>>,
    mut download: Pin<&mut impl Future<Output = Result<T, Cause>>>,
) -> Result<T, Cause> {
    poll_fn(|context| {
        if let Some(work) = &mut upload
            && let Poll::Ready(ended) = work.as_mut().poll(context)
        {
            upload = None;
            ended?;
        }
        if let Poll::Ready(ended) = download.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        if down.poll_broken(context).is_ready() {
            return Poll::Ready(Err(GONE));
        }
        deadlines.arm(down.timer());
        while down.timer().poll_expired(context).is_ready() {
            if let Some(cause) = deadlines.expired(env.now(), || down.unsent_bytes()) {
                return Poll::Ready(Err(cause));
            }
            // Nothing did after all: a deadline moved, or the downstream takes some, if slowly.
            deadlines.arm(down.timer());
        }
        Poll::Pending
    })
    .await
}

/// No deadline: something else is waited for first.
const NEVER: penstock_env::Time = penstock_env::Time::NEVER;
