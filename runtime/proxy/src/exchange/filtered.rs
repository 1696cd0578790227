//! An exchange's filters at work: what they are shown, what they hold, what they decide.
//!
//! Upload and download run side by side and both pass through the one chain, so it is lent to
//! each for the length of a call. What happens to it from outside a call (a callout's answer, a
//! resumed half) is an event; whoever polls first takes it and leaves what is the other's.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_balance::EndpointId;
use penstock_config::ClusterId;
use penstock_env::{Env, Time, Unix};
use penstock_filter_host::{Chain, ChainLink, Event, Flow, LocalResponse, Passed};
use penstock_wire::http1::{Fields, RequestHead, ResponseHead};

use super::body::Passage;
use super::fieldmap::{RequestMap, ResponseMap};
use super::session::{Facts, HttpSession, trailers};
use crate::callout::{self, Arrival, Inbox};
use crate::downstream::Downstream;
use crate::failure::Cause;
use crate::properties::Properties;
use crate::upstream::Up;
use crate::worker::{Plan, Worker};

/// A half of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Downstream to upstream.
    Request,
    /// Upstream to downstream.
    Response,
}

/// Where a body comes from.
pub(crate) enum Source<'a, E: Env> {
    /// The request's, from the downstream.
    Request,
    /// The response's, from this upstream.
    Response(Up<'a, E>),
}

impl<E: Env> Source<'_, E> {
    fn way(&self) -> Way {
        match self {
            Source::Request => Way::Request,
            Source::Response(_) => Way::Response,
        }
    }
}

/// The heads that a call may look at.
pub(crate) struct Heads<'a> {
    pub(crate) request: RequestMap<'a>,
    pub(crate) response: Option<ResponseMap<'a>>,
}

impl<'a> Heads<'a> {
    /// Before the request was sent.
    pub(crate) fn of_request(request: &'a mut RequestHead) -> Heads<'a> {
        Heads { request: RequestMap::open_for(request), response: None }
    }

    /// After it was sent, before there is a response.
    pub(crate) fn sent(request: &'a RequestHead) -> Heads<'a> {
        Heads { request: RequestMap::sent(request), response: None }
    }

    /// While there is a response that was not sent yet.
    pub(crate) fn of_response(request: &'a RequestHead, response: &'a mut ResponseHead) -> Self {
        Heads { request: RequestMap::sent(request), response: Some(ResponseMap::Open(response)) }
    }

    /// The same heads, for one call.
    pub(crate) fn reborrow(&mut self) -> Heads<'_> {
        Heads {
            request: self.request.again(),
            response: self.response.as_mut().map(|response| match response {
                ResponseMap::Open(head) => ResponseMap::Open(head),
                ResponseMap::Sent(head) => ResponseMap::Sent(head),
            }),
        }
    }

    /// After both were sent.
    pub(crate) fn both_sent(request: &'a RequestHead, response: &'a ResponseHead) -> Heads<'a> {
        Heads { request: RequestMap::sent(request), response: Some(ResponseMap::Sent(response)) }
    }
}

/// The filters of one exchange.
pub(crate) struct Filtered<'a, E: Env> {
    worker: &'a Worker<E>,
    plan: &'a Rc<Plan<E>>,
    down: Downstream<'a, E>,
    chain: RefCell<Chain>,
    properties: RefCell<Properties>,
    /// For the answers to calls, where there is a filter that could make one.
    inbox: OnceCell<Rc<Inbox>>,
    /// A filter set out to change the request's head since the routes were last looked at.
    edited: Cell<bool>,
    begun: Unix,
    begun_at: Time,
    /// Halves that were resumed while nobody waited for them.
    resumed: [Cell<bool>; 2],
    response: RefCell<Option<Box<LocalResponse>>>,
    /// Who asked, where a trusted peer says it.
    pub(crate) client: Cell<Option<IpAddr>>,
    pub(crate) route: Cell<Option<u32>>,
    pub(crate) cluster: Cell<Option<ClusterId>>,
    pub(crate) endpoint: Cell<Option<EndpointId>>,
    /// What went by so far.
    pub(crate) sizes: Cell<Sizes>,
    /// In calls so far, and held by them.
    spent: Cell<Duration>,
}

/// Bytes of an exchange on the downstream's side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) request_head: u64,
    pub(crate) request_body: u64,
    /// Interim ones among them.
    pub(crate) response_heads: u64,
    pub(crate) response_body: u64,
}

/// What somebody who waits for a half is woken for.
enum Woken {
    Resumed,
    Received,
}

