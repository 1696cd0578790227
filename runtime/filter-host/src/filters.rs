//! The filters of one shard: their instances, failures, timers, and calls of root contexts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_env::Time;

use crate::abi::LogLevel;
use crate::contexts::{ContextId, Kind};
use crate::error::{TrapCause, Trapped};
use crate::filter::Filter;
use crate::instance::Instance;
use crate::metrics::{FilterState, ShardStats};
use crate::policy::Policy;
use crate::session::{Callout, CalloutFailure, CalloutResponse};
use crate::settings::Isolation;
use crate::state::{Lent, State};
use crate::world::World;

/// The filters of one shard; cheap to clone, bound to its thread.
#[derive(Clone)]
pub struct Filters {
    shard: Rc<Shard>,
}

/// What the filters of a shard have in common.
pub(crate) struct Shard {
    world: Rc<dyn World>,
    index: usize,
    table: RefCell<Vec<Rc<Live>>>,
    /// Instances of earlier configurations with exchanges still open.
    retired: RefCell<Vec<Rc<Running>>>,
    root_callouts: RefCell<VecDeque<RootCallout>>,
    ticks_changed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A filter on this shard, and the instance that new exchanges get.
pub(crate) struct Live {
    pub(crate) filter: Arc<Filter>,
    shard: Rc<Shard>,
    current: RefCell<Option<Rc<Running>>>,
    policy: Rc<RefCell<Policy>>,
}

/// An instance that exchanges hold on to; empty once it failed.
pub(crate) struct Running {
    instance: RefCell<Option<Instance>>,
    filter: Arc<Filter>,
    shard: Rc<Shard>,
    policy: Rc<RefCell<Policy>>,
}

/// An HTTP call that a root context wants made: on a timer, or while it was configured.
pub struct RootCallout {
    /// The call.
    pub callout: Callout,
    /// The filter that makes it.
    pub filter: Arc<Filter>,
    origin: Rc<Running>,
}

/// What the shard's own task for filters has to do.
pub enum Attention {
    /// Make this call, and hand its answer to [`Filters::answer`].
    Callout(RootCallout),
    /// Look at [`Filters::next_tick`] again.
    Ticks,
}

impl Filters {
    /// No filters yet, on the shard of this index (below `FilterHost`'s count of shards).
    pub fn new(index: usize, world: Rc<dyn World>) -> Filters {
        Filters {
            shard: Rc::new(Shard {
                world,
                index,
                table: RefCell::default(),
                retired: RefCell::default(),
                root_callouts: RefCell::default(),
                ticks_changed: Cell::new(false),
                waker: RefCell::default(),
            }),
        }
    }

    /// Takes over the filters of a new snapshot. Those that it has in common with the last one
    /// (the same `Arc`) go on as they are; of the others, new exchanges get new instances, and
    /// old ones finish on theirs.
    pub fn apply(&self, filters: &[Arc<Filter>]) {
        let old = self.shard.table.take();
        let kept = |filter: &Arc<Filter>| {
            old.iter().find(|live| Arc::ptr_eq(&live.filter, filter)).map(Rc::clone)
        };
        let table: Vec<_> = filters
            .iter()
            .map(|filter| kept(filter).unwrap_or_else(|| Live::new(filter, &self.shard)))
            .collect();
        for live in &old {
            if !table.iter().any(|kept| Rc::ptr_eq(kept, live)) {
                live.retire();
            }
        }
        // Started now, so that no exchange waits for it. A failure is noted, and tried again by
        // the next exchange.
        for live in &table {
            if live.filter.settings.isolation == Isolation::Shared {
                let _ = live.running();
            }
        }
        self.shard.table.replace(table);
        self.shard.reap();
    }

    /// The filter at this place of the snapshot.
    pub(crate) fn live(&self, index: usize) -> Option<Rc<Live>> {
        self.shard.table.borrow().get(index).map(Rc::clone)
    }

    /// When the next timer of a root context is due.
    pub fn next_tick(&self) -> Option<Time> {
        let due = |running: &Rc<Running>| {
            let instance = running.instance.borrow();
            instance.as_ref()?.state().ticks.iter().map(|tick| tick.next).min()
        };
        self.shard.all_running().iter().filter_map(due).min()
    }

    /// Calls every timer that is due. Failures are noted with their filters.
    pub fn tick(&self, now: Time) {
        for running in self.shard.all_running() {
            let due = running.due(now);
            for root in due {
                // A failure took the instance, and is noted: the other roots' ticks find none.
                let _ = running.with(|instance| instance.on_tick(root));
            }
        }
        self.shard.reap();
    }

