//! The callbacks of an instance, one function each.

use penstock_env::Time;

use crate::abi::Action;
use crate::calls::Headers;
use crate::contexts::{ContextId, Ending, Kind};
use crate::error::{TrapCause, Trapped};
use crate::grpc::GrpcEvent;
use crate::instance::{Instance, Way};
use crate::session::{CalloutFailure, CalloutResponse};
use crate::state::Lent;

impl Instance {
    /// A context for a new exchange or raw connection, under the root of `plugin`.
    #[inline]
    pub(crate) fn open(
        &mut self,
        plugin: u32,
        raw: bool,
        lent: Lent<'_>,
    ) -> Result<ContextId, Trapped> {
        let Some(&root) = self.roots.get(plugin as usize) else {
            return Err(Trapped::new(TrapCause::Contexts));
        };
        let id = self.state_mut().contexts.insert(Kind::Stream { root, raw });
        let id = id.ok_or_else(|| Trapped::new(TrapCause::Contexts))?;
        if self.calls.streams_are_told && self.calls.context_create.is_some() {
            let lent = Lent { stream: id, ..lent };
            self.run(id, lent, self.header_ticks, |store, calls| match &calls.context_create {
                Some(create) => create.call(store, (id.as_u32(), root.as_u32())),
                None => Ok(()),
            })?;
        }
        Ok(id)
    }

    /// Whether the guest hears of a stream's beginning and end; else it keeps nothing of one.
    pub(crate) fn tells_streams(&self) -> bool {
        self.calls.streams_are_told
    }

    /// `proxy_on_request_headers` or `proxy_on_response_headers`.
    #[inline]
    pub(crate) fn on_headers(
        &mut self,
        way: Way,
        id: ContextId,
        lent: Lent<'_>,
        count: u32,
        end: bool,
    ) -> Result<Action, Trapped> {
        let lent = Lent { stream: id, ..lent };
        let result = self.run(id, lent, self.header_ticks, |store, calls| {
            let call = match way {
                Way::Request => &calls.request_headers,
                Way::Response => &calls.response_headers,
            };
            match call {
                Some(Headers::Three(call)) => {
                    call.call(store, (id.as_u32(), count, u32::from(end)))
                }
                Some(Headers::Two(call)) => call.call(store, (id.as_u32(), count)),
                None => Ok(0),
            }
        })?;
        Ok(action(result))
    }

    /// `proxy_on_request_body` or `proxy_on_response_body`; where what is lent is a raw
    /// connection's, `proxy_on_downstream_data` or `proxy_on_upstream_data`.
    pub(crate) fn on_body(
        &mut self,
        way: Way,
        id: ContextId,
        lent: Lent<'_>,
        bytes: u32,
        end: bool,
    ) -> Result<Action, Trapped> {
        let raw = lent.raw;
        let lent = Lent { stream: id, ..lent };
        let result = self.run(id, lent, self.body_ticks, |store, calls| {
            let call = match (way, raw) {
                (Way::Request, false) => &calls.request_body,
                (Way::Response, false) => &calls.response_body,
                (Way::Request, true) => &calls.downstream_data,
                (Way::Response, true) => &calls.upstream_data,
            };
            call.as_ref().map_or(Ok(0), |call| call.call(store, (id.as_u32(), bytes, end.into())))
        })?;
        Ok(action(result))
    }

    /// `proxy_on_request_trailers` or `proxy_on_response_trailers`.
    pub(crate) fn on_trailers(
        &mut self,
        way: Way,
        id: ContextId,
        lent: Lent<'_>,
        count: u32,
    ) -> Result<Action, Trapped> {
        let lent = Lent { stream: id, ..lent };
        let result = self.run(id, lent, self.header_ticks, |store, calls| {
            let call = match way {
                Way::Request => &calls.request_trailers,
                Way::Response => &calls.response_trailers,
            };
            call.as_ref().map_or(Ok(0), |call| call.call(store, (id.as_u32(), count)))
        })?;
        Ok(action(result))
    }

    /// `proxy_on_http_call_response`, on the root context, if the call is still awaited. One that
    /// failed has the answer that is made up for it: see [`CalloutFailure::answer`].
    pub(crate) fn on_http_call_response(
        &mut self,
        token: u32,
        answer: Result<&CalloutResponse, CalloutFailure>,
        mut lent: Lent<'_>,
    ) -> Result<(), Trapped> {
        match answer {
            Ok(answer) => self.on_answer(token, answer, "", lent.reborrow()),
            Err(failure) => {
                self.on_answer(token, &failure.answer(), failure.message(), lent.reborrow())
            }
        }
    }