impl<'a, E: Env> Filtered<'a, E> {
    /// The filters `links`, on an empty `chain`.
    pub(crate) fn new(
        worker: &'a Worker<E>,
        plan: &'a Rc<Plan<E>>,
        down: Downstream<'a, E>,
        links: &[ChainLink],
        mut chain: Chain,
        begun: Unix,
    ) -> Self {
        chain.begin(worker.filters(), links);
        let filtered = Filtered {
            worker,
            plan,
            down,
            chain: RefCell::new(chain),
            properties: RefCell::default(),
            inbox: OnceCell::new(),
            edited: Cell::new(false),
            begun,
            begun_at: worker.env().now(),
            resumed: Default::default(),
            response: RefCell::default(),
            client: Cell::new(None),
            route: Cell::new(None),
            cluster: Cell::new(None),
            endpoint: Cell::new(None),
            sizes: Cell::default(),
            spent: Cell::default(),
        };
        filtered.open_inbox();
        filtered
    }

    fn open_inbox(&self) {
        if self.inbox.get().is_none() && self.chain.borrow().is_reachable() {
            self.inbox.get_or_init(Rc::default);
        }
    }

    /// Whether this filter is among them, as it is configured here.
    pub(crate) fn has(&self, link: ChainLink) -> bool {
        self.chain.borrow().has(link)
    }

    /// Whether the routes have to be looked at again; asked once.
    pub(crate) fn take_edited(&self) -> bool {
        self.edited.take()
    }

    /// Puts more filters behind the others, and shows them the request as far as those let it
    /// pass: its head, and the body in `piece`; with `ended`, all of it. As [`Filtered::head`].
    ///
    /// # Errors
    /// As [`Filtered::head`].
    pub(crate) fn join(
        &self,
        links: &[ChainLink],
        heads: Heads<'_>,
        (bare, ended): (bool, bool),
        passage: &mut Passage,
        piece: &mut Vec<u8>,
    ) -> Result<bool, Cause> {
        let from = self.chain.borrow_mut().extend(self.worker.filters(), links);
        self.open_inbox();
        let fields = passage.decoder.trailers_mut();
        let trailers = !bare && ended && fields.count() > 0;
        let some = !bare && (ended || !piece.is_empty());
        let passed = Passed { bare, body: some.then_some(ended && !trailers), trailers };
        let tail = trailers.then_some((Way::Request, fields));
        let flow = self
            .with(heads, tail, |chain, session| chain.show_passed(from, passed, session, piece));
        self.obey(flow)
    }

    /// Whether some filter looks at the bodies of this half.
    pub(crate) fn wants_body(&self, way: Way) -> bool {
        let chain = self.chain.borrow();
        match way {
            Way::Request => chain.wants_request_body() || chain.holds_request(),
            Way::Response => chain.wants_response_body() || chain.holds_response(),
        }
    }

    /// Whether bodies of this half may come out of any length, whatever their head says.
    pub(crate) fn frees_length(&self, way: Way) -> bool {
        let chain = self.chain.borrow();
        match way {
            Way::Request => chain.frees_request_length(),
            Way::Response => chain.frees_response_length(),
        }
    }

    /// Shows a head; whether it may go on at once. `Ok(false)` is a pause: go on with
    /// [`Filtered::next_piece`].
    ///
    /// # Errors
    /// A filter answered ([`Filtered::take_response`]), failed, or closed the exchange.
    pub(crate) fn head(&self, way: Way, heads: Heads<'_>, end: bool) -> Result<bool, Cause> {
        let flow = self.with(heads, None, |chain, session| match way {
            Way::Request => chain.request_headers(session, end),
            Way::Response => chain.response_headers(session, end),
        });
        self.obey(flow)
    }

    /// Brings the next of a body through the filters: appends to `piece` what may go on.
    /// Whether that was the last of it.
    ///
    /// # Errors
    /// As [`Filtered::head`], and when the body is malformed or its sender is gone.
    pub(crate) async fn next_piece(
        &self,
        source: Source<'_, E>,
        heads: &mut Heads<'_>,
        passage: &mut Passage,
        piece: &mut Vec<u8>,
    ) -> Result<bool, Cause> {
        let way = source.way();
        loop {
            let woken = poll_fn(|context| {
                if self.poll(context, heads)?.is_ready() && self.resumed[way as usize].take() {
                    return Poll::Ready(Ok::<_, Cause>(Woken::Resumed));
                }
                if passage.decoder.is_done() || self.is_shut(way) {
                    return Poll::Pending;
                }
                let received = self.poll_receive(context, &source, passage, piece);
                received.map(|received| received.map(|()| Woken::Received))
            });
            let flow = match woken.await? {
                Woken::Resumed => self.with(heads.reborrow(), None, |chain, session| match way {
                    Way::Request => chain.resume_request(session, piece),
                    Way::Response => chain.resume_response(session, piece),
                }),
                Woken::Received => self.show_body(way, heads.reborrow(), passage, piece),
            };
            if self.obey(flow)? {
                return Ok(passage.decoder.is_done() && !self.holds(way));
            }
        }
    }

