//! One request and its answer: which route, what is done, what is counted.
//!
//! The same whatever the downstream and the upstream speak: `downstream` and `upstream` are the
//! seams. `retry` asks endpoints until one answers, `attempt` one of them once `permits` found
//! room, `respond` answers ourselves, `filtered` shows both to the filters, `body` and `deadlines`
//! are what both directions share, `pace` is how slow an upload may be.

mod attempt;
mod body;
mod deadlines;
mod download;
mod edit;
mod fieldmap;
mod filtered;
mod forwarded;
mod identity;
mod pace;
mod permits;
mod record;
pub(crate) mod respond;
mod retry;
mod scratch;
mod session;
mod target;
mod upload;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use penstock_config::{Action, ClusterId, Forward, Protocol};
use penstock_env::{Env, Time, Timer, TimerExt};
use penstock_tls::{Facts, Identity};
use penstock_wire::grpc::Kind;
use penstock_wire::http1::{EditError, Framing, Known, KnownSet, Method, RequestHead};

use self::attempt::{Ask, Outcome};
pub(crate) use self::body::Passage;
use self::deadlines::{Deadlines, Wait};
pub(crate) use self::download::{cause_of as cause_of_response, via};
use self::filtered::{Filtered, Heads, Source, Way};
pub(crate) use self::record::Arrival;
use self::record::{Record, us};
pub(crate) use self::scratch::Scratch;
use self::scratch::detail_of;
use crate::downstream::{Downstream, Rest};
use crate::failure::Cause;
use crate::grpc;
use crate::grpc::web::WebBody;
use crate::route::{Route, RouteTable};
use crate::snapshot::{Entrance, Listener};
use crate::worker::{Plan, Worker};

/// How long filters may hold a request before it is given up.
const FILTERS_HOLD_MAX: Duration = Duration::from_secs(60);

const EXPECT: KnownSet = KnownSet::NONE.with(Known::Expect);

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may come.
    KeepAlive,
    /// It is closed once everything is sent.
    Close,
    /// The same, but the peer is still sending: its bytes are read and dropped for a while.
    Linger,
    /// It is cut: what was sent so far is no whole message, and only a reset says so.
    Reset,
    /// It is closed already.
    Gone,
}

/// An exchange under way: where it is, and what is known of it.
pub(crate) struct Exchange<'a, E: Env> {
    pub(crate) worker: &'a Worker<E>,
    pub(crate) plan: &'a Rc<Plan<E>>,
    pub(crate) down: Downstream<'a, E>,
    pub(crate) listener: &'a Listener,
    pub(crate) record: Record,
}

/// Answers the request in `scratch`.
///
/// Not an `async fn`: its task would keep what it is given beside what that becomes.
pub(crate) fn run<'a, E: Env>(
    worker: &'a Worker<E>,
    plan: &'a Rc<Plan<E>>,
    down: Downstream<'a, E>,
    scratch: &'a mut Scratch,
    arrival: Arrival,
) -> impl Future<Output = After> {
    let under_way = worker.begin_request();
    let listener = &plan.snapshot.listeners[down.listener()];
    let mut exchange = Exchange { worker, plan, down, listener, record: Record::new(arrival) };
    // What is said of a call's end has no place in a tunnel.
    exchange.record.call = grpc::kind_of(&scratch.request).filter(|_| !down.is_tunnel());
    scratch.begin();
    exchange.note_head(scratch);
    let mut entry = Entry { exchange, scratch, over: false };
    async move {
        let after = entry.answer().await;
        drop(under_way);
        after
    }
}

/// What is told of an exchange when it ends, whichever way it does.
struct Entry<'a, 's, E: Env> {
    exchange: Exchange<'a, E>,
    scratch: &'s mut Scratch,
    over: bool,
}

impl<E: Env> Entry<'_, '_, E> {
    async fn answer(&mut self) -> After {
        let after = self.exchange.answer(self.scratch).await;
        self.over = true;
        after
    }
}

