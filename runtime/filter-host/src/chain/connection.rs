//! The filters of a raw connection: its beginning, the bytes of both halves, its end.
//!
//! As in Envoy's network filter, but for three things that Envoy leaves undone: the upstream half
//! can be continued, a close is told of the connection to the endpoint whoever ended it, and bytes
//! that come with the connection are shown to a filter that pauses it. What a paused filter holds
//! is shown to it again, whole, whenever there is more, and letting it go from such a callback lets
//! the connection go, too. A filter without a callback for a half never sees it, nor waits for it.

use std::ops::Range;
use std::rc::Rc;

use crate::abi::{Callback, PeerType};
use crate::chain::gate::{Held, Pieces, Stage};
use crate::chain::link::{Failed, Link, Place};
use crate::chain::{Chain, ChainLink, Flow};
use crate::contexts::ContextId;
use crate::filters::Filters;
use crate::instance::Way;
use crate::running::Running;
use crate::session::{Body, OverLimit, Session};
use crate::state::Lent;

/// Where bytes of a raw connection come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// From the downstream: filters see them in order.
    Downstream,
    /// From the upstream: in reverse.
    Upstream,
}

impl Half {
    fn way(self) -> Way {
        match self {
            Half::Downstream => Way::Request,
            Half::Upstream => Way::Response,
        }
    }
}

impl Chain {
    /// Sets the filters for a raw connection. Nothing is called yet.
    ///
    /// # Panics
    /// As [`Chain::begin`].
    pub fn begin_connection(&mut self, filters: &Filters, links: &[ChainLink]) {
        self.begin_with(filters, links, true);
    }

    /// A connection was accepted. [`Flow::Continue`] has it connected to an endpoint;
    /// [`Flow::Pause`] waits for more bytes ([`Chain::data`]) or an event.
    pub fn new_connection(&mut self, session: &mut dyn Session) -> Flow {
        self.advance(Way::Request, 0, Pieces::head(false), session, &mut Vec::new())
    }

    /// Whether some filter wants to see the bytes of this half. If none does, they need not pass
    /// through the chain, but for the end of the upstream half, which goes through [`Chain::data`].
    pub fn wants_data(&self, half: Half) -> bool {
        self.wants(match half {
            Half::Downstream => Callback::DownstreamData,
            Half::Upstream => Callback::UpstreamData,
        })
    }

    /// Bytes that came; `end` if none follow. What may go on is left in `bytes`, which is empty
    /// where the chain holds it.
    pub fn data(
        &mut self,
        half: Half,
        session: &mut dyn Session,
        bytes: &mut Vec<u8>,
        end: bool,
    ) -> Flow {
        let way = half.way();
        let had_room = self.room(half) > 0;
        let flow = self.advance(way, 0, Pieces::body(end), session, bytes);
        if had_room && flow == Flow::Pause {
            let full =
                self.links.iter().filter(|link| link.room(way) == Some(0) && !link.is_shut(way));
            full.for_each(|link| link.live.counters().limits.add(1));
        }
        flow
    }

    /// Goes on after [`super::Event::ResumeRequest`] (what comes from downstream) or
    /// [`super::Event::ResumeResponse`]: what was held comes out in `bytes`, which is empty before.
    pub fn go_on(&mut self, half: Half, session: &mut dyn Session, bytes: &mut Vec<u8>) -> Flow {
        self.resume(half.way(), session, bytes)
    }

    /// How many more bytes of this half may be brought: `usize::MAX` where no filter holds any, and
    /// 0 where one holds as many as it may, or waits without looking at bytes. The sender has to
    /// wait then, as with Envoy's limit of a connection's buffer.
    pub fn room(&self, half: Half) -> usize {
        let rooms = self.links.iter().filter_map(|link| link.room(half.way()));
        rooms.min().unwrap_or(usize::MAX)
    }

    /// Whether a filter still holds something of this half: bytes, its end, or the connection.
    pub fn holds_data(&self, half: Half) -> bool {
        match half {
            Half::Downstream => self.holds_request(),
            Half::Upstream => self.holds_response(),
        }
    }

