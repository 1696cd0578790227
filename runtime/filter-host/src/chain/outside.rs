//! A link between callbacks: its calls and what comes of them, what wakes the exchange, the end.

use std::rc::Rc;
use std::task::Context;

use crate::chain::Event;
use crate::chain::link::{Link, Place};
use crate::grpc::GrpcEvent;
use crate::instance::Way;
use crate::session::{Body, Callout, CalloutFailure, CalloutResponse, Session};
use crate::settings::Isolation;
use crate::state::Lent;

/// What comes of a call.
enum Came<'a> {
    Answer(Result<&'a CalloutResponse, CalloutFailure>),
    Event(&'a GrpcEvent),
}

impl Link {
    /// The filter's next call for this exchange.
    pub(super) fn callout(&mut self, index: usize) -> Option<Callout> {
        let Place::In(running, id) = &self.place else {
            return None;
        };
        let id = *id;
        let callout = running.with(|instance| {
            let mail = instance.context(id).and_then(|context| context.mail.as_mut());
            Ok(mail.and_then(|mail| mail.callouts.pop_front()))
        });
        let callout = callout.ok().flatten()?;
        Some(Callout { link: index, ..callout })
    }

    /// Delivers the answer to a call.
    pub(super) fn answer(
        &mut self,
        session: &mut dyn Session,
        token: u32,
        answer: Result<&CalloutResponse, CalloutFailure>,
    ) {
        self.deliver(session, token, Came::Answer(answer));
    }

    /// Delivers what came on a gRPC call.
    pub(super) fn hear(&mut self, session: &mut dyn Session, token: u32, event: &GrpcEvent) {
        self.deliver(session, token, Came::Event(event));
    }

    /// Calls the filter with all that is in its hands.
    fn deliver(&mut self, session: &mut dyn Session, token: u32, came: Came<'_>) {
        let Place::In(running, id) = &self.place else {
            return;
        };
        let (running, id) = (Rc::clone(running), *id);
        let mut request = self.lift(Way::Request);
        let mut response = self.lift(Way::Response);
        let lent = Lent {
            session: Some(session),
            request_body: self.request.waits().then_some(&mut request as &mut dyn Body),
            response_body: self.response.waits().then_some(&mut response as &mut dyn Body),
            raw: self.raw,
            stream: id,
            ..Lent::default()
        };
        // A failure shows as an event: the instance is gone, and so this link is woken.
        let _ = running.with(|instance| match came {
            Came::Answer(answer) => instance.on_http_call_response(token, answer, lent),
            Came::Event(event) => instance.on_grpc(token, event, lent),
        });
        self.request.bytes = request.bytes;
        self.response.bytes = response.bytes;
    }

    /// What happened to the exchange; if nothing did, the task is woken when it does.
    pub(super) fn poll_event(&mut self, task: &mut Context<'_>, index: usize) -> Option<Event> {
        let Place::In(running, id) = &self.place else {
            return None;
        };
        let id = *id;
        let (request, response) = (self.request.waits(), self.response.waits());
        if !request && !response && !self.live.filter.module.is_reachable() {
            return None;
        }
        let event = running.with(|instance| {
            let Some(context) = instance.context(id) else {
                return Ok(None);
            };
            if let Some(mail) = &mut context.mail {
                if let Some(response) = mail.local_response.take() {
                    return Ok(Some(Event::Respond(response)));
                }
                if let Some(callout) = mail.callouts.pop_front() {
                    return Ok(Some(Event::Callout(Callout { link: index, ..callout })));
                }
            }
            if std::mem::take(&mut context.close) {
                return Ok(Some(Event::Close));
            }
            if context.resume_request && request {
                return Ok(Some(Event::ResumeRequest));
            }
            if context.resume_response && response {
                return Ok(Some(Event::ResumeResponse));
            }
            let waker = &mut context.mail().waker;
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(task.waker())) {
                *waker = Some(task.waker().clone());
            }
            Ok(None)
        });
        match event {
            Ok(event) => event,
            // The instance is lost: the policy decides, on the way of what it holds.
            Err(_) if request => Some(Event::ResumeRequest),
            Err(_) if response => Some(Event::ResumeResponse),
            Err(_) => None,
        }
    }

    /// Whether the guest hears of the exchange's end.
    pub(super) fn tells_end(&self) -> bool {
        match &self.place {
            Place::In(running, _) => running.tells_end(),
            Place::Before | Place::Past => false,
        }
    }

    /// Ends the filter's part in the exchange.
    pub(super) fn close(&mut self, session: Option<&mut dyn Session>) {
        let Place::In(running, id) = std::mem::replace(&mut self.place, Place::Past) else {
            return;
        };
        let lent = Lent { session: session.map(|session| session as _), ..Lent::default() };
        // A failure is noted; there is nothing left of the exchange to give the policy to.
        let _ = running.with(|instance| instance.close(id, lent));
        let settings = &self.live.filter.settings;
        if settings.isolation == Isolation::Request {
            self.live.shard().end(running, settings.ended_max);
        }
        self.live.shard().reap();
    }
}