    /// Waits for the next thing to do for root contexts.
    pub async fn attention(&self) -> Attention {
        poll_fn(|context| self.poll_attention(context)).await
    }

    fn poll_attention(&self, context: &mut Context<'_>) -> Poll<Attention> {
        if let Some(callout) = self.shard.root_callouts.borrow_mut().pop_front() {
            return Poll::Ready(Attention::Callout(callout));
        }
        if self.shard.ticks_changed.replace(false) {
            return Poll::Ready(Attention::Ticks);
        }
        self.shard.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }

    /// Delivers the answer to a root context's call. It is lost on an instance that failed since.
    pub fn answer(&self, call: &RootCallout, answer: Result<&CalloutResponse, CalloutFailure>) {
        let token = call.callout.token;
        // A failure is noted with the filter; there is no exchange to give its policy to.
        let _ = call
            .origin
            .with(|instance| instance.on_http_call_response(token, answer, Lent::default()));
        self.shard.reap();
    }

    /// Exchanges that hold a context, over all filters and generations.
    pub fn streams(&self) -> usize {
        let count =
            |running: &Rc<Running>| running.instance.borrow().as_ref().map_or(0, Instance::streams);
        self.shard.all_running().iter().map(count).sum()
    }

    /// Fuel used by a filter's instance so far, where fuel is counted.
    pub fn fuel_used(&self, index: usize) -> u64 {
        let running = self.live(index).and_then(|live| live.current.borrow().clone());
        running
            .and_then(|running| running.instance.borrow().as_ref().map(Instance::fuel_used))
            .unwrap_or(0)
    }
}

impl Shard {
    fn all_running(&self) -> Vec<Rc<Running>> {
        let table = self.table.borrow();
        let current = table.iter().filter_map(|live| live.current.borrow().clone());
        current.chain(self.retired.borrow().iter().map(Rc::clone)).collect()
    }

