//! A connection's filters at work: what they are told, and what comes of it.
//!
//! What filters let go lies here until it is sent. Something may happen to the connection from
//! outside their callbacks, too (a call's answer, a tick): whoever waits for the connection asks
//! [`Filters::poll`] before anything else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_env::{Address, Env, Stream};
use penstock_filter_host::abi::PeerType;
use penstock_filter_host::{Callout, Chain, ChainLink, Event, Flow, Half};

use super::view::{Facts, View};
use crate::callout::{self, Arrival, Inbox};
use crate::failure::Cause;
use crate::properties::Properties;
use crate::worker::Worker;

/// The filters of one connection.
pub(super) struct Filters<'a, E: Env> {
    worker: &'a Worker<E>,
    down: &'a E::Stream,
    chain: Chain,
    properties: Properties,
    /// For the answers to calls, where there is a filter that could make one.
    inbox: Option<Rc<Inbox>>,
    service: Box<str>,
    server_name: Option<String>,
    cluster: Option<Box<str>>,
    endpoint: Option<Address>,
    /// What they let go of each half, and was not sent yet.
    passed: [Vec<u8>; 2],
    /// They let the connection go to an endpoint.
    admitted: bool,
    /// Some were called since it was last asked.
    called: bool,
}

impl<'a, E: Env> Filters<'a, E> {
    /// These filters, which have heard nothing yet.
    pub(super) fn new(
        worker: &'a Worker<E>,
        down: &'a E::Stream,
        service: &str,
        links: &[ChainLink],
    ) -> Self {
        let mut chain = Chain::new();
        chain.begin_connection(worker.filters(), links);
        let inbox = chain.is_reachable().then(Rc::default);
        Filters {
            worker,
            down,
            chain,
            properties: Properties::default(),
            inbox,
            service: service.into(),
            server_name: None,
            cluster: None,
            endpoint: None,
            passed: Default::default(),
            admitted: false,
            called: false,
        }
    }

    /// Tells where the connection goes, and what its hello asks for.
    pub(super) fn choose(&mut self, cluster: &str, server_name: Option<String>) {
        self.cluster = Some(cluster.into());
        self.server_name = server_name;
    }

    /// Tells whom it is connected to.
    pub(super) fn connect(&mut self, endpoint: &Address) {
        self.endpoint = Some(endpoint.clone());
    }

    /// A connection was accepted.
    ///
    /// # Errors
    /// A filter closed it, or failed.
    pub(super) fn begin(&mut self) -> Result<(), Cause> {
        let flow = self.with(|chain, view| chain.new_connection(view));
        self.obey(Half::Downstream, flow, Vec::new())
    }

    /// Whether they let it go to an endpoint.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Shows bytes of a half, and whether they are its last.
    ///
    /// # Errors
    /// As [`Filters::begin`].
    pub(super) fn show(&mut self, half: Half, mut bytes: Vec<u8>, end: bool) -> Result<(), Cause> {
        let flow = self.with(|chain, view| chain.data(half, view, &mut bytes, end));
        self.obey(half, flow, bytes)
    }

    /// Whether some want to see the bytes of a half.
    pub(super) fn wants(&self, half: Half) -> bool {
        self.chain.wants_data(half)
    }

    /// How many more bytes of a half may be shown.
    pub(super) fn room(&self, half: Half) -> usize {
        self.chain.room(half)
    }

    /// Whether some hold what came of a half.
    pub(super) fn holds(&self, half: Half) -> bool {
        self.chain.holds_data(half)
    }

    /// What they let go of a half since this was last asked.
    pub(super) fn take_passed(&mut self, half: Half) -> Vec<u8> {
        std::mem::take(&mut self.passed[half as usize])
    }

    /// Whether there is something to send.
    pub(super) fn has_passed(&self) -> bool {
        self.passed.iter().any(|passed| !passed.is_empty())
    }

