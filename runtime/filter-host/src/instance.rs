//! One running instance: a store, its contexts, and the callbacks resolved once.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};

use crate::abi::{Action, arena, callbacks};
use crate::calls::{Calls, Headers, typed};
use crate::contexts::{Context, ContextId, Contexts, Ending, Kind};
use crate::engine::{DEADLINE_MAX, Engine, TICK};
use crate::error::{TrapCause, Trapped};
use crate::filter::Filter;
use crate::limits::Limits;
use crate::metrics::SAMPLE_EVERY;
use crate::session::{CalloutFailure, CalloutResponse};
use crate::state::{Arena, Call, Callouts, Clock, Lent, LogBudget, State};
use crate::world::World;

/// A started instance with its root contexts configured.
pub(crate) struct Instance {
    store: Store<State>,
    calls: Calls,
    engine: Engine,
    roots: Vec<ContextId>,
    header_ticks: u64,
    body_ticks: u64,
    calls_made: u64,
    fuel_used: u64,
    #[cfg(any(test, feature = "property"))]
    instance: wasmtime::Instance,
}

/// Which half of an exchange a callback is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Request,
    Response,
}

impl Instance {
    /// Instantiates the module, starts it, and configures a root context for each plugin.
    pub(crate) fn start(
        filter: &Filter,
        shard: usize,
        world: &Rc<dyn World>,
    ) -> Result<Instance, Trapped> {
        let settings = &filter.settings;
        let module = &filter.module;
        let mut store = Store::new(filter.engine.wasmtime(), state(filter, shard, world));
        store.limiter(|state| &mut state.limits);
        filter.engine.touch();
        store.set_epoch_deadline(ticks(settings.start_deadline));
        if let Some(fuel_max) = filter.engine.settings().fuel_max {
            // Only fails where fuel isn't counted.
            let _ = store.set_fuel(fuel_max);
        }
        let instance = match module.pre().instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(trapped(&store, &error)),
        };
        let calls = Calls::resolve(&instance, &mut store);
        store.data_mut().memory = instance.get_memory(&mut store, callbacks::MEMORY);
        store.data_mut().allocate = typed(&instance, &mut store, callbacks::ALLOCATE)
            .or_else(|| typed(&instance, &mut store, callbacks::MALLOC));
        let mut started = Instance {
            store,
            calls,
            engine: filter.engine.clone(),
            roots: Vec::new(),
            header_ticks: ticks(settings.header_deadline),
            body_ticks: ticks(settings.body_deadline),
            calls_made: 0,
            fuel_used: 0,
            #[cfg(any(test, feature = "property"))]
            instance,
        };
        started.initialize(&instance, ticks(settings.start_deadline))?;
        for plugin in 0..settings.plugins.len() {
            started.configure(plugin as u32, ticks(settings.start_deadline))?;
        }
        started.state().counters().starts.add(1);
        Ok(started)
    }

    /// FILTERS: `_initialize`, then `main` if it is there; else `_start`.
    fn initialize(&mut self, instance: &wasmtime::Instance, ticks: u64) -> Result<(), Trapped> {
        let initialize = typed::<(), ()>(instance, &mut self.store, callbacks::INITIALIZE);
        let main = typed::<(u32, u32), u32>(instance, &mut self.store, callbacks::MAIN);
        let start = typed::<(), ()>(instance, &mut self.store, callbacks::START);
        self.run(ContextId::NONE, Lent::default(), ticks, |store, _| match initialize {
            Some(initialize) => {
                initialize.call(&mut *store, ())?;
                main.map_or(Ok(()), |main| main.call(store, (0, 0)).map(drop))
            }
            None => start.map_or(Ok(()), |start| start.call(store, ())),
        })?;
        let Some(lend) = typed::<u32, u32>(instance, &mut self.store, arena::EXPORT) else {
            return Ok(());
        };
        let base = self.run(ContextId::NONE, Lent::default(), ticks, |store, _| {
            lend.call(store, arena::BYTES)
        })?;
        let memory_bytes = self.state().memory.map_or(0, |memory| memory.data_size(&self.store));
        let end = u64::from(base) + u64::from(arena::BYTES);
        if end <= memory_bytes as u64 {
            self.state_mut().arena = Arena { base, used: 0 };
        }
        Ok(())
    }

    /// Makes the root context of a plugin; the machine itself starts with the first.
    fn configure(&mut self, plugin: u32, ticks: u64) -> Result<(), Trapped> {
        let root = self.state_mut().contexts.insert(Kind::Root { plugin });
        let root = root.ok_or_else(|| Trapped::new(TrapCause::Contexts))?;
        self.roots.push(root);
        let id = root.as_u32();
        let settings = Arc::clone(&self.state().settings);
        let vm_bytes = settings.vm_config.len() as u32;
        let bytes = settings.plugins[plugin as usize].config.len() as u32;
        let lent = || Lent { stream: root, ..Lent::default() };
        let accepted = self.run(root, lent(), ticks, |store, calls| {
            if let Some(create) = &calls.context_create {
                create.call(&mut *store, (id, 0))?;
            }
            match &calls.vm_start {
                Some(start) if plugin == 0 => Ok(start.call(store, (id, vm_bytes))? != 0),
                _ => Ok(true),
            }
        })?;
        let configuring = Lent { configuring: true, ..lent() };
        let accepted = accepted
            && self.run(root, configuring, ticks, |store, calls| match &calls.configure {
                Some(configure) => Ok(configure.call(store, (id, bytes))? != 0),
                None => Ok(true),
            })?;
        accepted.then_some(()).ok_or_else(|| Trapped::new(TrapCause::Refused))
    }

    /// Calls the guest with `lent` reachable for its hostcalls.
    #[inline]
    fn run<R>(
        &mut self,
        effective: ContextId,
        lent: Lent<'_>,
        ticks: u64,
        call: impl FnOnce(&mut Store<State>, &Calls) -> wasmtime::Result<R>,
    ) -> Result<R, Trapped> {
        self.engine.touch();
        self.store.set_epoch_deadline(ticks);
        if let Some(fuel_max) = self.engine.settings().fuel_max {
            // Only fails where fuel isn't counted.
            let _ = self.store.set_fuel(fuel_max);
        }
        let state = self.store.data_mut();
        state.arena.used = 0;
        state.counters().calls.add(1);
        let measured = self.calls_made.is_multiple_of(SAMPLE_EVERY);
        let before = if measured { state.world.stopwatch_ns() } else { 0 };
        self.calls_made += 1;
        // SAFETY: `Ended` puts the default back when it is dropped, which is before `lent`'s
        // lifetime can end: that is at the earliest when this function returns or unwinds.
        state.call = unsafe { Call::begin(effective, lent) };
        let ended = Ended(&mut self.store);
        let result = call(&mut *ended.0, &self.calls);
        drop(ended);
        if measured {
            let state = self.store.data();
            let spent = state.world.stopwatch_ns().saturating_sub(before);
            state.counters().cpu_ns.record(spent, SAMPLE_EVERY);
        }
        if let Some(fuel_max) = self.engine.settings().fuel_max {
            self.fuel_used += fuel_max - self.store.get_fuel().unwrap_or(fuel_max);
        }
        result.map_err(|error| trapped(&self.store, &error))
    }

    #[inline]
    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    #[inline]
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    #[inline]
    pub(crate) fn context(&mut self, id: ContextId) -> Option<&mut Context> {
        self.state_mut().contexts.find(id)
    }

    /// Exchanges that have a context.
    pub(crate) fn streams(&self) -> usize {
        self.state().contexts.len() - self.roots.len()
    }

    /// Bytes of memory and tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.state().limits.bytes()
    }

    /// Fuel that all callbacks used, where it is counted.
    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// A context for a new exchange, under the root of `plugin`.
    #[inline]
    pub(crate) fn open(&mut self, plugin: u32, lent: Lent<'_>) -> Result<ContextId, Trapped> {
        let Some(&root) = self.roots.get(plugin as usize) else {
            return Err(Trapped::new(TrapCause::Contexts));
        };
        let id = self.state_mut().contexts.insert(Kind::Stream { root });
        let id = id.ok_or_else(|| Trapped::new(TrapCause::Contexts))?;
        if self.calls.context_create.is_some() {
            let lent = Lent { stream: id, ..lent };
            self.run(id, lent, self.header_ticks, |store, calls| match &calls.context_create {
                Some(create) => create.call(store, (id.as_u32(), root.as_u32())),
                None => Ok(()),
            })?;
        }
        Ok(id)
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

    /// `proxy_on_request_body` or `proxy_on_response_body`.
    pub(crate) fn on_body(
        &mut self,
        way: Way,
        id: ContextId,
        lent: Lent<'_>,
        bytes: u32,
        end: bool,
    ) -> Result<Action, Trapped> {
        let lent = Lent { stream: id, ..lent };
        let result = self.run(id, lent, self.body_ticks, |store, calls| {
            let call = match way {
                Way::Request => &calls.request_body,
                Way::Response => &calls.response_body,
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

    /// `proxy_on_http_call_response`, on the root context, if the call is still awaited.
    pub(crate) fn on_http_call_response<'a>(
        &mut self,
        token: u32,
        answer: Result<&'a CalloutResponse, CalloutFailure>,
        lent: Lent<'a>,
    ) -> Result<(), Trapped> {
        let Some(owner) = self.state_mut().callouts.open.remove(&token) else {
            return Ok(());
        };
        let Some(context) = self.context(owner) else {
            return Ok(());
        };
        context.callouts_open -= 1;
        let root = match context.kind {
            Kind::Root { .. } => owner,
            Kind::Stream { root } => root,
        };
        let (fields, bytes, trailers) = match answer {
            Ok(answer) => (answer.headers.len(), answer.body.len(), answer.trailers.len()),
            Err(_) => (0, 0, 0),
        };
        let status = match answer {
            Ok(answer) => (status_code(answer), ""),
            Err(failure) => (0, failure.message()),
        };
        let lent = Lent { callout: answer.ok(), status, ..lent };
        let arguments = (root.as_u32(), token, fields as u32, bytes as u32, trailers as u32);
        self.run(root, lent, self.header_ticks, |store, calls| {
            calls.http_call_response.as_ref().map_or(Ok(()), |call| call.call(store, arguments))
        })
    }

    /// `proxy_on_tick` of a root context.
    pub(crate) fn on_tick(&mut self, root: ContextId) -> Result<(), Trapped> {
        let lent = Lent { stream: root, ..Lent::default() };
        self.run(root, lent, self.header_ticks, |store, calls| {
            calls.tick.as_ref().map_or(Ok(()), |call| call.call(store, root.as_u32()))
        })
    }

    /// The end of a context: its calls are cancelled, `proxy_on_done` is asked, and unless that
    /// wants to wait for `proxy_done`, log and delete follow.
    pub(crate) fn close(&mut self, id: ContextId, mut lent: Lent<'_>) -> Result<(), Trapped> {
        self.cancel_callouts(id)?;
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
        if !finished {
            if let Some(context) = self.context(id) {
                context.ending = Ending::Waiting;
            }
            return Ok(());
        }
        self.bury(id, lent)
    }

    /// `proxy_on_log` and `proxy_on_delete`.
    fn bury(&mut self, id: ContextId, lent: Lent<'_>) -> Result<(), Trapped> {
        if self.calls.log.is_some() {
            let lent = Lent { stream: id, ..lent };
            self.run(id, lent, self.header_ticks, |store, calls| {
                calls.log.as_ref().map_or(Ok(()), |call| call.call(store, id.as_u32()))
            })?;
        }
        if self.calls.delete.is_some() {
            let lent = Lent { stream: id, ..Lent::default() };
            self.run(id, lent, self.header_ticks, |store, calls| {
                calls.delete.as_ref().map_or(Ok(()), |call| call.call(store, id.as_u32()))
            })?;
        }
        let state = self.state_mut();
        state.contexts.remove(id);
        state.ticks.retain(|tick| tick.root != id);
        Ok(())
    }

    /// Answers every call of the context with nothing, so that the guest forgets it too.
    fn cancel_callouts(&mut self, id: ContextId) -> Result<(), Trapped> {
        if self.context(id).is_none_or(|context| context.callouts_open == 0) {
            return Ok(());
        }
        let open = &self.state().callouts.open;
        let tokens: Vec<u32> =
            open.iter().filter(|(_, owner)| **owner == id).map(|(token, _)| *token).collect();
        for token in tokens {
            let cancelled = Err(CalloutFailure::Cancelled);
            self.on_http_call_response(token, cancelled, Lent::default())?;
        }
        if let Some(mail) = self.context(id).and_then(|context| context.mail.as_mut()) {
            mail.callouts.clear();
        }
        Ok(())
    }

    /// Ends the contexts whose `proxy_done` came during the last calls.
    pub(crate) fn settle(&mut self) -> Result<(), Trapped> {
        while let Some(id) = self.state_mut().due.pop() {
            self.bury(id, Lent::default())?;
        }
        Ok(())
    }

    /// Ends the root contexts: the instance's last callbacks.
    pub(crate) fn shut_down(&mut self) -> Result<(), Trapped> {
        for root in std::mem::take(&mut self.roots) {
            self.close(root, Lent::default())?;
        }
        Ok(())
    }

    /// Calls any export, with the effective context that `lent` names.
    #[cfg(any(test, feature = "property"))]
    pub(crate) fn call_export(
        &mut self,
        name: &str,
        arguments: &[wasmtime::Val],
        results: usize,
        lent: Lent<'_>,
    ) -> Result<Vec<wasmtime::Val>, Trapped> {
        let instance = self.instance;
        self.run(lent.stream, lent, self.body_ticks, |store, _| {
            let export = instance.get_func(&mut *store, name);
            let export = export.ok_or_else(|| wasmtime::Error::msg("no such export"))?;
            let mut values = vec![wasmtime::Val::I32(0); results];
            export.call(store, arguments, &mut values)?;
            Ok(values)
        })
    }

    /// The guest's memory, from outside.
    #[cfg(test)]
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        let memory = self.state().memory.expect("it is instantiated");
        memory.data_mut(&mut self.store)
    }

    /// Wakes every task that waits for something to happen in this instance.
    pub(crate) fn wake_all(&mut self) {
        self.state_mut().contexts.iter_mut().for_each(|(_, context)| context.wake());
    }
}

/// Takes the lent things back, whatever ended the call.
struct Ended<'a>(&'a mut Store<State>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.data_mut().call = Call::default();
    }
}

