//! The filters of one exchange, run in order over its request and in reverse over its response; or
//! those of one raw connection (see `connection`), over what comes from downstream and upstream.
//!
//! The proxy gives a [`Chain`] each piece of the exchange as it comes (head, body, trailers) and
//! is told by a [`Flow`] what to do with it. A filter that pauses holds its pieces in a gate (see
//! `gate`); the proxy waits for [`Chain::event`] and resumes.

mod connection;
mod gate;
mod link;
mod outside;
#[cfg(test)]
mod tests;
mod wish;

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::abi::{Callback, CallbackSet};
use crate::chain::gate::Pieces;
use crate::chain::link::{Link, Stop};
use crate::error::Trapped;
use crate::filters::Filters;
use crate::grpc::GrpcEvent;
use crate::instance::Way;
use crate::session::{Body, Callout, CalloutFailure, CalloutResponse, LocalResponse, Session};

pub use connection::Half;

/// Which filter, with which of its configurations: an entry of a route's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainLink {
    /// The filter's place in what [`Filters::apply`] was given.
    pub filter: usize,
    /// Index into [`crate::FilterSettings::plugins`].
    pub plugin: u32,
}

/// What of a request filters have let pass, for those that join the chain behind them.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Nothing follows its head.
    pub bare: bool,
    /// Some of its body passed, and whether that was the end of the request.
    pub body: Option<bool>,
    /// Its trailers passed.
    pub trailers: bool,
}

/// What to do after a piece of the exchange was given to the chain.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a chain that isn't obeyed filters nothing"]
pub enum Flow {
    /// Let go what passed: the head, if it was held until now, then what is in `body`. When the
    /// piece was the last, or carried a held last piece with it, [`Chain::holds_request`] or
    /// [`Chain::holds_response`] tells whether the end may go too.
    Continue,
    /// Nothing may go on; the chain has taken what is given. Wait for [`Chain::event`], and give
    /// it more as it comes, unless [`Chain::is_request_shut`] says that it would only pile up.
    Pause,
    /// Answer this, and nothing else. Later pieces of the request are not given to the chain.
    Respond(Box<LocalResponse>),
    /// Cut the exchange.
    Close,
}

/// What a waiting exchange is woken for.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Call [`Chain::resume_request`]; of a connection, [`Chain::go_on`] with what comes from
    /// downstream.
    ResumeRequest,
    /// Call [`Chain::resume_response`]; of a connection, the same with what comes from upstream.
    ResumeResponse,
    /// As [`Flow::Respond`].
    Respond(Box<LocalResponse>),
    /// As [`Flow::Close`].
    Close,
    /// Make this call, and hand its answer to [`Chain::answer`].
    Callout(Callout),
}

/// The filters of one exchange.
///
/// Reusable: [`Chain::finish`] empties it and keeps its room. Must be finished before it is
/// dropped; if it isn't, its contexts close without a session.
#[derive(Default)]
pub struct Chain {
    links: Vec<Link>,
    callbacks: CallbackSet,
    // A call of some filter waits to be picked up.
    callouts: bool,
}

impl Chain {
    /// An empty chain, which lets everything pass.
    pub fn new() -> Chain {
        Chain::default()
    }

    /// Sets the filters for the next exchange. Nothing is called yet: a filter's context is made
    /// when the request's head reaches it, as in Envoy, and one that the request never reached
    /// sees no response either.
    ///
    /// # Panics
    /// When the last exchange was not finished, or a link names no filter of the snapshot.
    pub fn begin(&mut self, filters: &Filters, links: &[ChainLink]) {
        self.begin_with(filters, links, false);
    }

    fn begin_with(&mut self, filters: &Filters, links: &[ChainLink], raw: bool) {
        assert!(self.links.is_empty(), "the last exchange is finished before the next begins");
        self.callbacks = CallbackSet::EMPTY;
        self.callouts = false;
        self.put(filters, links, raw);
    }

    /// Puts more filters behind those that are there; the answer is where they begin. To be shown
    /// with [`Chain::show_passed`] what the request's others have let pass.
    ///
    /// # Panics
    /// When a link names no filter of the snapshot.
    pub fn extend(&mut self, filters: &Filters, links: &[ChainLink]) -> usize {
        let from = self.links.len();
        self.put(filters, links, false);
        from
    }

    fn put(&mut self, filters: &Filters, links: &[ChainLink], raw: bool) {
        for link in links {
            let live = filters.live(link.filter);
            let live = live.expect("chain and filters are of one snapshot");
            self.callbacks = self.callbacks.union(live.filter.module.callbacks());
            self.links.push(Link::new(live, *link, raw));
        }
    }