impl<E: Env> Drop for Entry<'_, '_, E> {
    fn drop(&mut self) {
        if !self.over {
            // Its task was dropped under it: by the end of a drain, or by a panic.
            let drained = self.exchange.worker.is_draining() && !std::thread::panicking();
            self.exchange.fail(if drained { Cause::Drained } else { Cause::Internal });
        }
        self.exchange.finish(self.scratch);
    }
}

impl<E: Env> Exchange<'_, E> {
    async fn answer(&mut self, scratch: &mut Scratch) -> After {
        forwarded::disown(self, &mut scratch.request);
        scratch.client = forwarded::client(self, &scratch.request);
        // CVE-2025-8671, CVE-2023-44487: no endpoint and no filter works for what is over already.
        if let Some(cause) = self.down.ended_before() {
            self.fail(cause);
            return After::Close;
        }
        // RFC 9110 §9.3.6, §9.3.8: CONNECT is for forward proxies, TRACE reflects credentials.
        if matches!(scratch.request.method(), Method::Connect | Method::Trace) {
            return respond::fail(self, scratch, Cause::MethodNotAllowed).await;
        }
        upload::begin(self, scratch);
        if let Some(facts) = self.down.secure()
            && self.is_misdirected(facts, scratch.request.authority())
        {
            return respond::fail(self, scratch, Cause::Misdirected).await;
        }
        if let Err(cause) = identity::establish(self, &mut scratch.request) {
            return respond::fail(self, scratch, cause).await;
        }
        // gRPC's `PROTOCOL-HTTP2.md`, Requests: what is no call gets 415.
        if self.listener.config.protocol == Protocol::Grpc
            && self.record.call.is_none()
            && !is_preflight(&scratch.request)
        {
            return respond::fail(self, scratch, Cause::NotGrpc).await;
        }
        let plan = Rc::clone(self.plan);
        if let Some(proof) = respond::proof_for(&plan.snapshot.proofs, &scratch.request) {
            return respond::proof(self, scratch, proof).await;
        }
        let routes = &plan.snapshot.listeners[self.down.listener()].routes;
        let route = match target::find_route(self, routes, scratch) {
            Ok(route) => route,
            Err(cause) => return respond::fail(self, scratch, cause).await,
        };
        self.record.route = route.map(|route| route.index);
        if let Some(route) = route
            && let Some(kind) = self.record.call.filter(|kind| *kind != Kind::Grpc)
            && grpc::web::is_turned(&plan, route)
            && self.open_web(scratch, kind).is_err()
        {
            return respond::fail(self, scratch, Cause::HeadTooLarge).await;
        }
        let links = routes.filters_ahead(route, |_| false);
        if links.is_empty() {
            return self.act(scratch, route, None, None).await;
        }
        let (chain, begun) = (std::mem::take(&mut scratch.chain), self.record.unix);
        let (worker, down) = (self.worker, self.down);
        let filtered = Filtered::new(worker, &plan, down, links, chain, begun);
        filtered.client.set(scratch.client);
        filtered.route.set(self.record.route);
        filtered.sizes.set(self.record.sizes(0));
        let after = self.act_filtered(scratch, routes, route, &filtered).await;
        let Scratch { request, response, upload, .. } = scratch;
        filtered.sizes.set(self.record.sizes(upload.received_bytes));
        if let Some(response) = filtered.take_response() {
            // Too late to be sent: what went down already was cut.
            scratch.detail = detail_of(&response);
        }
        let (chain, spent) = filtered.finish(Heads::both_sent(request, response));
        (scratch.chain, self.record.phases.filters_us) = (chain, us(spent));
        after
    }

    /// Makes a call of gRPC-Web one of gRPC, before anybody looks at it.
    fn open_web(&mut self, scratch: &mut Scratch, kind: Kind) -> Result<(), EditError> {
        self.record.web = Some(grpc::web::open(&mut scratch.request, kind)?);
        let upload = &mut scratch.upload;
        upload.web = Some(WebBody::new(kind));
        upload.messages = self.record.counted();
        if kind == Kind::WebText && !upload.framing().is_empty() {
            // Text says the same in more bytes.
            upload.frame_as(Framing::Chunked);
        }
        Ok(())
    }

    /// Shows the filters the request; does what its route says once they let it go. What they
    /// change decides on the route, and none is taken whose filters have not all run.
    async fn act_filtered<'r>(
        &mut self,
        scratch: &mut Scratch,
        routes: &'r RouteTable,
        mut route: Option<&'r Route>,
        filtered: &Filtered<'_, E>,
    ) -> After {
        // No body, or one of length 0: there is nothing to wait for.
        let bare = scratch.upload.decoder.is_done();
        let (mut held, mut until) = (false, None);
        let head = Heads::of_request(&mut scratch.request);
        let mut shown = filtered.head(Way::Request, head, bare);
        loop {
            let passed = match shown {
                Ok(true) => Ok(held),
                // Boxed: few requests are held, and none shall carry the room for it.
                Ok(false) => Box::pin(self.wait_for_filters(scratch, filtered, &mut until)).await,
                Err(cause) => Err(cause),
            };
            held = match passed {
                Ok(held) => held,
                Err(cause) => return respond::stopped(self, scratch, filtered, cause).await,
            };
            if filtered.take_edited() {
                route = match target::find_route(self, routes, scratch) {
                    Ok(route) => route,
                    Err(cause) => {
                        return respond::fail_filtered(self, scratch, Some(filtered), cause).await;
                    }
                };
                self.record.route = route.map(|route| route.index);
                filtered.route.set(self.record.route);
            }
            let ahead = routes.filters_ahead(route, |link| filtered.has(link));
            if ahead.is_empty() {
                break;
            }
            let Scratch { request, upload, held: piece, .. } = scratch;
            let heads = Heads::of_request(request);
            shown = filtered.join(ahead, heads, (bare, held), upload, piece);
        }
        let passes =
            !bare && (held || !scratch.held.is_empty() || filtered.wants_body(Way::Request));
        if passes {
            upload::reframe(scratch, held, filtered.frees_length(Way::Request));
        }
        self.act(scratch, route, Some(filtered), passes.then_some(held)).await
    }

    /// Waits until the filters let the request go, no longer than `until` where that is known;
    /// whether its body is complete by then.
    async fn wait_for_filters(
        &mut self,
        scratch: &mut Scratch,
        filtered: &Filtered<'_, E>,
        until: &mut Option<Time>,
    ) -> Result<bool, Cause> {
        let (env, down) = (self.worker.env(), self.down);
        let Scratch { request, upload, held, .. } = scratch;
        let waits = request.expect_continue() && request.fields().has_any(EXPECT);
        if waits && filtered.wants_body(Way::Request) {
            // The answer before this one may still be on its way.
            down.timer().set(env.now() + self.listener.config.timeouts.write_stall);
            match down.timer().race(down.sent()).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(Cause::DownstreamGone),
                None => return Err(Cause::DownstreamStalled),
            }
            // RFC 9110 §10.1.1: who wants the body says so; the origin is not asked yet.
            let mut out = down.send_buf(self.worker);
            self.record.wrote_head(down.write_continue(&mut out), true);
            down.start_send(out, Rest::More);
            request.fields_mut().remove(b"expect").map_err(|_| Cause::Internal)?;
        }
        let deadlines = Deadlines::new();
        let (begun, before) = (env.now(), filtered.spent());
        let until = *until.get_or_insert_with(|| begun + FILTERS_HOLD_MAX);
        deadlines.download(until, Wait::Filter);
        let mut heads = Heads::of_request(request);
        let source = Source::Request;
        let released = pin!(filtered.next_piece(source, &mut heads, upload, held));
        let released = attempt::drive(down, env, &deadlines, None, released).await;
        filtered.held_since(begun, before);
        released
    }

    /// Does what the route says.
    async fn act(
        &mut self,
        scratch: &mut Scratch,
        route: Option<&Route>,
        filtered: Option<&Filtered<'_, E>>,
        held: Option<bool>,
    ) -> After {
        let Some(route) = route else {
            return respond::fail_filtered(self, scratch, filtered, Cause::NoRoute).await;
        };
        match &route.config.action {
            Action::Respond(fixed) => respond::fixed(self, scratch, filtered, fixed).await,
            Action::Redirect(redirect) => {
                respond::redirect(self, scratch, filtered, redirect).await
            }
            Action::Forward(forward) => self.forward(scratch, route, forward, filtered, held).await,
        }
    }

    async fn forward(
        &mut self,
        scratch: &mut Scratch,
        route: &Route,
        forward: &Forward,
        filtered: Option<&Filtered<'_, E>>,
        held: Option<bool>,
    ) -> After {
        if self.down.is_tunnel() && route.upgrade_of(&scratch.request).is_none() {
            return respond::fail_filtered(self, scratch, filtered, Cause::TunnelRefused).await;
        }
        let cluster = self.choose(forward);
        self.record.cluster = Some(cluster);
        if let Some(filtered) = filtered {
            filtered.cluster.set(Some(cluster));
        }
        let key = target::hash_key(self, scratch, cluster);
        if let Err(cause) = edit::request(scratch, route) {
            return respond::fail_filtered(self, scratch, filtered, cause).await;
        }
        let deadlines = Deadlines::new();
        let waits = self.record.call.and_then(|_| grpc::timeout_of(&scratch.request));
        deadlines.route(self.record.first, route.config.timeout, waits);
        let ask = Ask { deadlines: &deadlines, filtered, held };
        match retry::until_answered(self, scratch, route, cluster, key, ask).await {
            Outcome::Answered(after) => after,
            Outcome::Failed(cause) => match filtered {
                Some(filtered) => respond::stopped(self, scratch, filtered, cause).await,
                None => respond::fail(self, scratch, cause).await,
            },
            Outcome::Cut(cause, after) => {
                self.fail(cause);
                // Behind a message that broke off, nothing can be said in gRPC-Web's body.
                if self.record.call == Some(Kind::Grpc) {
                    self.down.end_call(grpc::code_of(cause));
                }
                after
            }
        }
    }

    /// The cluster that this request goes to, by weight where there are several.
    fn choose(&self, forward: &Forward) -> ClusterId {
        if let Some(cluster) = forward.only() {
            return cluster;
        }
        let mut left = self.worker.below(forward.weight_total());
        let shares = forward.shares();
        let chosen = shares.iter().find(|share| {
            let weight = share.weight.shares();
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        });
        chosen.unwrap_or(&shares[0]).cluster
    }

    /// Who asks, if a certificate was verified.
    pub(super) fn client(&self) -> Option<&Identity> {
        self.down.secure().and_then(|facts| facts.client.as_deref())
    }

    /// RFC 9110 §7.4: whether the request is for another host than the connection was opened for.
    /// One that named none, as by address, may ask for any.
    fn is_misdirected(&self, facts: &Facts, authority: Option<&[u8]>) -> bool {
        let (Some(name), Some(acceptor)) = (&facts.server_name, &self.listener.tls) else {
            return false;
        };
        let authority = authority.and_then(|authority| std::str::from_utf8(authority).ok());
        authority.is_some_and(|authority| !acceptor.serves(name, authority))
    }

    /// Notes why the answer is not the endpoint's, and counts it if that is a failure.
    pub(crate) fn fail(&mut self, cause: Cause) {
        self.record.cause = Some(cause);
        if !cause.is_asked_for() {
            let entrance = Entrance::Listener(self.down.listener());
            self.worker.count_failure(self.plan, entrance, cause);
        }
    }

    /// Whether the connection can take another request after this response.
    pub(crate) fn keeps_alive(&self, scratch: &Scratch) -> bool {
        let requests_max = self.listener.config.limits.connection_requests_max;
        scratch.request.keep_alive() && !self.down.is_at_its_end(self.worker, requests_max)
    }
}

/// Whether a browser asks if it may make a call: the fetch standard's CORS preflight, which a route
/// or a filter answers.
fn is_preflight(request: &RequestHead) -> bool {
    let asks = || request.fields().value_of(b"access-control-request-method").is_some();
    request.method() == Method::Options && asks()
}
