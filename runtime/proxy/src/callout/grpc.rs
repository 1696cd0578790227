//! gRPC calls that filters make: messages up and down one stream of a connection to an endpoint.
//!
//! What comes back is brought to the filter piece by piece, and the endpoint sends no faster than
//! the filter takes it. Not for the calls of downstreams: those pass as exchanges.

mod talk;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use penstock_balance::{InFlight, TriedSet};
use penstock_config::{ClusterId, ClusterProtocol};
use penstock_env::{Env, Time, Timer, TimerExt};
use penstock_filter_host::{Callout, Filters, GrpcCall, GrpcEvent, RootCallout, Sending};
use penstock_wire::grpc::{Code, Timeout};
use penstock_wire::http1::{Framing, RequestHead, RequestOutbound};

use super::{Arrival, Inbox, TIMEOUT};
use crate::failure::Cause;
use crate::grpc;
use crate::http2::{self, Asked};
use crate::worker::{Plan, Worker};

/// Who made a call, and hears what comes of it.
pub(crate) enum Caller {
    /// An exchange; with the place of its filter in the chain, and the call's token.
    Exchange(Weak<Inbox>, (usize, u32)),
    /// A root context.
    Root(Filters, RootCallout),
}

impl Caller {
    /// Waits until what was told last was taken.
    async fn ready(&self) {
        if let Caller::Exchange(inbox, _) = self {
            poll_fn(|context| match inbox.upgrade() {
                Some(inbox) => inbox.poll_empty(context),
                // It is over, and the call with it.
                None => Poll::Pending,
            })
            .await;
        }
    }

    fn tell(&self, event: GrpcEvent) {
        match self {
            Caller::Exchange(inbox, call) => {
                if let Some(inbox) = inbox.upgrade() {
                    inbox.put(Arrival::Event(*call, event));
                }
            }
            Caller::Root(filters, call) => filters.hear(call, &event),
        }
    }
}

/// How a call ended.
struct Closing {
    code: Code,
    message: String,
}

impl Closing {
    fn new(code: Code, message: impl Into<String>) -> Closing {
        Closing { code, message: message.into() }
    }

    /// By a failure of ours, or on the way.
    fn failed(cause: Cause) -> Closing {
        Closing::new(grpc::code_of(cause), cause.name())
    }
}

impl From<Closing> for GrpcEvent {
    fn from(closing: Closing) -> GrpcEvent {
        GrpcEvent::Closed { status: closing.code as u32, message: closing.message }
    }
}

/// Makes a call beside whoever wants it, until it is over, or wanted no more: its filter cancels
/// it, or ends, or the exchange does. No `cluster` is one that is gone from the config.
pub(crate) fn start<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    cluster: Option<ClusterId>,
    callout: Callout,
    caller: Caller,
) {
    let Some(call) = callout.grpc.clone() else { return };
    let (worker, plan, env) = (worker.clone(), Rc::clone(plan), worker.env().clone());
    env.clone().spawn(async move {
        let timer = env.timer();
        timer.set(match call.streams {
            true => Time::NEVER,
            false => env.now() + callout.timeout.unwrap_or(TIMEOUT),
        });
        let last = {
            let mut performing = pin!(timer.race(async {
                match cluster {
                    Some(cluster) => {
                        perform((worker, plan), cluster, &callout, &call, &caller).await
                    }
                    None => Closing::new(Code::Unavailable, "no such cluster any more").into(),
                }
            }));
            poll_fn(|context| {
                // Dropped, it resets its stream and gives its permits back.
                if call.outgoing.poll_cancelled(context).is_ready() {
                    return Poll::Ready(None);
                }
                performing.as_mut().poll(context).map(Some)
            })
            .await
        };
        let timeout = || Closing::new(Code::DeadlineExceeded, "timeout").into();
        if let Some(last) = last {
            caller.tell(last.unwrap_or_else(timeout));
        }
    });
}

