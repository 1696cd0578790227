//! HTTP calls that filters make: one request to a cluster, its answer collected whole. `grpc` has
//! their gRPC calls, which begin the same way.

pub(crate) mod grpc;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_balance::{EndpointId, TriedSet};
use penstock_config::{ClusterId, ClusterProtocol};
use penstock_env::{Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_filter_host::{Callout, CalloutFailure, CalloutResponse, GrpcEvent, PairList};
use penstock_wire::http1::{
    BodyDecoder, BodyLimits, Fields, Framing, Lenient, Limits, Method, Parsed, RequestHead,
    RequestOutbound, ResponseHead, parse_response, write_request,
};

use crate::admission::Upstream;
use crate::downstream::Rest;
use crate::exchange::Passage;
use crate::failure::Cause;
use crate::http2::{self, Asked};
use crate::secure;
use crate::upstream::Up;
use crate::worker::{Plan, Worker};

/// How long a call may take where the filter does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What comes of calls, on its way to the exchange that made them.
#[derive(Default)]
pub(crate) struct Inbox {
    arrivals: RefCell<VecDeque<Arrival>>,
    waker: RefCell<Option<Waker>>,
    /// The tasks of calls under way, to be told when nobody waits for them any more.
    calls: RefCell<Vec<Waker>>,
    /// Those of calls that wait until there is nothing here.
    waiting: RefCell<Vec<Waker>>,
}

/// What came of a call.
pub(crate) enum Arrival {
    /// The call, and what became of it.
    Answer(Callout, Result<CalloutResponse, CalloutFailure>),
    /// Something on a gRPC call; by the place of its filter in the chain, and its token.
    Event((usize, u32), GrpcEvent),
}

impl Inbox {
    /// The next arrival.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Arrival> {
        match self.arrivals.borrow_mut().pop_front() {
            Some(arrival) => {
                self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
                Poll::Ready(arrival)
            }
            None => {
                let mut waker = self.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Remembers whom to wake when the inbox goes.
    fn watch(&self, waker: &Waker) {
        let mut calls = self.calls.borrow_mut();
        if !calls.iter().any(|known| known.will_wake(waker)) {
            calls.push(waker.clone());
        }
    }

    /// Ready when nothing waits to be taken: who brings many things brings one at a time.
    fn poll_empty(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.arrivals.borrow().is_empty() {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(context.waker().clone());
        Poll::Pending
    }

    fn put(&self, arrival: Arrival) {
        self.arrivals.borrow_mut().push_back(arrival);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.calls.get_mut().drain(..).for_each(Waker::wake);
        self.waiting.get_mut().drain(..).for_each(Waker::wake);
    }
}

/// Makes a call beside the exchange; the answer comes to `inbox`. When the exchange ends first
/// (it lets go of its inbox) the call is given up.
pub(crate) fn start<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    callout: Callout,
    inbox: &Rc<Inbox>,
) {
    // By name: a version that was taken back may know clusters that are gone.
    let cluster = plan.snapshot.config.cluster_named(&callout.cluster);
    if callout.grpc.is_some() {
        let listener = grpc::Caller::Exchange(Rc::downgrade(inbox), (callout.link, callout.token));
        grpc::start(worker, plan, cluster, callout, listener);
        return;
    }
    let (worker, plan, inbox) = (worker.clone(), Rc::clone(plan), Rc::downgrade(inbox));
    let env = worker.env().clone();
    env.spawn(async move {
        let answer = {
            let mut performing = pin!(perform(&worker, &plan, cluster, &callout));
            poll_fn(|context| {
                // Dropping the call closes its connection and gives its permits back.
                let Some(inbox) = inbox.upgrade() else { return Poll::Ready(None) };
                inbox.watch(context.waker());
                performing.as_mut().poll(context).map(Some)
            })
            .await
        };
        if let Some((answer, inbox)) = answer.zip(inbox.upgrade()) {
            inbox.put(Arrival::Answer(callout, answer));
        }
    });
}

/// Makes a call and waits for its answer. No `cluster` is one that is gone from the config.
pub(crate) async fn perform<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    cluster: Option<ClusterId>,
    callout: &Callout,
) -> Result<CalloutResponse, CalloutFailure> {
    let cluster = cluster.ok_or(CalloutFailure::Unreachable)?;
    let timer = worker.env().timer();
    timer.set(worker.env().now() + callout.timeout.unwrap_or(TIMEOUT));
    let asked = timer.race(ask(worker, plan, cluster, callout)).await;
    asked.unwrap_or(Err(CalloutFailure::Timeout))
}

async fn ask<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    cluster: ClusterId,
    callout: &Callout,
) -> Result<CalloutResponse, CalloutFailure> {
    let head = request_of(callout).ok_or(CalloutFailure::Unreachable)?;
    let (ready, mut tried) = (plan.cluster(cluster), TriedSet::default());
    loop {
        let endpoint =
            worker.pick(plan, cluster, None, &tried).ok_or(CalloutFailure::Unreachable)?;
        let _in_flight = ready.balancer.endpoint(endpoint).begin();
        if ready.config.protocol == ClusterProtocol::Http2 {
            match ask_http2(worker, plan, (cluster, endpoint), &head, callout).await {
                Some(answer) => return answer,
                None => tried.insert(endpoint),
            }
            continue;
        }
        let keep_alive = ready.config.timeouts.keep_alive;
        let pooled = plan.pool(cluster, endpoint).take(worker.env().now(), keep_alive);
        let reused = pooled.is_some();
        let up = match pooled {
            Some(up) => Ok(up),
            None => connect(worker, plan, cluster, endpoint).await,
        };
        let Ok(up) = up else {
            tried.insert(endpoint);
            continue;
        };
        let mut out = SendBuf::new(worker.env().buffer());
        out.write(|buffer| write_request(&head, &RequestOutbound::of(&head), buffer));
        out.push(&callout.body);
        up.stream.start_send(out);
        match receive(&up.stream, head.method(), callout.answer_bytes_max).await {
            Ok((response, reusable)) => {
                if reusable {
                    worker.keep(plan, cluster, endpoint, up);
                }
                return Ok(response);
            }
            // A kept connection that was closed meanwhile says nothing about its endpoint.
            Err(CalloutFailure::Unreachable) if reused && head.method().is_idempotent() => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// As [`ask`], of one endpoint, on a stream; `None` when it did nothing with the request.
async fn ask_http2<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    (cluster, endpoint): (ClusterId, EndpointId),
    head: &RequestHead,
    callout: &Callout,
) -> Option<Result<CalloutResponse, CalloutFailure>> {
    let (lease, _) =
        http2::lease(worker, plan, (cluster, endpoint), &Cell::default()).await.ok()?;
    let scheme = if plan.cluster(cluster).tls.is_some() { "https" } else { "http" };
    let (outbound, bodiless) = (RequestOutbound::of(head), callout.body.is_empty());
    let asked = match Asked::send(lease, head, &outbound, scheme, bodiless) {
        Ok(asked) => asked,
        Err(Cause::UpstreamRefused) => return None,
        Err(_) => return Some(Err(CalloutFailure::Unreachable)),
    };
    let mut out = SendBuf::new(worker.env().buffer());
    out.push(&callout.body);
    asked.start_send(out, Rest::End(None));
    let (limits, mut text, mut response) = (Limits::default(), Vec::new(), ResponseHead::new());
    loop {
        let came = poll_fn(|context| {
            let _ = asked.poll_sent(context);
            asked.poll_head(context, (head.method(), &limits), &mut text, &mut response)
        });
        match came.await {
            Ok(()) if response.is_informational() => {}
            Ok(()) => break,
            Err(Cause::UpstreamRefused) => return None,
            Err(_) => return Some(Err(CalloutFailure::Unreachable)),
        }
    }
    let (up, mut passage, mut body) = (Up::Http2(&asked), Passage::default(), Vec::new());
    passage.begin(up.decoder(&response, &BodyLimits::default()));
    while !passage.decoder.is_done() {
        let came = poll_fn(|context| {
            let _ = asked.poll_sent(context);
            up.poll_decode(context, &mut passage, &mut body)
        });
        if came.await.is_err() {
            return Some(Err(CalloutFailure::Unreachable));
        }
        if body.len() > callout.answer_bytes_max {
            return Some(Err(CalloutFailure::TooLarge));
        }
    }
    Some(Ok(response_of(&response, body, passage.decoder.trailers())))
}

async fn connect<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    endpoint: EndpointId,
) -> Result<Upstream<E::Stream>, ()> {
    let (env, ready) = (worker.env(), plan.cluster(cluster));
    let permit = worker.connection_permit(plan, cluster).ok_or(())?;
    let timer = env.timer();
    timer.set(env.now() + ready.config.timeouts.connect);
    let stage = Cell::default();
    let connecting = secure::connect(worker, plan, (cluster, endpoint), &stage);
    let connected = timer.race(connecting).await.and_then(Result::ok);
    connected.map(|stream| Upstream { stream, _permit: permit }).ok_or(())
}

/// The call as a request; `None` when the filter gave no path, or fields that can't be sent.
fn request_of(callout: &Callout) -> Option<RequestHead> {
    let field = |name: &[u8]| callout.headers.value(name);
    let mut head = RequestHead::new();
    let method = field(b":method").unwrap_or(b"GET");
    head.start(method, field(b":path")?, field(b":authority")?).ok()?;
    for (name, value) in callout.headers.iter() {
        let ours = name.starts_with(b":") || name.eq_ignore_ascii_case(b"host");
        if !ours {
            head.fields_mut().append(name, value).ok()?;
        }
    }
    let framing = match (callout.body.len(), Method::of(method)) {
        (0, Method::Get | Method::Head | Method::Delete | Method::Options) => Framing::None,
        (bytes, _) => Framing::Length(bytes as u64),
    };
    head.set_framing(framing);
    Some(head)
}

/// Reads the response whole; whether the connection can be used again.
async fn receive<S: Stream>(
    up: &S,
    method: Method,
    bytes_max: usize,
) -> Result<(CalloutResponse, bool), CalloutFailure> {
    let (mut head, mut bytes) = (ResponseHead::new(), Vec::new());
    let gone = |_| CalloutFailure::Unreachable;
    loop {
        let chunk = up.recv().await.map_err(gone)?.ok_or(CalloutFailure::Unreachable)?;
        bytes.extend_from_slice(&chunk);
        drop(chunk);
        while let Parsed::Complete { head_bytes } =
            parse_response(&bytes, method, &Limits::default(), Lenient::NONE, &mut head)
                .map_err(|_| CalloutFailure::Unreachable)?
        {
            bytes.drain(..head_bytes);
            if !head.is_informational() {
                return collect(up, &head, bytes, bytes_max).await;
            }
        }
    }
}

async fn collect<S: Stream>(
    up: &S,
    head: &ResponseHead,
    first: Vec<u8>,
    bytes_max: usize,
) -> Result<(CalloutResponse, bool), CalloutFailure> {
    let mut decoder = BodyDecoder::for_response(head.framing(), &BodyLimits::default());
    let mut body = Vec::new();
    let mut take = |decoder: &mut BodyDecoder, mut input: &[u8]| {
        while !input.is_empty() && !decoder.is_done() {
            let step = decoder.decode(input).map_err(|_| CalloutFailure::Unreachable)?;
            body.extend_from_slice(&input[step.data]);
            input = &input[step.consumed..];
            if body.len() > bytes_max {
                return Err(CalloutFailure::TooLarge);
            }
        }
        Ok(input.is_empty())
    };
    let mut clean = take(&mut decoder, &first)?;
    while !decoder.is_done() {
        match up.recv().await.map_err(|_| CalloutFailure::Unreachable)? {
            Some(chunk) => clean = take(&mut decoder, &chunk)?,
            None => {
                decoder.finish().map_err(|_| CalloutFailure::Unreachable)?;
                clean = false;
            }
        }
    }
    let reusable = clean && head.keep_alive() && head.framing() != Framing::UntilClose;
    Ok((response_of(head, body, decoder.trailers()), reusable))
}

fn response_of(head: &ResponseHead, body: Vec<u8>, trailers: &Fields) -> CalloutResponse {
    CalloutResponse { headers: fields_of(head), body, trailers: trailers.iter().collect() }
}

/// The fields of a head, its status first.
fn fields_of(head: &ResponseHead) -> PairList {
    let status = head.status().to_string();
    let pseudo = std::iter::once((&b":status"[..], status.as_bytes()));
    pseudo.chain(head.fields().iter()).collect()
}
