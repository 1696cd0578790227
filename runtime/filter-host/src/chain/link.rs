//! One filter of one exchange or connection: its context, its gates, and its policy when it fails.

use std::rc::Rc;

use crate::abi::{Action, Callback, MapType};
use crate::chain::gate::{Gate, Held, Pieces, Stage};
use crate::chain::wish::{Wish, forget_idle, resume_flag};
use crate::chain::{ChainLink, denied};
use crate::contexts::ContextId;
use crate::error::Trapped;
use crate::instance::{Instance, Way};
use crate::running::{Live, Running};
use crate::session::{Body, LocalResponse, OverLimit, Session};
use crate::settings::{OnError, PauseHeaders};
use crate::state::Lent;

/// A filter in a chain.
pub(super) struct Link {
    pub(super) live: Rc<Live>,
    /// What it was made of.
    pub(super) spec: ChainLink,
    /// It is of a raw connection: see `connection`.
    pub(super) raw: bool,
    pub(super) place: Place,
    pub(super) request: Gate,
    pub(super) response: Gate,
    // The filter wants something: seen on the way out of a callback.
    called: bool,
    // It has made calls of its own for this exchange, whose answers only that instance knows.
    calls: bool,
    /// It heard that the connection to the endpoint is closed.
    pub(super) told_of_upstream: bool,
}

/// Where the exchange stands with the filter.
pub(super) enum Place {
    /// It has not come to it.
    Before,
    /// It has a context.
    In(Rc<Running>, ContextId),
    /// It goes on without the filter.
    Past,
}

/// Why pieces go no further, ever.
pub(super) enum Stop {
    Respond(Box<LocalResponse>),
    Close,
}

impl Link {
    pub(super) fn new(live: Rc<Live>, spec: ChainLink, raw: bool) -> Link {
        Link {
            live,
            spec,
            raw,
            place: Place::Before,
            request: Gate::default(),
            response: Gate::default(),
            called: false,
            calls: false,
            told_of_upstream: false,
        }
    }

    pub(super) fn gate(&self, way: Way) -> &Gate {
        match way {
            Way::Request => &self.request,
            Way::Response => &self.response,
        }
    }

    pub(super) fn gate_mut(&mut self, way: Way) -> &mut Gate {
        match way {
            Way::Request => &mut self.request,
            Way::Response => &mut self.response,
        }
    }

    /// Whether the instance owes the exchange something: it holds a half of it back, or has made
    /// calls for it.
    fn is_engaged(&self) -> bool {
        self.calls || self.request.waits() || self.response.waits()
    }

    pub(super) fn has(&self, callback: Callback) -> bool {
        self.live.filter.module.callbacks().has(callback)
    }

    /// Whether the filter is to see pieces for this callback.
    pub(super) fn wants(&self, callback: Callback) -> bool {
        !matches!(self.place, Place::Past) && self.has(callback)
    }

    /// Whether what the filter makes of bodies, in this callback, may be of any length.
    pub(super) fn frees_length(&self, callback: Callback) -> bool {
        self.wants(callback) && self.live.filter.module.frees_lengths()
    }

    /// Whether a callback left something to pick up; asked once.
    pub(super) fn take_called(&mut self) -> bool {
        std::mem::take(&mut self.called)
    }

