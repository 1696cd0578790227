//! One running instance: a store, its contexts, and the callbacks resolved once.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap, UpdateDeadline};

use crate::abi::{arena, callbacks, stateless};
use crate::calls::{Calls, typed};
use crate::contexts::{Context, ContextId, Contexts, Kind};
use crate::engine::Engine;
use crate::error::{TrapCause, Trapped};
use crate::filter::Filter;
use crate::limits::Limits;
use crate::metrics::SAMPLE_EVERY;
use crate::state::{Arena, Call, Callouts, Clock, Lent, LogBudget, State, Waiting, Watch};
use crate::ticker::{DEADLINE_MAX, TICK};
use crate::world::World;

/// A started instance with its root contexts configured.
pub(crate) struct Instance {
    store: Store<State>,
    pub(crate) calls: Calls,
    engine: Engine,
    pub(crate) roots: Vec<ContextId>,
    pub(crate) header_ticks: u64,
    pub(crate) body_ticks: u64,
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
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            let more = state.watch.expired(state.world.cpu_ns());
            Ok(more.map_or(UpdateDeadline::Interrupt, UpdateDeadline::Continue))
        });
        filter.engine.touch();
        watch(&mut store, ticks(settings.start_deadline));
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
            let plugin = plugin as u32;
            let configured = started.configure(plugin, ticks(settings.start_deadline));
            configured.map_err(|trapped| Trapped { plugin: Some(plugin), ..trapped })?;
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
        self.ask_stateless(instance, ticks)?;
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

    /// Forgets the callbacks that a filter without state of exchanges need not get.
    fn ask_stateless(&mut self, instance: &wasmtime::Instance, ticks: u64) -> Result<(), Trapped> {
        let asked = typed::<(), u32>(instance, &mut self.store, stateless::EXPORT);
        if let Some(asked) = asked
            && self.state().settings.plugins.len() == 1
        {
            let answer = self
                .run(ContextId::NONE, Lent::default(), ticks, |store, _| asked.call(store, ()))?;
            self.calls.streams_are_told = answer == 0;
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
    pub(crate) fn run<R>(
        &mut self,
        effective: ContextId,
        lent: Lent<'_>,
        ticks: u64,
        call: impl FnOnce(&mut Store<State>, &Calls) -> wasmtime::Result<R>,
    ) -> Result<R, Trapped> {
        self.engine.touch();
        watch(&mut self.store, ticks);
        if let Some(fuel_max) = self.engine.settings().fuel_max {
            // Only fails where fuel isn't counted.
            let _ = self.store.set_fuel(fuel_max);
        }
        let state = self.store.data_mut();
        state.arena.used = 0;
        state.counters().calls.add(1);
        let measured = self.calls_made.is_multiple_of(SAMPLE_EVERY);
        let before = if measured { state.world.cpu_ns() } else { None };
        self.calls_made += 1;
        // SAFETY: `Ended` puts the default back when it is dropped, which is before `lent`'s
        // lifetime can end: that is at the earliest when this function returns or unwinds.
        state.call = unsafe { Call::begin(effective, lent) };
        let ended = Ended(&mut self.store);
        let result = call(&mut *ended.0, &self.calls);
        drop(ended);
        if let Some(before) = before {
            let state = self.store.data();
            let spent = state.world.cpu_ns().unwrap_or(before).saturating_sub(before);
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

    /// Exchanges that have a context; once it is shut down, its roots that wait.
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
        queues: Arc::clone(&filter.queues),
        registrations: Vec::new(),
        stats: Arc::clone(&filter.stats),
        shard,
        place: filter.place(shard),
        world: Rc::clone(world),
        memory: None,
        allocate: None,
        arena: Arena::default(),
        limits: Limits::new(filter.settings.memory_bytes_max),
        contexts: Contexts::default(),
        call: Call::default(),
        callouts: Callouts::default(),
        ticks: Vec::new(),
        roots_moved: false,
        waiting: Waiting::default(),
        due: Vec::new(),
        scratch: Vec::new(),
        clock: Clock::default(),
        log: LogBudget::default(),
        watch: Watch::default(),
        exit: None,
    }
}

/// Gives the next call its time.
#[inline]
fn watch(store: &mut Store<State>, ticks: u64) {
    let (watch, first) = Watch::new(ticks);
    store.data_mut().watch = watch;
    store.set_epoch_deadline(first);
}

/// Whole ticks, upward. Three are the least: the first may end at once, and the rest must be enough
/// to tell a filter that ran from one that waited for a processor (`Watch`).
fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.min(DEADLINE_MAX).as_nanos().div_ceil(TICK.as_nanos());
    (ticks as u64).max(3)
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
    Trapped { cause, detail, plugin: None }
}

/// A trap with its backtrace, for one log line.
const DETAIL_BYTES_MAX: usize = 1_024;
