//! What all handles of a world hang on, and the small questions that everybody asks it.
//!
//! Each part has its own cell, and no part calls out (a task, a closure, a drop of either) while
//! it is borrowed: whoever takes such a thing out drops or calls it after the borrow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Rng, Time};

use super::faults::Faults;
use super::net::Net;
use super::node::Node;
use super::queue::{Due, Queue};
use super::tasks::Tasks;
use super::timers::Timers;
use super::trace::{Event, Trace};

/// The world's inside.
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) faults: Faults,
    pub(super) clock: Cell<Time>,
    /// The tick of every timer: at most 10 ms (`Timer`'s promise).
    pub(super) tick: Duration,
    pub(super) rng: RefCell<Rng>,
    pub(super) ids: Cell<u64>,
    pub(super) trace: RefCell<Trace>,
    /// What bytes are is not in the trace.
    pub(super) veiled: Cell<bool>,
    pub(super) queue: RefCell<Queue>,
    pub(super) nodes: RefCell<Vec<Rc<Node>>>,
    pub(super) tasks: Tasks,
    pub(super) timers: RefCell<Timers>,
    pub(super) net: RefCell<Net>,
}

impl Shared {
    pub(super) fn new(seed: u64, faults: Faults) -> Shared {
        let mut rng = Rng::new(seed);
        let tick = Duration::from_millis([1, 4, 10][rng.below(3) as usize]);
        // Any origin will do but zero: who subtracts from it shall not see a round number.
        let start = Time::from_ns(1_000_000_000 + rng.next_u64() % 1_000_000_000);
        Shared {
            seed,
            faults,
            clock: Cell::new(start),
            tick,
            rng: RefCell::new(rng),
            ids: Cell::new(0),
            trace: RefCell::default(),
            veiled: Cell::new(false),
            queue: RefCell::default(),
            nodes: RefCell::default(),
            tasks: Tasks::new(),
            timers: RefCell::default(),
            net: RefCell::new(Net::new()),
        }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.get()
    }

    pub(super) fn record(&self, event: Event) {
        self.trace.borrow_mut().record(self.now(), event);
    }

    /// The next id of anything.
    pub(super) fn id(&self) -> u64 {
        self.ids.replace(self.ids.get() + 1)
    }

    pub(super) fn below(&self, bound: u32) -> u32 {
        self.rng.borrow_mut().below(bound)
    }

    pub(super) fn due_at(&self, at: Time, due: Due) {
        self.queue.borrow_mut().push(at, due);
    }

    /// `due` after something between nothing and twice `about`.
    pub(super) fn due_in(&self, about: Duration, due: Due) {
        let wait = about.mul_f64(2.0 * self.rng.borrow_mut().unit());
        self.due_at(self.now() + wait, due);
    }

    /// The last tick of the wheel.
    pub(super) fn last_tick(&self) -> Time {
        let tick = self.tick.as_nanos() as u64;
        Time::from_ns(self.now().as_ns() / tick * tick)
    }

    /// The first tick of the wheel at or after `at`, and not before the next one.
    pub(super) fn tick_at(&self, at: Time) -> Time {
        let tick = self.tick.as_nanos() as u64;
        Time::from_ns(at.as_ns().div_ceil(tick).saturating_mul(tick))
            .max(self.last_tick() + self.tick)
    }
}