/// Makes a call, and tells of everything but the last.
async fn perform<E: Env>(
    (worker, plan): (Worker<E>, Rc<Plan<E>>),
    cluster: ClusterId,
    callout: &Callout,
    call: &GrpcCall,
    caller: &Caller,
) -> GrpcEvent {
    if plan.cluster(cluster).config.protocol != ClusterProtocol::Http2 {
        return Closing::new(Code::Unavailable, "the cluster does not speak HTTP/2").into();
    }
    let Some(head) = request_of(callout, call.streams) else {
        return Closing::new(Code::Internal, "metadata that can't be sent").into();
    };
    let mut tried = TriedSet::default();
    // One message, which is here already: it can be sent again where it was refused.
    let mut single = None;
    if !call.streams
        && let Sending::Message { bytes, .. } = talk::next_of(&call.outgoing).await
    {
        single = Some(bytes);
    }
    loop {
        let (asked, in_flight) = match begin(&worker, &plan, cluster, &head, &mut tried).await {
            Ok(begun) => begun,
            Err(closing) => return closing.into(),
        };
        let Some(message) = &single else {
            // It may last: it keeps neither the worker nor a snapshot that has had its time.
            let env = worker.env().clone();
            drop((worker, plan));
            let last = talk::both_ways(&env, &asked, None, call, caller).await;
            drop(in_flight);
            return last.unwrap_or_else(|cause| Closing::failed(cause).into());
        };
        match talk::both_ways(worker.env(), &asked, Some(message), call, caller).await {
            Ok(last) => return last,
            // Nothing was done with it.
            Err(Cause::UpstreamRefused) => {}
            Err(cause) => return Closing::failed(cause).into(),
        }
    }
}

/// Sends the head to an endpoint that takes it.
async fn begin<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    cluster: ClusterId,
    head: &RequestHead,
    tried: &mut TriedSet,
) -> Result<(Asked<E>, InFlight), Closing> {
    let ready = plan.cluster(cluster);
    let scheme = if ready.tls.is_some() { "https" } else { "http" };
    loop {
        let Some(endpoint) = worker.pick(plan, cluster, None, tried) else {
            return Err(Closing::new(Code::Unavailable, "no endpoint could be reached"));
        };
        tried.insert(endpoint);
        let in_flight = ready.balancer.endpoint(endpoint).begin();
        let Ok((lease, _)) =
            http2::lease(worker, plan, (cluster, endpoint), &Cell::default()).await
        else {
            continue;
        };
        match Asked::send(lease, head, &RequestOutbound::of(head), scheme, false) {
            Ok(asked) => return Ok((asked, in_flight)),
            Err(Cause::UpstreamRefused) => {}
            Err(cause) => return Err(Closing::failed(cause)),
        }
    }
}

/// The call's head (`PROTOCOL-HTTP2.md`, Request-Headers); `None` when it can't be sent.
fn request_of(callout: &Callout, streams: bool) -> Option<RequestHead> {
    let mut head = RequestHead::new();
    let pseudo = |name: &[u8]| callout.headers.value(name);
    head.start(b"POST", pseudo(b":path")?, pseudo(b":authority")?).ok()?;
    for (name, value) in callout.headers.iter() {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let ours = [b"host" as &[u8], b"te", b"content-type", b"grpc-timeout"];
        if !name.starts_with(b":") && !ours.into_iter().any(is) {
            head.fields_mut().append(name, value).ok()?;
        }
    }
    head.fields_mut().append(b"content-type", b"application/grpc").ok()?;
    if !streams {
        let mut left = Vec::new();
        Timeout::of(callout.timeout.unwrap_or(TIMEOUT)).put(&mut left);
        head.fields_mut().append(b"grpc-timeout", &left).ok()?;
    }
    head.take_trailers();
    head.set_framing(Framing::Chunked);
    Some(head)
}