    /// Whether some were called since this was last asked: what they did may want looking after.
    pub(super) fn take_called(&mut self) -> bool {
        std::mem::take(&mut self.called)
    }

    /// Looks after what happened from outside; if nothing did, the task is woken when it does.
    ///
    /// # Errors
    /// As [`Filters::begin`].
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Result<(), Cause> {
        while let Some(arrival) = self.arrival(context) {
            // What the filter makes of it shows as an event.
            self.with(|chain, view| match &arrival {
                Arrival::Answer(callout, answer) => {
                    chain.answer(view, callout, answer.as_ref().map_err(|&failure| failure));
                }
                Arrival::Event(call, event) => chain.hear(view, *call, event),
            });
        }
        while let Poll::Ready(event) = self.chain.poll_event(context) {
            match event {
                Event::ResumeRequest => self.go_on(Half::Downstream)?,
                Event::ResumeResponse => self.go_on(Half::Upstream)?,
                Event::Callout(callout) => self.start(callout),
                Event::Close => return Err(Cause::FilterCloses),
                Event::Respond(response) => {
                    self.obey(Half::Downstream, Flow::Respond(response), Vec::new())?;
                }
            }
        }
        Ok(())
    }

    /// Does `work` while filters let it.
    ///
    /// # Errors
    /// That of the work, or as [`Filters::begin`].
    pub(super) async fn beside<T>(
        &mut self,
        work: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, Cause> {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.poll(context)?;
            work.as_mut().poll(context)
        })
        .await
    }

    /// The end: who closed which side, and that all is over. `upstream` is `None` where there never
    /// was a connection to an endpoint.
    pub(super) fn finish(&mut self, downstream: PeerType, upstream: Option<PeerType>) {
        self.with(|chain, view| {
            if let Some(peer) = upstream {
                chain.closed(Half::Upstream, view, peer);
            }
            chain.closed(Half::Downstream, view, downstream);
            chain.finish(view);
        });
    }

    fn arrival(&self, context: &mut Context<'_>) -> Option<Arrival> {
        match self.inbox.as_ref()?.poll_take(context) {
            Poll::Ready(arrival) => Some(arrival),
            Poll::Pending => None,
        }
    }

    fn go_on(&mut self, half: Half) -> Result<(), Cause> {
        let mut bytes = Vec::new();
        let flow = self.with(|chain, view| chain.go_on(half, view, &mut bytes));
        self.obey(half, flow, bytes)
    }

    fn obey(&mut self, half: Half, flow: Flow, bytes: Vec<u8>) -> Result<(), Cause> {
        match flow {
            Flow::Continue => {
                self.admitted |= half == Half::Downstream;
                let passed = &mut self.passed[half as usize];
                if passed.is_empty() {
                    *passed = bytes;
                } else {
                    passed.extend_from_slice(&bytes);
                }
                Ok(())
            }
            Flow::Pause => {
                self.worker.env().recycle(bytes);
                Ok(())
            }
            Flow::Close => Err(Cause::FilterCloses),
            Flow::Respond(_) => Err(Cause::FilterFailed),
        }
    }

    /// Lends the chain and a view to `call`, and starts the calls that came of it.
    fn with<R>(&mut self, call: impl FnOnce(&mut Chain, &mut View<'_>) -> R) -> R {
        self.called = true;
        let facts = Facts {
            peer: self.down.peer(),
            local: self.down.local(),
            service: &self.service,
            server_name: self.server_name.as_deref(),
            cluster: self.cluster.as_deref(),
            endpoint: self.endpoint.as_ref(),
        };
        let mut view = View { facts, properties: &mut self.properties };
        let result = call(&mut self.chain, &mut view);
        while let Some(callout) = self.chain.callout() {
            self.start(callout);
        }
        result
    }

    fn start(&self, callout: Callout) {
        // Where nothing can come to the connection, no filter makes a call.
        if let Some(inbox) = &self.inbox {
            callout::start(self.worker, &self.worker.plan(), callout, inbox);
        }
    }
}