    /// Gives pieces to the filter. What it lets go comes back, with its bytes in `body`.
    pub(super) fn pass(
        &mut self,
        way: Way,
        pieces: Pieces,
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<Option<Pieces>, Stop> {
        let Some((running, id)) = self.enter(way, pieces, session)? else {
            return Ok(Some(pieces));
        };
        match self.call(way, pieces, (&running, id), session, body) {
            Ok(()) => self.leave(way, pieces, body),
            Err(Failed::Trapped(trapped)) => self.failed(way, &trapped, pieces, body),
            Err(Failed::Stop(stop)) => Err(stop),
            Err(Failed::OverLimit) => Err(self.over_limit(way)),
        }
    }

    /// The filter's context: made when the request's head comes, and anew where another exchange
    /// took the instance with it and the filter keeps nothing of this one between callbacks.
    /// `None` when it is passed by.
    fn enter(
        &mut self,
        way: Way,
        pieces: Pieces,
        session: &mut dyn Session,
    ) -> Result<Option<(Rc<Running>, ContextId)>, Stop> {
        match &self.place {
            Place::In(running, _) if running.can_be_replaced() && !self.is_engaged() => {}
            Place::In(running, id) => return Ok(Some((Rc::clone(running), *id))),
            Place::Past => return Ok(None),
            Place::Before if way == Way::Request && pieces.head.is_some() => {}
            Place::Before => return Ok(None),
        }
        let (plugin, raw) = (self.spec.plugin, self.raw);
        let opened = self.live.running().and_then(|running| {
            let lent = Lent { session: Some(session), ..Lent::default() };
            let id = running.with(|instance| instance.open(plugin, raw, lent))?;
            Ok((running, id))
        });
        match opened {
            Ok((running, id)) => {
                self.place = Place::In(Rc::clone(&running), id);
                Ok(Some((running, id)))
            }
            Err(trapped) => {
                self.fail(&trapped)?;
                Ok(None)
            }
        }
    }

    /// Calls what the pieces call for, in their order.
    fn call(
        &mut self,
        way: Way,
        pieces: Pieces,
        at: (&Rc<Running>, ContextId),
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<(), Failed> {
        if self.raw {
            return self.call_raw(way, pieces, at, session, body);
        }
        let (head, data, trailers) = match way {
            Way::Request => {
                (Callback::RequestHeaders, Callback::RequestBody, Callback::RequestTrailers)
            }
            Way::Response => {
                (Callback::ResponseHeaders, Callback::ResponseBody, Callback::ResponseTrailers)
            }
        };
        if let Some(end) = pieces.head
            && self.has(head)
        {
            let map = match way {
                Way::Request => MapType::RequestHeaders,
                Way::Response => MapType::ResponseHeaders,
            };
            let count = session.headers(map).map_or(0, |map| map.len()) as u32;
            let end = end && pieces.body.is_none() && !pieces.trailers;
            let lent = Lent { session: Some(session), ..Lent::default() };
            let action =
                self.act(way, at, |instance| instance.on_headers(way, at.1, lent, count, end))?;
            self.note(way, action, Stage::Headers);
        }
        if self.is_shut(way) {
            return Ok(());
        }
        // A filter that knows no trailers is told of the end with the body: else it would wait
        // for an end that never comes, or let pass what it never saw the end of.
        let ends_here = pieces.trailers && !self.has(trailers);
        if (pieces.body.is_some() || ends_here) && self.has(data) {
            let end = pieces.body == Some(true) || ends_here;
            self.call_body(way, end, at, session, body)?;
        }
        if pieces.trailers && self.has(trailers) {
            self.call_trailers(way, at, session, body)?;
        }
        Ok(())
    }

    fn call_body(
        &mut self,
        way: Way,
        end: bool,
        at: (&Rc<Running>, ContextId),
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<(), Failed> {
        let bytes_max = self.live.filter.settings.body_bytes_max;
        let holds = self.gate(way).waits();
        let gate = self.gate_mut(way);
        if holds {
            gate.take(body, bytes_max)?;
        }
        // Taken out for the call, so that the session's borrow and the gate's don't meet.
        let mut held = Held { bytes: std::mem::take(&mut gate.bytes), bytes_max };
        let view: &mut dyn Body = if holds { &mut held } else { body };
        let bytes = u32::try_from(view.len()).map_err(|_| OverLimit)?;
        let lent = lend(way, session, Some(view));
        let action = self.act(way, at, |instance| instance.on_body(way, at.1, lent, bytes, end));
        self.gate_mut(way).bytes = held.bytes;
        let action = action?;
        self.note(way, action, Stage::Body);
        Ok(())
    }

    /// The filter sees what it holds of the body, as in Envoy. Where it holds nothing, what has
    /// gone on is not shown again; what it puts there goes before the trailers.
    fn call_trailers(
        &mut self,
        way: Way,
        at: (&Rc<Running>, ContextId),
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<(), Failed> {
        let map = match way {
            Way::Request => MapType::RequestTrailers,
            Way::Response => MapType::ResponseTrailers,
        };
        let count = session.headers(map).map_or(0, |map| map.len()) as u32;
        let holds = self.gate(way).waits();
        let bytes_max = self.live.filter.settings.body_bytes_max;
        let mut shown = match holds {
            true => self.lift(way),
            false => Held { bytes: Vec::new(), bytes_max },
        };
        let lent = lend(way, session, Some(&mut shown));
        let action = self.act(way, at, |instance| instance.on_trailers(way, at.1, lent, count));
        match holds {
            true => self.gate_mut(way).bytes = shown.bytes,
            false if shown.bytes.is_empty() => {}
            false => body.splice(body.len()..body.len(), &shown.bytes)?,
        }
        let action = action?;
        self.note(way, action, Stage::Trailers);
        Ok(())
    }

    /// The held bytes, out of their gate for the length of a call.
    pub(super) fn lift(&mut self, way: Way) -> Held {
        let bytes_max = self.live.filter.settings.body_bytes_max;
        Held { bytes: std::mem::take(&mut self.gate_mut(way).bytes), bytes_max }
    }

    /// Runs a callback, and looks at what it asked for: an answer or a cut comes before whatever
    /// it returned, and going on cancels a pause.
    pub(super) fn act(
        &mut self,
        way: Way,
        (running, id): (&Rc<Running>, ContextId),
        call: impl FnOnce(&mut Instance) -> Result<Action, Trapped>,
    ) -> Result<Action, Failed> {
        let mut wish = Wish::default();
        let (request, response) = (self.request.waits(), self.response.waits());
        let action = running.with(|instance| {
            forget_idle(instance, id, request, response);
            let action = call(instance)?;
            wish = Wish::of(instance, id, way);
            forget_idle(instance, id, request, response);
            Ok(action)
        })?;
        self.called |= wish.callouts;
        self.calls |= wish.callouts;
        if let Some(response) = wish.respond {
            return Err(Failed::Stop(Stop::Respond(response)));
        }
        if wish.close {
            return Err(Failed::Stop(Stop::Close));
        }
        Ok(if wish.resumed { Action::Continue } else { action })
    }

    /// Remembers what a callback returned.
    pub(super) fn note(&mut self, way: Way, action: Action, stage: Stage) {
        let gate = self.gate_mut(way);
        gate.waiting = match action {
            Action::Continue => None,
            Action::Pause => Some(stage),
        };
    }

    /// Whether body that comes now would only pile up unseen.
    pub(super) fn is_shut(&self, way: Way) -> bool {
        self.gate(way).waiting == Some(Stage::Headers) && self.holds_all(way)
    }

    /// Whether a pause at the head holds the body too. A connection's bytes are shown, as Envoy and
    /// the ABI have it.
    fn holds_all(&self, way: Way) -> bool {
        let data = match (way, self.raw) {
            (Way::Request, false) => Callback::RequestBody,
            (Way::Response, false) => Callback::ResponseBody,
            (Way::Request, true) => Callback::DownstreamData,
            (Way::Response, true) => Callback::UpstreamData,
        };
        let alone = self.raw || self.live.filter.settings.pause_headers != PauseHeaders::All;
        !alone || !self.has(data)
    }

    /// What a gate may take in. Of a connection no more is brought than there is room for (see
    /// [`Link::room`]); what earlier filters add to that is bounded by their own limits.
    fn taken_bytes_max(&self) -> usize {
        if self.raw { usize::MAX } else { self.live.filter.settings.body_bytes_max }
    }

    /// After the callbacks: the pieces go on, or stay.
    fn leave(
        &mut self,
        way: Way,
        pieces: Pieces,
        body: &mut dyn Body,
    ) -> Result<Option<Pieces>, Stop> {
        let bytes_max = self.taken_bytes_max();
        let gate = self.gate_mut(way);
        if !gate.waits() && !gate.holds() {
            return Ok(Some(pieces));
        }
        gate.hold(pieces);
        let moved = match gate.waits() {
            true => gate.take(body, bytes_max).map(|()| None),
            false => gate.release(body).map(Some),
        };
        moved.map_err(|OverLimit| self.over_limit(way))
    }

    /// Whether the guest let this half go on; asked once. A lost instance counts as that: its
    /// policy decides on the way.
    pub(super) fn take_resumed(&mut self, way: Way) -> bool {
        if !self.gate(way).waits() {
            return false;
        }
        let Place::In(running, id) = &self.place else {
            return false;
        };
        let id = *id;
        let resumed = running.with(|instance| {
            let Some(context) = instance.context(id) else {
                return Ok(true);
            };
            Ok(std::mem::take(resume_flag(context, way)))
        });
        resumed.unwrap_or(true)
    }

    /// Lets go what a resumed filter held.
    ///
    /// With `PauseHeaders::All`, what came after the head has not been shown to the filter yet.
    pub(super) fn release(
        &mut self,
        way: Way,
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<Option<Pieces>, Stop> {
        let Place::In(running, id) = &self.place else {
            return Ok(None);
        };
        let (running, id) = (Rc::clone(running), *id);
        let at_head = self.gate(way).waiting == Some(Stage::Headers);
        let held = self.gate(way).held;
        self.gate_mut(way).waiting = None;
        if !running.is_alive() {
            let lost = Trapped::new(crate::TrapCause::Lost);
            return self.failed(way, &lost, Pieces::default(), body);
        }
        if at_head && (held.body.is_some() || held.trailers) && self.holds_all(way) {
            if self.gate_mut(way).release(body).is_err() {
                return Err(self.over_limit(way));
            }
            self.gate_mut(way).held.head = held.head;
            let unseen = Pieces { head: None, ..held };
            return match self.call(way, unseen, (&running, id), session, body) {
                Ok(()) => self.leave(way, unseen, body),
                Err(Failed::Trapped(trapped)) => self.failed(way, &trapped, unseen, body),
                Err(Failed::Stop(stop)) => Err(stop),
                Err(Failed::OverLimit) => Err(self.over_limit(way)),
            };
        }
        self.leave(way, Pieces::default(), body)
    }

    /// The filter's policy for this exchange: an answer, or on without it.
    fn fail(&mut self, trapped: &Trapped) -> Result<(), Stop> {
        self.place = Place::Past;
        match self.live.filter.settings.on_error {
            OnError::Deny => {
                self.live.counters().denied.add(1);
                Err(Stop::Respond(denied(&self.live.filter.settings.name, trapped)))
            }
            OnError::Allow => {
                self.live.counters().skipped.add(1);
                Ok(())
            }
        }
    }

    /// A failure on the way: what the filter held goes on without it, if the policy is so.
    fn failed(
        &mut self,
        way: Way,
        trapped: &Trapped,
        pieces: Pieces,
        body: &mut dyn Body,
    ) -> Result<Option<Pieces>, Stop> {
        self.fail(trapped)?;
        self.gate_mut(way).waiting = None;
        self.gate_mut(way).hold(pieces);
        match self.gate_mut(way).release(body) {
            Ok(pieces) => Ok(Some(pieces)),
            Err(OverLimit) => Err(self.over_limit(way)),
        }
    }

    /// A filter held back more than it may.
    fn over_limit(&self, way: Way) -> Stop {
        self.live.counters().limits.add(1);
        Stop::Respond(Box::new(LocalResponse {
            // RFC 9110 §15.5.14 for what the downstream sent; a response too large is our limit.
            status: if way == Way::Request { 413 } else { 500 },
            details: "filter_body_over_limit".into(),
            failed: Some(std::sync::Arc::clone(&self.live.filter.settings.name)),
            ..LocalResponse::default()
        }))
    }
}

/// Why callbacks were not all called.
pub(super) enum Failed {
    Trapped(Trapped),
    Stop(Stop),
    OverLimit,
}

impl From<Trapped> for Failed {
    fn from(trapped: Trapped) -> Failed {
        Failed::Trapped(trapped)
    }
}

impl From<OverLimit> for Failed {
    fn from(_: OverLimit) -> Failed {
        Failed::OverLimit
    }
}

/// What a callback about a half is lent.
fn lend<'a>(way: Way, session: &'a mut dyn Session, body: Option<&'a mut dyn Body>) -> Lent<'a> {
    let lent = Lent { session: Some(session), ..Lent::default() };
    match way {
        Way::Request => Lent { request_body: body, ..lent },
        Way::Response => Lent { response_body: body, ..lent },
    }
}