    /// Whether this filter, with this configuration, is in the chain.
    pub fn has(&self, link: ChainLink) -> bool {
        self.links.iter().any(|known| known.spec == link)
    }

    /// Shows the filters from `from` on, which have seen nothing yet, what the others have let
    /// pass; the body's bytes are in `body`.
    pub fn show_passed(
        &mut self,
        from: usize,
        passed: Passed,
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Flow {
        let Passed { bare, body: some, trailers } = passed;
        let pieces = Pieces { head: Some(bare), body: some, trailers };
        self.advance(Way::Request, from, pieces, session, body)
    }

    /// Whether there is nothing to do for this exchange at all.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether some filter wants to see bodies of requests. If none does, they need not pass
    /// through the chain. What is answered before the request's head went through is a maximum.
    pub fn wants_request_body(&self) -> bool {
        self.wants(Callback::RequestBody)
    }

    /// Whether bodies of requests may come out of any length, whatever their head says.
    pub fn frees_request_length(&self) -> bool {
        self.links.iter().any(|link| link.frees_length(Callback::RequestBody))
    }

    /// The same of bodies of responses.
    pub fn frees_response_length(&self) -> bool {
        self.links.iter().any(|link| link.frees_length(Callback::ResponseBody))
    }

    /// Whether some filter wants to see bodies of responses.
    pub fn wants_response_body(&self) -> bool {
        self.wants(Callback::ResponseBody)
    }

    fn wants(&self, callback: Callback) -> bool {
        self.callbacks.has(callback) && self.links.iter().any(|link| link.wants(callback))
    }

    /// The request's head; `end` if nothing follows it.
    pub fn request_headers(&mut self, session: &mut dyn Session, end: bool) -> Flow {
        let mut none = Vec::new();
        self.advance(Way::Request, 0, Pieces::head(end), session, &mut none)
    }

    /// A piece of the request's body; `end` if nothing follows it.
    pub fn request_body(
        &mut self,
        session: &mut dyn Session,
        body: &mut dyn Body,
        end: bool,
    ) -> Flow {
        self.advance(Way::Request, 0, Pieces::body(end), session, body)
    }

    /// The request's trailers; they follow the last piece of the body, which was given without
    /// `end`. What filters add to the body at its end is left in `body`, to go before them.
    pub fn request_trailers(&mut self, session: &mut dyn Session, body: &mut dyn Body) -> Flow {
        self.advance(Way::Request, 0, Pieces::trailers(), session, body)
    }

    /// The response's head; `end` if nothing follows it.
    pub fn response_headers(&mut self, session: &mut dyn Session, end: bool) -> Flow {
        let mut none = Vec::new();
        self.advance(Way::Response, 0, Pieces::head(end), session, &mut none)
    }

    /// A piece of the response's body, as [`Chain::request_body`].
    pub fn response_body(
        &mut self,
        session: &mut dyn Session,
        body: &mut dyn Body,
        end: bool,
    ) -> Flow {
        self.advance(Way::Response, 0, Pieces::body(end), session, body)
    }

    /// The response's trailers, as [`Chain::request_trailers`].
    pub fn response_trailers(&mut self, session: &mut dyn Session, body: &mut dyn Body) -> Flow {
        self.advance(Way::Response, 0, Pieces::trailers(), session, body)
    }

    /// Goes on after [`Event::ResumeRequest`]: what was held comes out in `body`, which is empty
    /// before.
    pub fn resume_request(&mut self, session: &mut dyn Session, body: &mut dyn Body) -> Flow {
        self.resume(Way::Request, session, body)
    }

    /// Goes on after [`Event::ResumeResponse`], as [`Chain::resume_request`].
    pub fn resume_response(&mut self, session: &mut dyn Session, body: &mut dyn Body) -> Flow {
        self.resume(Way::Response, session, body)
    }

    /// Whether a filter holds head and body together, so that the proxy does well to leave the
    /// rest of the body with its sender: more than `body_bytes_max` held is answered 413.
    pub fn is_request_shut(&self) -> bool {
        self.links.iter().any(|link| link.is_shut(Way::Request))
    }

    /// As [`Chain::is_request_shut`], for the response.
    pub fn is_response_shut(&self) -> bool {
        self.links.iter().any(|link| link.is_shut(Way::Response))
    }

    /// Whether a filter still holds some piece of the request.
    pub fn holds_request(&self) -> bool {
        self.links.iter().any(|link| link.gate(Way::Request).holds())
    }

    /// Whether a filter still holds some piece of the response.
    pub fn holds_response(&self) -> bool {
        self.links.iter().any(|link| link.gate(Way::Response).holds())
    }

    /// The next call that a filter wants made. To be asked after every other call: a filter
    /// may make a call and not wait for it.
    pub fn callout(&mut self) -> Option<Callout> {
        if !self.callouts {
            return None;
        }
        let next = self.links.iter_mut().enumerate().find_map(|(index, link)| link.callout(index));
        self.callouts = next.is_some();
        next
    }

    /// Delivers the answer to a [`Callout`]. What the filter makes of it shows as an event.
    pub fn answer(
        &mut self,
        session: &mut dyn Session,
        callout: &Callout,
        answer: Result<&CalloutResponse, CalloutFailure>,
    ) {
        if let Some(link) = self.links.get_mut(callout.link) {
            link.answer(session, callout.token, answer);
            self.callouts = true;
        }
    }

    /// Delivers what came on a gRPC call, which the filter at `link` of the chain made.
    pub fn hear(
        &mut self,
        session: &mut dyn Session,
        (link, token): (usize, u32),
        event: &GrpcEvent,
    ) {
        if let Some(link) = self.links.get_mut(link) {
            link.hear(session, token, event);
            self.callouts = true;
        }
    }

    /// Waits for something to happen to the exchange from outside its own callbacks.
    pub async fn event(&mut self) -> Event {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// As [`Chain::event`], for those who poll by hand.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        for (index, link) in self.links.iter_mut().enumerate() {
            if let Some(event) = link.poll_event(context, index) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    /// Whether something can come to the exchange from outside its own callbacks; if not, no
    /// filter makes a call, and none that doesn't pause has an event.
    pub fn is_reachable(&self) -> bool {
        self.links.iter().any(|link| link.live.filter.module.is_reachable())
    }

    /// Whether some filter is told of the exchange's end: if none is, [`Chain::finish_untold`]
    /// does.
    pub fn tells_end(&self) -> bool {
        self.links.iter().any(Link::tells_end)
    }

    /// Ends the exchange: every filter that saw it gets its last callbacks, `session` still in
    /// reach, and calls under way are cancelled.
    pub fn finish(&mut self, session: &mut dyn Session) {
        for mut link in self.links.drain(..) {
            link.close(Some(session));
        }
    }

    /// As [`Chain::finish`], without a session: last callbacks find none.
    pub fn finish_untold(&mut self) {
        for mut link in self.links.drain(..) {
            link.close(None);
        }
    }

    /// Runs pieces through the links from a position on.
    fn advance(
        &mut self,
        way: Way,
        from: usize,
        mut pieces: Pieces,
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Flow {
        let count = self.links.len();
        for position in from..count {
            let index = match way {
                Way::Request => position,
                Way::Response => count - 1 - position,
            };
            let link = &mut self.links[index];
            let passed = link.pass(way, pieces, session, body);
            self.callouts |= link.take_called();
            match passed {
                Ok(Some(passed)) => pieces = passed,
                Ok(None) => return Flow::Pause,
                Err(Stop::Respond(response)) => return Flow::Respond(response),
                Err(Stop::Close) => return Flow::Close,
            }
        }
        Flow::Continue
    }

    fn resume(&mut self, way: Way, session: &mut dyn Session, body: &mut dyn Body) -> Flow {
        let count = self.links.len();
        for position in 0..count {
            let index = match way {
                Way::Request => position,
                Way::Response => count - 1 - position,
            };
            let link = &mut self.links[index];
            if !link.take_resumed(way) {
                continue;
            }
            let released = link.release(way, session, body);
            self.callouts |= link.take_called();
            return match released {
                Ok(Some(pieces)) => self.advance(way, position + 1, pieces, session, body),
                Ok(None) => Flow::Pause,
                Err(Stop::Respond(response)) => Flow::Respond(response),
                Err(Stop::Close) => Flow::Close,
            };
        }
        // Someone else resumed it meanwhile, or nobody ever paused.
        match self.links.iter().any(|link| link.gate(way).waits()) {
            true => Flow::Pause,
            false => Flow::Continue,
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.finish_untold();
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

/// What a failure turns into: nothing here decides a status but this.
fn denied(name: &std::sync::Arc<str>, trapped: &Trapped) -> Box<LocalResponse> {
    Box::new(LocalResponse {
        status: 503,
        details: format!("filter_{}", trapped.cause),
        failed: Some(std::sync::Arc::clone(name)),
        ..LocalResponse::default()
    })
}