    /// Something from outside: `Ready` when some half was resumed.
    ///
    /// # Errors
    /// As [`Filtered::head`].
    pub(crate) fn poll(
        &self,
        context: &mut Context<'_>,
        heads: &mut Heads<'_>,
    ) -> Result<Poll<()>, Cause> {
        let mut take = || match self.inbox.get() {
            Some(inbox) => inbox.poll_take(context),
            None => Poll::Pending,
        };
        while let Poll::Ready(arrival) = take() {
            // What the filter makes of it shows as an event.
            let _ = self.with(heads.reborrow(), None, |chain, session| {
                match &arrival {
                    Arrival::Answer(callout, answer) => {
                        chain.answer(session, callout, answer.as_ref().map_err(|&failure| failure));
                    }
                    Arrival::Event(call, event) => chain.hear(session, *call, event),
                }
                Flow::Continue
            });
        }
        loop {
            let event = self.chain.borrow_mut().poll_event(context);
            match event {
                Poll::Pending => break,
                Poll::Ready(Event::ResumeRequest) => {
                    self.resumed[Way::Request as usize].set(true);
                    break;
                }
                Poll::Ready(Event::ResumeResponse) => {
                    self.resumed[Way::Response as usize].set(true);
                    break;
                }
                Poll::Ready(Event::Respond(response)) => {
                    self.obey(Flow::Respond(response))?;
                }
                Poll::Ready(Event::Close) => {
                    self.obey(Flow::Close)?;
                }
                Poll::Ready(Event::Callout(callout)) => self.start(callout),
            }
        }
        let resumed = self.resumed.iter().any(Cell::get);
        Ok(if resumed { Poll::Ready(()) } else { Poll::Pending })
    }

    /// The answer that a filter gave.
    pub(crate) fn take_response(&self) -> Option<Box<LocalResponse>> {
        self.response.borrow_mut().take()
    }

    /// Shows filters an answer of our own on its way down, `body` included unless it is not sent:
    /// they may change it, not hold it. As in Envoy.
    pub(crate) fn local_response(&self, mut heads: Heads<'_>, body: &mut Vec<u8>, bodiless: bool) {
        let end = bodiless || body.is_empty();
        let shown =
            |chain: &mut Chain, session: &mut HttpSession<'_>| chain.response_headers(session, end);
        let flow = self.with(heads.reborrow(), None, shown);
        // A pause, or another answer, would keep the downstream from its only one.
        if end || !matches!(flow, Flow::Continue) || !self.wants_body(Way::Response) {
            return;
        }
        let mut changed = body.clone();
        let flow = self
            .with(heads, None, |chain, session| chain.response_body(session, &mut changed, true));
        if matches!(flow, Flow::Continue) {
            *body = changed;
        }
    }

    /// Counts the time since then as the filters': it was they who held what is under way.
    pub(crate) fn held_since(&self, begun: Time, before: Duration) {
        self.spent.set(before + self.worker.env().now().since(begun));
    }

    /// The time that filters have taken so far.
    pub(crate) fn spent(&self) -> Duration {
        self.spent.get()
    }

    /// Ends the exchange for its filters; the chain's room can be used again. Also the time that
    /// they took.
    pub(crate) fn finish(self, heads: Heads<'_>) -> (Chain, Duration) {
        if self.chain.borrow().tells_end() {
            let _ = self.with(heads, None, |chain, session| {
                chain.finish(session);
                Flow::Continue
            });
            return (self.chain.into_inner(), self.spent.get());
        }
        let mut chain = self.chain.into_inner();
        chain.finish_untold();
        (chain, self.spent.get())
    }