    /// Lets go of earlier instances whose last exchange ended.
    pub(crate) fn reap(&self) {
        if self.retired.borrow().is_empty() {
            return;
        }
        let idle = |running: &Rc<Running>| {
            running.instance.borrow().as_ref().is_none_or(|instance| instance.streams() == 0)
        };
        let (idle, busy) = self.retired.take().into_iter().partition::<Vec<_>, _>(idle);
        self.retired.replace(busy);
        for running in idle {
            running.shut_down();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Live {
    fn new(filter: &Arc<Filter>, shard: &Rc<Shard>) -> Rc<Live> {
        Rc::new(Live {
            filter: Arc::clone(filter),
            shard: Rc::clone(shard),
            current: RefCell::new(None),
            policy: Rc::new(RefCell::new(Policy::new(filter.settings.storm))),
        })
    }

    pub(crate) fn counters(&self) -> &ShardStats {
        &self.filter.stats.shards[self.shard.index]
    }

    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// The instance for a new exchange: the current one, or a fresh one after a failure.
    #[inline]
    pub(crate) fn running(&self) -> Result<Rc<Running>, Trapped> {
        if !self.policy.borrow().allows(self.shard.world.now()) {
            return Err(Trapped::new(TrapCause::Disabled));
        }
        if let Some(running) = &*self.current.borrow()
            && running.is_alive()
        {
            return Ok(Rc::clone(running));
        }
        self.start()
    }

    #[cold]
    fn start(&self) -> Result<Rc<Running>, Trapped> {
        let running = Rc::new(Running {
            instance: RefCell::new(None),
            filter: Arc::clone(&self.filter),
            shard: Rc::clone(&self.shard),
            policy: Rc::clone(&self.policy),
        });
        match Instance::start(&self.filter, self.shard.index, &self.shard.world) {
            Ok(mut instance) => {
                running.after(&mut instance);
                running.instance.replace(Some(instance));
                running.counters().set_state(FilterState::Ready);
            }
            Err(trapped) => {
                running.counters().set_state(FilterState::Failed);
                running.note(&trapped);
                return Err(trapped);
            }
        }
        if self.filter.settings.isolation == Isolation::Shared {
            self.current.replace(Some(Rc::clone(&running)));
        }
        Ok(running)
    }

    /// Takes the filter out of use: its instance goes when its last exchange does.
    fn retire(&self) {
        if let Some(running) = self.current.take() {
            self.shard.retired.borrow_mut().push(running);
        }
    }
}

impl Running {
    fn counters(&self) -> &ShardStats {
        &self.filter.stats.shards[self.shard.index]
    }

    /// Whether it has not failed.
    pub(crate) fn is_alive(&self) -> bool {
        // Borrowed means that one of its callbacks runs right now.
        self.instance.try_borrow().map_or(true, |instance| instance.is_some())
    }

    /// Runs `call` on the instance. A failure takes the instance: it is dropped, everyone who
    /// waits for it is woken, and the filter's policy takes note.
    ///
    /// # Panics
    /// When called from within a call of the same instance: a `Session` may not use the chain.
    pub(crate) fn with<R>(
        self: &Rc<Running>,
        call: impl FnOnce(&mut Instance) -> Result<R, Trapped>,
    ) -> Result<R, Trapped> {
        let mut slot = self.instance.borrow_mut();
        let Some(instance) = slot.as_mut() else {
            return Err(Trapped::new(TrapCause::Lost));
        };
        let settled = |instance: &mut Instance| {
            let result = call(instance)?;
            if !instance.state().due.is_empty() {
                instance.settle()?;
            }
            Ok::<R, Trapped>(result)
        };
        match settled(instance) {
            Ok(result) => {
                self.after(instance);
                Ok(result)
            }
            // The table being full harms nobody who is in it.
            Err(trapped) if trapped.cause == TrapCause::Contexts => {
                self.note(&trapped);
                Err(trapped)
            }
            Err(trapped) => {
                let failed = slot.take();
                drop(slot);
                if let Some(mut failed) = failed {
                    failed.wake_all();
                }
                self.counters().contexts.set(0);
                self.counters().memory_bytes.set(0);
                self.counters().set_state(FilterState::Failed);
                self.note(&trapped);
                Err(trapped)
            }
        }
    }

    /// Looks at what a call left behind for the shard.
    #[inline]
    fn after(self: &Rc<Running>, instance: &mut Instance) {
        let counters = self.counters();
        counters.contexts.set(instance.state().contexts.len() as u64);
        counters.memory_bytes.set(instance.memory_bytes() as u64);
        let state = instance.state_mut();
        if state.callouts.root_waiting || state.ticks_moved {
            self.attend(state);
        }
    }

    /// Hands calls of root contexts to the shard, and tells it of new timers.
    #[cold]
    fn attend(self: &Rc<Running>, state: &mut State) {
        if std::mem::take(&mut state.ticks_moved) {
            self.shard.ticks_changed.set(true);
        }
        if std::mem::take(&mut state.callouts.root_waiting) {
            let roots = state
                .contexts
                .iter_mut()
                .map(|(_, context)| context)
                .filter(|context| matches!(context.kind, Kind::Root { .. }));
            let callouts = roots.filter_map(|root| root.mail.as_mut());
            self.shard.root_callouts.borrow_mut().extend(
                callouts.flat_map(|mail| mail.callouts.drain(..)).map(|callout| RootCallout {
                    callout,
                    filter: Arc::clone(&self.filter),
                    origin: Rc::clone(self),
                }),
            );
        }
        self.shard.wake();
    }

    /// Counts and logs a failure.
    #[cold]
    fn note(&self, trapped: &Trapped) {
        let counters = self.counters();
        counters.failures[trapped.cause as usize].add(1);
        let disabled = self.policy.borrow_mut().failed(self.shard.world.now());
        let name = &self.filter.settings.name;
        self.shard.world.log(name, LogLevel::Error, &trapped.to_string());
        if disabled {
            counters.set_state(FilterState::Disabled);
            let text = "too many failures: switched off for a while";
            self.shard.world.log(name, LogLevel::Error, text);
        }
    }

    /// The roots whose timers are due; their next times are set.
    fn due(&self, now: Time) -> Vec<ContextId> {
        let mut slot = self.instance.borrow_mut();
        let Some(instance) = slot.as_mut() else {
            return Vec::new();
        };
        let ticks = instance.state_mut().ticks.iter_mut().filter(|tick| tick.next <= now);
        ticks
            .map(|tick| {
                let period = Duration::from_nanos(tick.period_ns);
                // A late tick is not made up for.
                tick.next = (tick.next + period).max(now + period / 2);
                tick.root
            })
            .collect()
    }

    /// Ends the instance in good order.
    pub(crate) fn shut_down(self: &Rc<Running>) {
        // A failure here is noted as any other; nothing waits for the instance any more.
        let _ = self.with(Instance::shut_down);
        self.instance.take();
    }
}