    /// The connection on this side is closed. Told to each filter once; of the upstream's side it
    /// is told at the end of its bytes already, as `Unknown`. To be called before
    /// [`Chain::finish`].
    pub fn closed(&mut self, half: Half, session: &mut dyn Session, peer: PeerType) {
        for link in &mut self.links {
            // A failure is noted; there is nothing left of the connection to give the policy to.
            let _ = link.tell_close(half.way(), session, peer);
        }
    }
}

impl Link {
    /// As [`Chain::room`], of this filter; `None` where it lets everything go.
    fn room(&self, way: Way) -> Option<usize> {
        let gate = self.gate(way);
        if !gate.waits() {
            return None;
        }
        let max = self.live.filter.settings.body_bytes_max;
        Some(if self.is_shut(way) { 0 } else { max.saturating_sub(gate.bytes.len()) })
    }

    /// Calls what the pieces of a connection call for, in their order.
    pub(super) fn call_raw(
        &mut self,
        way: Way,
        pieces: Pieces,
        at: (&Rc<Running>, ContextId),
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<(), Failed> {
        if pieces.head.is_some() && self.has(Callback::NewConnection) {
            let lent = Lent { session: Some(session), raw: true, ..Lent::default() };
            let action = self.act(way, at, |instance| instance.on_new_connection(at.1, lent))?;
            self.note(way, action, Stage::Headers);
        }
        let Some(end) = pieces.body else { return Ok(()) };
        let data = match way {
            Way::Request => Callback::DownstreamData,
            Way::Response => Callback::UpstreamData,
        };
        if self.has(data) {
            self.call_data(way, end, at, session, body)?;
        }
        if way == Way::Response && end {
            // Envoy tells it here, and does not know who closed.
            self.tell_close(way, session, PeerType::Unknown)?;
        }
        Ok(())
    }

    fn call_data(
        &mut self,
        way: Way,
        end: bool,
        at: (&Rc<Running>, ContextId),
        session: &mut dyn Session,
        body: &mut dyn Body,
    ) -> Result<(), Failed> {
        let holds = self.gate(way).waits();
        if holds {
            self.gate_mut(way).take(body, usize::MAX)?;
        }
        // Taken out for the call, so that the session's borrow and the gate's don't meet.
        let mut held = self.lift(way);
        let mut passing = Passing { bytes_max: held.bytes_max, body };
        let view: &mut dyn Body = if holds { &mut held } else { &mut passing };
        let bytes = u32::try_from(view.len()).map_err(|_| OverLimit)?;
        let lent = match way {
            Way::Request => Lent { request_body: Some(view), ..Lent::default() },
            Way::Response => Lent { response_body: Some(view), ..Lent::default() },
        };
        let lent = Lent { session: Some(session), raw: true, ..lent };
        let action = self.act(way, at, |instance| instance.on_body(way, at.1, lent, bytes, end));
        let Held { bytes, .. } = held;
        self.gate_mut(way).bytes = bytes;
        self.note(way, action?, Stage::Body);
        Ok(())
    }

    /// Tells the filter that the connection on this side is closed, once.
    fn tell_close(
        &mut self,
        way: Way,
        session: &mut dyn Session,
        peer: PeerType,
    ) -> Result<(), Failed> {
        let callback = match way {
            Way::Request => Callback::DownstreamClose,
            Way::Response => Callback::UpstreamClose,
        };
        let Place::In(running, id) = &self.place else { return Ok(()) };
        let told = way == Way::Response && std::mem::replace(&mut self.told_of_upstream, true);
        if told || !self.live.filter.module.callbacks().has(callback) {
            return Ok(());
        }
        let (running, id) = (Rc::clone(running), *id);
        let lent = Lent { session: Some(session), raw: true, ..Lent::default() };
        Ok(running.with(|instance| instance.on_close(way, id, lent, peer))?)
    }
}

/// Bytes on their way, as a filter sees and changes them: they grow no further than what a filter
/// may hold.
struct Passing<'a> {
    body: &'a mut dyn Body,
    bytes_max: usize,
}

impl Body for Passing<'_> {
    fn len(&self) -> usize {
        self.body.len()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        self.body.copy(start, into);
    }

    fn splice(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), OverLimit> {
        let after = self.body.len() - range.len() + bytes.len();
        // A filter may take bytes away from more than it may add to.
        match after <= self.bytes_max || after <= self.body.len() {
            true => self.body.splice(range, bytes),
            false => Err(OverLimit),
        }
    }
}
