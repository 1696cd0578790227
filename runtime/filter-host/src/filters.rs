//! The filters of one shard: their instances, failures, timers, and calls of root contexts.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use penstock_env::Time;

use crate::abi::LogLevel;
#[cfg(any(test, feature = "testing", feature = "property"))]
use crate::error::{TrapCause, Trapped};
use crate::filter::Filter;
use crate::grpc::GrpcEvent;
use crate::instance::Instance;
use crate::module::hex;
use crate::queues::{Nudge, Queues};
use crate::running::{Live, Running};
use crate::session::{Callout, CalloutFailure, CalloutResponse};
use crate::settings::Isolation;
use crate::state::Lent;
use crate::trial::{Installed, Role, Stage, Trial, WHOLE};
use crate::world::World;

/// The filters of one shard; cheap to clone, bound to its thread.
#[derive(Clone)]
pub struct Filters {
    shard: Rc<Shard>,
}

/// What the filters of a shard have in common.
pub(crate) struct Shard {
    pub(crate) world: Rc<dyn World>,
    pub(crate) index: usize,
    table: RefCell<Vec<Slot>>,
    /// Instances of earlier configurations with exchanges still open.
    pub(crate) retired: RefCell<Vec<Rc<Running>>>,
    pub(crate) root_callouts: RefCell<VecDeque<RootCallout>>,
    pub(crate) ticks_changed: Cell<bool>,
    /// Known once there are filters.
    queues: RefCell<Option<Arc<Queues>>>,
    nudge: RefCell<Option<Box<Nudge>>>,
    waker: RefCell<Option<Waker>>,
}

/// A filter's place in the snapshot.
#[derive(Clone)]
struct Slot {
    /// The version that requests get, but for those that a trial gives to another.
    live: Rc<Live>,
    trial: Option<Rc<OnTrial>>,
}

/// A version beside another.
struct OnTrial {
    trial: Arc<Trial>,
    candidate: Rc<Live>,
}

/// A call that a root context wants made: on a timer, or while it was configured.
pub struct RootCallout {
    /// The call.
    pub callout: Callout,
    /// The filter that makes it.
    pub filter: Arc<Filter>,
    pub(crate) origin: Rc<Running>,
}

