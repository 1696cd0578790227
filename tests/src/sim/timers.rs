//! Timers: a deadline is a store; the tick that was planned for the old one looks again.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use penstock_env::{Time, Timer};

use super::queue::Due;
use super::shared::Shared;
use super::trace::Event;

/// The deadlines of a world.
#[derive(Default)]
pub(super) struct Timers {
    live: BTreeMap<u64, Deadline>,
}

struct Deadline {
    at: Time,
    node: u32,
    /// A tick that will look at this timer.
    planned: Option<Time>,
    waker: Option<Waker>,
}

impl Timers {
    /// The nodes of the timers that were not dropped.
    pub(super) fn nodes(&self) -> Vec<u32> {
        self.live.values().map(|deadline| deadline.node).collect()
    }
}

/// A deadline of the simulated clock.
pub struct SimTimer {
    shared: Rc<Shared>,
    id: u64,
}

impl SimTimer {
    pub(super) fn new(shared: Rc<Shared>, node: u32) -> SimTimer {
        let id = shared.id();
        let unset = Deadline { at: Time::NEVER, node, planned: None, waker: None };
        shared.timers.borrow_mut().live.insert(id, unset);
        SimTimer { shared, id }
    }
}

impl Timer for SimTimer {
    fn set(&self, at: Time) {
        if let Some(deadline) = self.shared.timers.borrow_mut().live.get_mut(&self.id) {
            deadline.at = at;
            self.shared.plan(self.id, deadline);
        }
    }

    fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.shared.timers.borrow_mut();
        let Some(deadline) = timers.live.get_mut(&self.id) else { return Poll::Pending };
        if deadline.at <= self.shared.last_tick() {
            return Poll::Ready(());
        }
        deadline.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.shared.timers.borrow_mut().live.remove(&self.id);
    }
}

impl Shared {
    /// Looks at a timer whose planned tick has come.
    pub(super) fn tick_timer(&self, id: u64) {
        let mut timers = self.timers.borrow_mut();
        let Some(deadline) = timers.live.get_mut(&id) else { return };
        if deadline.planned.is_some_and(|planned| planned <= self.now()) {
            deadline.planned = None;
        }
        if deadline.at > self.last_tick() {
            self.plan(id, deadline);
        } else if let Some(waker) = deadline.waker.take() {
            self.record(Event::Fired { timer: id });
            waker.wake();
        }
    }

    fn plan(&self, id: u64, deadline: &mut Deadline) {
        if deadline.at == Time::NEVER {
            return;
        }
        let tick = self.tick_at(deadline.at);
        if deadline.planned.is_none_or(|planned| tick < planned) {
            deadline.planned = Some(tick);
            self.due_at(tick, Due::Tick(id));
        }
    }
}