    fn on_answer<'a>(
        &mut self,
        token: u32,
        answer: &'a CalloutResponse,
        message: &'static str,
        lent: Lent<'a>,
    ) -> Result<(), Trapped> {
        let Some(owner) = self.state_mut().callouts.open.remove(&token) else {
            return Ok(());
        };
        let Some(root) = self.root_of(owner) else {
            return Ok(());
        };
        let (fields, bytes, trailers) =
            (answer.headers.len(), answer.body.len(), answer.trailers.len());
        let status = (status_code(answer), message);
        let lent = Lent { callout: Some(answer), status, ..lent };
        let arguments = (root.as_u32(), token, fields as u32, bytes as u32, trailers as u32);
        self.run(root, lent, self.header_ticks, |store, calls| {
            calls.http_call_response.as_ref().map_or(Ok(()), |call| call.call(store, arguments))
        })
    }

    /// One of the callbacks for gRPC calls, on the root context, if the call is still wanted.
    pub(crate) fn on_grpc<'a>(
        &mut self,
        token: u32,
        event: &'a GrpcEvent,
        lent: Lent<'a>,
    ) -> Result<(), Trapped> {
        let Some(call) = self.state_mut().callouts.grpc.get_mut(&token) else {
            return Ok(());
        };
        if call.closed {
            return Ok(());
        }
        // It stays known while its last callback runs: closing it there is no mistake.
        let (owner, streams) = (call.owner, call.streams);
        call.closed = !streams || matches!(event, GrpcEvent::Closed { .. });
        let Some(root) = self.root_of(owner) else {
            return Ok(());
        };
        let lent = Lent { grpc: Some(event), ..lent };
        self.run(root, lent, self.header_ticks, |store, calls| {
            let (call, number) = match event {
                GrpcEvent::InitialMetadata(fields) => (&calls.grpc_initial_metadata, fields.len()),
                GrpcEvent::Message(message) => (&calls.grpc_receive, message.len()),
                GrpcEvent::TrailingMetadata(fields) => {
                    (&calls.grpc_trailing_metadata, fields.len())
                }
                GrpcEvent::Closed { status, .. } => (&calls.grpc_close, *status as usize),
            };
            let arguments = (root.as_u32(), token, number as u32);
            call.as_ref().map_or(Ok(()), |call| call.call(store, arguments))
        })?;
        if !streams {
            self.state_mut().callouts.grpc.remove(&token);
        }
        Ok(())
    }

    /// The root context of a context; `None` when that is gone.
    fn root_of(&mut self, id: ContextId) -> Option<ContextId> {
        Some(match self.context(id)?.kind {
            Kind::Root { .. } => id,
            Kind::Stream { root, .. } => root,
        })
    }

    /// `proxy_on_tick` of a root context.
    pub(crate) fn on_tick(&mut self, root: ContextId) -> Result<(), Trapped> {
        let lent = Lent { stream: root, ..Lent::default() };
        self.run(root, lent, self.header_ticks, |store, calls| {
            calls.tick.as_ref().map_or(Ok(()), |call| call.call(store, root.as_u32()))
        })
    }

    /// `proxy_on_queue_ready` of a root context.
    pub(crate) fn on_queue_ready(&mut self, root: ContextId, token: u32) -> Result<(), Trapped> {
        let lent = Lent { stream: root, ..Lent::default() };
        self.run(root, lent, self.header_ticks, |store, calls| {
            let ready = calls.queue_ready.as_ref();
            ready.map_or(Ok(()), |call| call.call(store, (root.as_u32(), token)))
        })
    }

    /// The end of a context: its calls are cancelled, `proxy_on_done` is asked, and unless that
    /// wants to wait for `proxy_done`, log and delete follow. What is called in these is made in
    /// the root's name, as Envoy makes all calls.
    pub(crate) fn close(&mut self, id: ContextId, mut lent: Lent<'_>) -> Result<(), Trapped> {
        if let Some(context) = self.context(id) {
            context.ending = Ending::Begun;
        }
        self.forget_calls(id);
        let finished = match self.calls.done.is_some() {
            true => {
                let lent = Lent {
                    session: lent.session.as_mut().map(|session| &mut **session as _),
                    stream: id,
                    ..Lent::default()
                };
                self.run(id, lent, self.header_ticks, |store, calls| {
                    let done = calls.done.as_ref();
                    done.map_or(Ok(true), |done| Ok(done.call(store, id.as_u32())? != 0))
                })?
            }
            false => true,
        };
        match finished || !self.await_done(id) {
            true => self.bury(id, lent),
            false => Ok(()),
        }
    }

    /// Keeps a context until `proxy_done`, if there is room for another.
    fn await_done(&mut self, id: ContextId) -> bool {
        let state = self.state_mut();
        if state.waiting.count >= state.settings.ended_max {
            state.counters().limits.add(1);
            return false;
        }
        let until = state.world.now() + state.settings.ended_deadline;
        if let Some(context) = state.contexts.find(id) {
            context.ending = Ending::Waiting { until };
            state.waiting.count += 1;
            state.waiting.until = state.waiting.until.min(until);
        }
        true
    }

    /// Has those be done that were waited for until `now`.
    pub(crate) fn end_overdue(&mut self, now: Time) {
        let state = self.state_mut();
        state.waiting.until = Time::NEVER;
        for (id, context) in state.contexts.iter_mut() {
            match context.ending {
                Ending::Waiting { until } if until <= now => {
                    context.ending = Ending::Due;
                    state.waiting.count -= 1;
                    state.due.push(id);
                    state.stats.shards[state.place].limits.add(1);
                }
                Ending::Waiting { until } => {
                    state.waiting.until = state.waiting.until.min(until);
                }
                Ending::No | Ending::Begun | Ending::Due => {}
            }
        }
    }

    /// `proxy_on_log` and `proxy_on_delete`.
    fn bury(&mut self, id: ContextId, lent: Lent<'_>) -> Result<(), Trapped> {
        if self.calls.log.is_some() {
            let lent = Lent { stream: id, ..lent };
            self.run(id, lent, self.header_ticks, |store, calls| {
                calls.log.as_ref().map_or(Ok(()), |call| call.call(store, id.as_u32()))
            })?;
        }
        // A guest that keeps nothing of a stream still keeps its calls until they are answered.
        let has_calls = self.context(id).is_some_and(|context| context.has_calls);
        let told = self.calls.streams_are_told || has_calls || self.is_root(id);
        if told && self.calls.delete.is_some() {
            let lent = Lent { stream: id, ..Lent::default() };
            self.run(id, lent, self.header_ticks, |store, calls| {
                calls.delete.as_ref().map_or(Ok(()), |call| call.call(store, id.as_u32()))
            })?;
        }
        let state = self.state_mut();
        state.contexts.remove(id);
        state.ticks.retain(|tick| tick.root != id);
        state.registrations.retain(|registration| registration.root != id);
        Ok(())
    }

    fn is_root(&mut self, id: ContextId) -> bool {
        self.context(id).is_some_and(|context| matches!(context.kind, Kind::Root { .. }))
    }

    /// Gives up every call of the context. Nobody is called back, as in Envoy: what it was for is
    /// over, and the public Rust SDK traps in a callback that has no answer to read.
    fn forget_calls(&mut self, id: ContextId) {
        let state = self.state_mut();
        let Some(context) = state.contexts.find(id).filter(|context| context.has_calls) else {
            return;
        };
        if let Some(mail) = &mut context.mail {
            mail.callouts.clear();
        }
        state.callouts.open.retain(|_, owner| *owner != id);
        state.callouts.grpc.retain(|_, call| call.owner != id);
    }

    /// Ends the contexts whose `proxy_done` came during the last calls.
    pub(crate) fn settle(&mut self) -> Result<(), Trapped> {
        while let Some(id) = self.state_mut().due.pop() {
            self.bury(id, Lent::default())?;
        }
        Ok(())
    }
}

/// Anything but 0 pauses: Envoy's guests know more kinds of stopping, and all of them stop.
pub(crate) fn action(result: u32) -> Action {
    if result == 0 { Action::Continue } else { Action::Pause }
}

/// The status of an answer, as a number; 0 when it has none.
fn status_code(answer: &CalloutResponse) -> u32 {
    let digits = answer.headers.value(b":status").and_then(|value| str::from_utf8(value).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