/// What the shard's own task for filters has to do.
pub enum Attention {
    /// Make this call, and hand its answer to [`Filters::answer`].
    Callout(RootCallout),
    /// Look at [`Filters::next_tick`] again.
    Ticks,
    /// Call [`Filters::serve_queues`].
    Queues,
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
                queues: RefCell::default(),
                nudge: RefCell::default(),
                waker: RefCell::default(),
            }),
        }
    }

    /// Takes over the filters of a new snapshot. Those that it has in common with the last one
    /// (the same `Arc`) go on as they are; of the others, new exchanges get new instances, and
    /// old ones finish on theirs.
    pub fn apply(&self, filters: &[Installed]) {
        if let Some(first) = filters.first() {
            self.shard.queues.replace(Some(Arc::clone(&first.filter().queues)));
            self.give_nudge();
        }
        let old = self.shard.table.take();
        let live = |filter: &Arc<Filter>| {
            let mut kept = old.iter().flat_map(Slot::versions);
            let kept = kept.find(|live| Arc::ptr_eq(&live.filter, filter));
            kept.map_or_else(|| Live::new(filter, &self.shard), Rc::clone)
        };
        let slot = |installed: &Installed| Slot {
            live: live(installed.stable()),
            trial: installed.candidate().map(|trial| {
                let candidate = live(&trial.candidate);
                Rc::new(OnTrial { trial: Arc::clone(trial), candidate })
            }),
        };
        let table: Vec<_> = filters.iter().map(slot).collect();
        for live in old.iter().flat_map(Slot::versions) {
            if !table.iter().flat_map(Slot::serving).any(|kept| Rc::ptr_eq(kept, live)) {
                live.retire();
            }
        }
        // Started now, so that no exchange waits for it. A failure is noted, and tried again by
        // the next exchange.
        for live in table.iter().flat_map(Slot::serving) {
            if live.filter.settings.isolation == Isolation::Shared {
                let _ = live.running();
            }
        }
        self.shard.table.replace(table);
        self.shard.reap();
    }

    /// The filter at this place of the snapshot, for a new exchange.
    #[inline]
    pub(crate) fn live(&self, index: usize) -> Option<Rc<Live>> {
        let table = self.shard.table.borrow();
        let slot = table.get(index)?;
        let Some(on) = &slot.trial else {
            return Some(Rc::clone(&slot.live));
        };
        let on = Rc::clone(on);
        drop(table);
        Some(self.choose(index, &on))
    }

    /// The version for a new exchange.
    fn choose(&self, index: usize, on: &OnTrial) -> Rc<Live> {
        let (shard, world) = (self.shard.index, &self.shard.world);
        match on.trial.choose(shard, world.now(), || world.random()) {
            Some(Role::Candidate) => Rc::clone(&on.candidate),
            Some(Role::Stable) => Rc::clone(&self.shard.table.borrow()[index].live),
            None => self.settle(index, on),
        }
    }

    /// Ends a trial on this shard: the version that remains.
    #[cold]
    fn settle(&self, index: usize, on: &OnTrial) -> Rc<Live> {
        let slot = &mut self.shard.table.borrow_mut()[index];
        slot.trial = None;
        match on.trial.stage() {
            Stage::Passed => slot.live = Rc::clone(&on.candidate),
            Stage::TakenBack | Stage::Running => on.candidate.retire(),
        }
        Rc::clone(&slot.live)
    }

    /// When the next timer of a root context is due, or something was waited for long enough.
    pub fn next_tick(&self) -> Option<Time> {
        let due = |running: &Rc<Running>| {
            let instance = running.instance.borrow();
            let ticks = instance.as_ref()?.state().ticks.iter().map(|tick| tick.next).min();
            let overdue = running.overdue_at();
            ticks.into_iter().chain((overdue != Time::NEVER).then_some(overdue)).min()
        };
        self.shard.all_running().iter().filter_map(due).min()
    }

    /// Calls every timer that is due, and ends what was waited for long enough. Failures are noted
    /// with their filters.
    pub fn tick(&self, now: Time) {
        for running in self.shard.all_running() {
            running.end_overdue(now);
            let due = running.due(now);
            for root in due {
                // A failure took the instance, and is noted: the other roots' ticks find none.
                let _ = running.with(|instance| instance.on_tick(root));
            }
        }
        self.shard.reap();
    }

    /// How others can have this thread call [`Filters::nudged`]: where an item is put
    /// into a queue that a root context of this shard hears of.
    pub fn set_nudge(&self, nudge: Box<Nudge>) {
        self.shard.nudge.replace(Some(nudge));
        self.give_nudge();
    }

    fn give_nudge(&self) {
        let Some(queues) = &*self.shard.queues.borrow() else { return };
        if let Some(nudge) = self.shard.nudge.take() {
            queues.set_nudge(self.shard.index, nudge);
        }
    }

    /// Another thread asked this one to look.
    pub fn nudged(&self) {
        self.shard.wake();
    }

    /// Tells root contexts of items in their queues.
    pub fn serve_queues(&self) {
        let mut more = false;
        for running in self.shard.all_running() {
            more |= running.serve_queues();
        }
        if more && let Some(queues) = &*self.shard.queues.borrow() {
            queues.ring(self.shard.index, self.shard.index);
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
        // Known before the look: whoever rings behind it wakes this.
        self.shard.waker.replace(Some(context.waker().clone()));
        let queues = self.shard.queues.borrow();
        if queues.as_ref().is_some_and(|queues| queues.take_rung(self.shard.index)) {
            return Poll::Ready(Attention::Queues);
        }
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

    /// Delivers what came on a root context's gRPC call. It is lost as [`Filters::answer`] says.
    pub fn hear(&self, call: &RootCallout, event: &GrpcEvent) {
        let token = call.callout.token;
        // As in `answer`.
        let _ = call.origin.with(|instance| instance.on_grpc(token, event, Lent::default()));
        self.shard.reap();
    }

    /// Exchanges that hold a context, over all filters and generations.
    pub fn streams(&self) -> usize {
        let count =
            |running: &Rc<Running>| running.instance.borrow().as_ref().map_or(0, Instance::streams);
        self.shard.all_running().iter().map(count).sum()
    }

    /// Takes a filter's instance as a trap would.
    #[cfg(any(test, feature = "testing", feature = "property"))]
    pub(crate) fn fail(&self, index: usize) {
        if let Some(running) = self.current(index) {
            // The failure is what is wanted, and is noted as any other.
            let _ = running.with(|_| Err::<(), _>(Trapped::new(TrapCause::Trap)));
        }
    }

    /// Fuel used by a filter's instance so far, where fuel is counted.
    pub fn fuel_used(&self, index: usize) -> u64 {
        self.current(index)
            .and_then(|running| running.instance.borrow().as_ref().map(Instance::fuel_used))
            .unwrap_or(0)
    }

    /// The instance in use, of the version that is not on trial.
    fn current(&self, index: usize) -> Option<Rc<Running>> {
        self.shard.table.borrow().get(index)?.live.current.borrow().clone()
    }
}

impl Slot {
    /// Every version here.
    fn versions(&self) -> impl Iterator<Item = &Rc<Live>> {
        std::iter::once(&self.live).chain(self.trial.iter().map(|on| &on.candidate))
    }

    /// Those that requests go to: one that is only there to fall back to needs no instance.
    fn serving(&self) -> impl Iterator<Item = &Rc<Live>> {
        let waits = self.trial.as_ref().is_some_and(|on| on.trial.share == WHOLE);
        self.versions().skip(usize::from(waits))
    }
}

impl Shard {
    /// Tells the trial that a version is in of its failure.
    pub(crate) fn judge(&self, filter: &Arc<Filter>) {
        let table = self.table.borrow();
        let is = |other: &Arc<Filter>| Arc::ptr_eq(other, filter);
        let trials = table.iter().filter_map(|slot| slot.trial.as_ref());
        let mut trials = trials.map(|on| &on.trial);
        let Some(trial) = trials.find(|one| is(&one.candidate) || is(&one.stable)) else {
            return;
        };
        let now = self.world.now();
        if !trial.failed(filter, self.index, now) {
            return;
        }
        filter.stats.shards[filter.place(self.index)].rollbacks.add(1);
        let (requests, failures) = trial.window(trial.slice_at(now));
        let text = format!(
            "taken back: the new version (sha256 {}) failed {failures} times over {requests} \
             requests; the one before (sha256 {}) gets all of them",
            hex(&trial.candidate.module().sha256()[..6]),
            hex(&trial.stable.module().sha256()[..6]),
        );
        self.world.log(&filter.settings.name, LogLevel::Error, &text);
    }

    fn all_running(&self) -> Vec<Rc<Running>> {
        let table = self.table.borrow();
        let live = table.iter().flat_map(Slot::versions);
        let current = live.filter_map(|live| live.current.borrow().clone());
        current.chain(self.retired.borrow().iter().map(Rc::clone)).collect()
    }

    /// Lets go of earlier instances whose last exchange ended.
    pub(crate) fn reap(&self) {
        if self.retired.borrow().is_empty() {
            return;
        }
        let is_idle = |running: &Rc<Running>| running.is_idle();
        let (idle, busy) = self.retired.take().into_iter().partition::<Vec<_>, _>(is_idle);
        self.retired.replace(busy);
        for running in idle {
            match running.shut_down() {
                true => running.rest(),
                false => self.retired.borrow_mut().push(running),
            }
        }
    }

    /// Ends an instance that was made for one exchange, which is over.
    pub(crate) fn end(&self, running: Rc<Running>, ended_max: u32) {
        if running.is_idle() && running.shut_down() {
            return;
        }
        let mut retired = self.retired.borrow_mut();
        match retired.len() < ended_max as usize {
            true => retired.push(running),
            false => {
                drop(retired);
                running.cut_short();
            }
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