    /// Takes what came from a body's sender.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        source: &Source<'_, E>,
        passage: &mut Passage,
        piece: &mut Vec<u8>,
    ) -> Poll<Result<(), Cause>> {
        match source {
            Source::Request => {
                let received = self.down.poll_decode(context, passage, piece);
                let sizes = self.sizes.get();
                self.sizes.set(Sizes { request_body: passage.received_bytes, ..sizes });
                received
            }
            Source::Response(up) => up.poll_decode(context, passage, piece),
        }
    }

    fn show_body(
        &self,
        way: Way,
        mut heads: Heads<'_>,
        passage: &mut Passage,
        piece: &mut Vec<u8>,
    ) -> Flow {
        let end = passage.decoder.is_done();
        let trailers = passage.decoder.trailers_mut();
        let has_trailers = end && trailers.count() > 0;
        let flow = self.with(heads.reborrow(), None, |chain, session| match way {
            Way::Request => chain.request_body(session, piece, end && !has_trailers),
            Way::Response => chain.response_body(session, piece, end && !has_trailers),
        });
        if !has_trailers || !matches!(flow, Flow::Continue | Flow::Pause) {
            return flow;
        }
        // What has passed is not shown again.
        let mut tail = Vec::new();
        let flow = self.with(heads, Some((way, trailers)), |chain, session| match way {
            Way::Request => chain.request_trailers(session, &mut tail),
            Way::Response => chain.response_trailers(session, &mut tail),
        });
        piece.append(&mut tail);
        flow
    }

    /// Lends the chain and a session to `call`, and starts the calls that came of it.
    fn with(
        &self,
        heads: Heads<'_>,
        tail: Option<(Way, &mut Fields)>,
        call: impl FnOnce(&mut Chain, &mut HttpSession<'_>) -> Flow,
    ) -> Flow {
        let facts = |request: &RequestHead| self.facts(request);
        let (request_tail, response_tail) = match tail {
            Some((Way::Request, fields)) => (trailers(fields), None),
            Some((Way::Response, fields)) => (None, trailers(fields)),
            None => (None, None),
        };
        let mut session = HttpSession {
            request: heads.request.over(self.down.secure().is_some()),
            response: heads.response,
            request_trailers: request_tail,
            response_trailers: response_tail,
            properties: &mut self.properties.borrow_mut(),
            facts: &facts,
        };
        let chain = &mut *self.chain.borrow_mut();
        // A filter may take long: that is its own time, and not that of what comes behind it.
        let (env, begun) = (self.worker.env(), self.worker.env().read_clock());
        let flow = call(chain, &mut session);
        self.spent.set(self.spent.get() + env.read_clock().since(begun));
        if session.request.is_touched() {
            self.edited.set(true);
        }
        while let Some(callout) = chain.callout() {
            self.start(callout);
        }
        flow
    }

    /// What can be told of the exchange now.
    fn facts(&self, request: &RequestHead) -> Facts<'_> {
        let snapshot = &self.plan.snapshot;
        let cluster = self.cluster.get().map(|id| &snapshot.clusters[id.index()]);
        let endpoint = cluster.zip(self.endpoint.get());
        let endpoint = endpoint.map(|(cluster, id)| cluster.balancer.endpoint(id).address());
        let listener = &snapshot.listeners[self.down.listener()];
        let route = self.route.get().and_then(|at| listener.routes.routes().get(at as usize));
        Facts {
            client: self.client.get(),
            peer: self.down.peer(),
            local: self.down.local(),
            secure: self.down.secure(),
            listener: &listener.config.name,
            protocol: self.down.protocol(request).as_str(),
            route: route.map(|route| &*route.name),
            cluster: cluster.map(|cluster| &*cluster.config.name),
            endpoint,
            begun_us: self.begun.us,
            elapsed: self.worker.env().now().since(self.begun_at),
            sizes: self.sizes.get(),
        }
    }

    fn start(&self, callout: penstock_filter_host::Callout) {
        // Where nothing can come to the exchange, no filter makes a call.
        if let Some(inbox) = self.inbox.get() {
            callout::start(self.worker, self.plan, callout, inbox);
        }
    }

    /// Whether the piece may go on.
    fn obey(&self, flow: Flow) -> Result<bool, Cause> {
        match flow {
            Flow::Continue => Ok(true),
            Flow::Pause => Ok(false),
            Flow::Close => Err(Cause::FilterCloses),
            Flow::Respond(response) => {
                let cause = match (&response.failed, response.status) {
                    (None, _) => Cause::FilterResponds,
                    (Some(_), 413) => Cause::BodyTooLarge,
                    (Some(_), _) => Cause::FilterFailed,
                };
                self.response.replace(Some(response));
                Err(cause)
            }
        }
    }

    fn is_shut(&self, way: Way) -> bool {
        let chain = self.chain.borrow();
        match way {
            Way::Request => chain.is_request_shut(),
            Way::Response => chain.is_response_shut(),
        }
    }

    fn holds(&self, way: Way) -> bool {
        let chain = self.chain.borrow();
        match way {
            Way::Request => chain.holds_request(),
            Way::Response => chain.holds_response(),
        }
    }
}
