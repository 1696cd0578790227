//! An instance in use on a shard: who gets it, what a failure does to it, how it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_env::Time;

use crate::abi::{Callback, LogLevel};
use crate::contexts::{ContextId, Kind};
use crate::error::{TrapCause, Trapped};
use crate::filter::Filter;
use crate::filters::{RootCallout, Shard};
use crate::instance::Instance;
use crate::metrics::{FilterState, ShardStats};
use crate::policy::Policy;
use crate::settings::Isolation;
use crate::state::State;

/// A filter on this shard, and the instance that new exchanges get.
pub(crate) struct Live {
    pub(crate) filter: Arc<Filter>,
    shard: Rc<Shard>,
    pub(crate) current: RefCell<Option<Rc<Running>>>,
    policy: Rc<RefCell<Policy>>,
}

/// An instance that exchanges hold on to; empty once it failed.
pub(crate) struct Running {
    pub(crate) instance: RefCell<Option<Instance>>,
    filter: Arc<Filter>,
    shard: Rc<Shard>,
    policy: Rc<RefCell<Policy>>,
    stateless: Cell<bool>,
}

impl Live {
    pub(crate) fn new(filter: &Arc<Filter>, shard: &Rc<Shard>) -> Rc<Live> {
        Rc::new(Live {
            filter: Arc::clone(filter),
            shard: Rc::clone(shard),
            current: RefCell::new(None),
            policy: Rc::new(RefCell::new(Policy::new(filter.settings.storm))),
        })
    }

    pub(crate) fn counters(&self) -> &ShardStats {
        &self.filter.stats.shards[self.filter.place(self.shard.index)]
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
            stateless: Cell::new(false),
        });
        match Instance::start(&self.filter, self.shard.index, &self.shard.world) {
            Ok(mut instance) => {
                running.after(&mut instance);
                running.stateless.set(!instance.tells_streams());
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
    pub(crate) fn retire(&self) {
        if let Some(running) = self.current.take() {
            self.shard.retired.borrow_mut().push(running);
        }
        self.counters().set_state(FilterState::Idle);
    }
}

impl Running {
    fn counters(&self) -> &ShardStats {
        &self.filter.stats.shards[self.filter.place(self.shard.index)]
    }

    /// Whether it has not failed.
    pub(crate) fn is_alive(&self) -> bool {
        // Borrowed means that one of its callbacks runs right now.
        self.instance.try_borrow().map_or(true, |instance| instance.is_some())
    }

    /// Whether it failed with nothing in it of the exchanges that it served: a fresh one can go on
    /// with them.
    #[inline]
    pub(crate) fn can_be_replaced(&self) -> bool {
        !self.is_alive() && self.stateless.get()
    }

    /// Whether the guest has callbacks for the end of an exchange.
    #[inline]
    pub(crate) fn tells_end(&self) -> bool {
        let callbacks = self.filter.module.callbacks();
        !self.stateless.get() || callbacks.has(Callback::Done) || callbacks.has(Callback::Log)
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
        if state.callouts.root_waiting || state.roots_moved {
            self.attend(state);
        }
    }

    /// Hands calls of root contexts to the shard, and tells it of new timers.
    #[cold]
    fn attend(self: &Rc<Running>, state: &mut State) {
        if std::mem::take(&mut state.roots_moved) {
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
        self.shard.judge(&self.filter);
        let disabled = self.policy.borrow_mut().failed(self.shard.world.now());
        let name = &self.filter.settings.name;
        self.shard.world.log(name, LogLevel::Error, &trapped.to_string());
        if disabled {
            counters.set_state(FilterState::Disabled);
            let text = "too many failures: switched off for a while";
            self.shard.world.log(name, LogLevel::Error, text);
        }
    }

    /// Tells roots of items that wait in their queues, some at a time; whether there may be more.
    pub(crate) fn serve_queues(self: &Rc<Running>) -> bool {
        for _ in 0..QUEUE_CALLS_MAX {
            let owed = self.instance.borrow().as_ref().and_then(|instance| {
                let all = &instance.state().registrations;
                let next = all.iter().find(|registration| registration.take_owed())?;
                Some((next.root, next.queue.token))
            });
            let Some((root, token)) = owed else { return false };
            // A failure took the instance, and is noted: the next round finds none.
            let _ = self.with(|instance| instance.on_queue_ready(root, token));
        }
        true
    }

    /// The roots whose timers are due; their next times are set.
    pub(crate) fn due(&self, now: Time) -> Vec<ContextId> {
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

    /// Counts an instance that is gone as none.
    pub(crate) fn rest(&self) {
        self.counters().contexts.set(0);
        self.counters().memory_bytes.set(0);
    }

    /// Whether no exchange has anything in it.
    pub(crate) fn is_idle(&self) -> bool {
        self.instance.borrow().as_ref().is_none_or(|instance| instance.streams() == 0)
    }

    /// When the next context is over that waits for `proxy_done`.
    pub(crate) fn overdue_at(&self) -> Time {
        let instance = self.instance.borrow();
        instance.as_ref().map_or(Time::NEVER, |instance| instance.state().waiting.until)
    }

    /// Ends those that were waited for until `now`.
    pub(crate) fn end_overdue(self: &Rc<Running>, now: Time) {
        if self.overdue_at() <= now {
            // A failure is noted as any other; nothing waits for these contexts any more.
            let _ = self.with(|instance| {
                instance.end_overdue(now);
                Ok(())
            });
        }
    }

    /// Ends the instance in good order; whether it is over by now: its root contexts may want to
    /// wait for `proxy_done`.
    pub(crate) fn shut_down(self: &Rc<Running>) -> bool {
        // A failure here is noted as any other; nothing waits for the instance any more.
        let _ = self.with(Instance::shut_down);
        let over = self.is_idle();
        if over {
            self.instance.take();
        }
        over
    }

    /// Ends the instance now, whatever waits in it.
    pub(crate) fn cut_short(self: &Rc<Running>) {
        let _ = self.shut_down();
        self.end_overdue(Time::NEVER);
        self.instance.take();
    }
}

/// Items of queues that an instance is told of before others have their turn.
const QUEUE_CALLS_MAX: usize = 64;