/// What the store of a new instance begins with.
fn state(filter: &Filter, shard: usize, world: &Rc<dyn World>) -> State {
    State {
        settings: Arc::clone(&filter.settings),
        capabilities: filter.settings.capabilities,
        version: filter.module.version(),
        shared: Arc::clone(&filter.shared),
        stats: Arc::clone(&filter.stats),
        shard,
        world: Rc::clone(world),
        memory: None,
        allocate: None,
        allocating: false,
        arena: Arena::default(),
        limits: Limits::new(filter.settings.memory_bytes_max),
        contexts: Contexts::default(),
        call: Call::default(),
        callouts: Callouts::default(),
        ticks: Vec::new(),
        ticks_moved: false,
        due: Vec::new(),
        scratch: Vec::new(),
        clock: Clock::default(),
        log: LogBudget::default(),
        exit: None,
    }
}

/// Anything but 0 pauses: Envoy's guests know more kinds of stopping, and all of them stop.
fn action(result: u32) -> Action {
    if result == 0 { Action::Continue } else { Action::Pause }
}

/// The status of an answer, as a number; 0 when it has none.
fn status_code(answer: &CalloutResponse) -> u32 {
    let digits = answer.headers.value(b":status").and_then(|value| str::from_utf8(value).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Whole ticks; a deadline of one tick could end at once, so two are the least.
fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.min(DEADLINE_MAX).as_nanos() / TICK.as_nanos();
    (ticks as u64).max(2)
}

/// Sorts out why the guest ended.
fn trapped(store: &Store<State>, error: &wasmtime::Error) -> Trapped {
    let state = store.data();
    let cause = match error.downcast_ref::<Trap>() {
        _ if state.exit.is_some() => TrapCause::Exit,
        Some(Trap::Interrupt) => TrapCause::Deadline,
        Some(Trap::OutOfFuel) => TrapCause::Fuel,
        Some(Trap::AllocationTooLarge) => TrapCause::Memory,
        _ if state.limits.denied() => TrapCause::Memory,
        _ => TrapCause::Trap,
    };
    let mut detail = format!("{error:#}").replace('\n', "; ");
    let end =
        (0..=DETAIL_BYTES_MAX.min(detail.len())).rev().find(|&at| detail.is_char_boundary(at));
    detail.truncate(end.unwrap_or(0));
    Trapped { cause, detail }
}

/// A trap with its backtrace, for one log line.
const DETAIL_BYTES_MAX: usize = 1_024;
