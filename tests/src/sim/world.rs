//! The world: makes nodes, lets time pass, and tells what was left over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_env::{Address, Rng, Time};

use super::env::SimEnv;
use super::faults::Faults;
use super::node::{Death, Limits, Node};
use super::queue::Due;
use super::shared::Shared;
use super::tasks::Turn;
use super::trace::{Event, Trace};

/// How an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// As one would expect.
    Open,
    /// Connects are refused, whoever listens.
    Refused,
    /// Connects get no answer.
    Hole,
    /// Connects take this much longer.
    Slow(Duration),
    /// Connects fail at once with this error of the own kernel: no port left, no route.
    Fails(i32),
}

/// A deterministic world. Dropping it ends everything in it.
pub struct World {
    shared: Rc<Shared>,
}

impl World {
    /// An empty world: `seed` decides everything that is left open.
    pub fn new(seed: u64, faults: Faults) -> World {
        World { shared: Rc::new(Shared::new(seed, faults)) }
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// What may happen to connections.
    pub fn faults(&self) -> Faults {
        self.shared.faults
    }

    /// A new node.
    pub fn node(&self, name: &'static str, limits: Limits) -> SimEnv {
        let mut nodes = self.shared.nodes.borrow_mut();
        let id = u32::try_from(nodes.len()).expect("there are few nodes");
        let node = Rc::new(Node::new(id, name, limits, self.rng()));
        nodes.push(node.clone());
        SimEnv { shared: self.shared.clone(), node }
    }

    /// A generator for a scenario's own choices.
    pub fn rng(&self) -> Rng {
        Rng::new(self.shared.rng.borrow_mut().next_u64())
    }

    /// How connects to `address` fare from now on.
    pub fn set_path(&self, address: &Address, path: Path) {
        self.shared.net.borrow_mut().paths.insert(address.clone(), path);
    }

    /// Keeps the content of what is sent out of the trace: it is encrypted with keys that no seed
    /// reaches, and only its sizes and times come back.
    pub fn veil(&self) {
        self.shared.veiled.set(true);
    }

    /// Calls `plan` after `wait`, outside of any task.
    pub fn after(&self, wait: Duration, plan: impl FnOnce(&World) + 'static) {
        self.shared.due_at(self.shared.now() + wait, Due::Call(Box::new(plan)));
    }

    /// Ends a node with all its tasks, listeners and connections.
    pub fn kill(&self, env: &SimEnv, death: Death) {
        self.shared.record(Event::Died { node: env.node.id });
        env.node.death.set(Some(death));
        let left_over = self.shared.cut_off(&env.node, death);
        self.shared.close_doors(&env.node);
        let work = self.shared.tasks.remove_where(|node| node.id == env.node.id);
        drop((left_over, work));
    }

    /// Lets time pass until nothing more will happen, or for `limit`. Says whether it is quiet.
    ///
    /// # Panics
    /// When tasks keep each other busy without end.
    pub fn run(&self, limit: Duration) -> bool {
        self.run_until(limit, || false)
    }

    /// [`World::run`], and no further than until `done` says so.
    ///
    /// # Panics
    /// As [`World::run`] does.
    pub fn run_until(&self, limit: Duration, done: impl Fn() -> bool) -> bool {
        let end = self.shared.now() + limit;
        for _ in 0..STEPS_MAX {
            if done() {
                return true;
            }
            self.shared.hand_buffers_round();
            if self.shared.tasks.ready_count() > 0 {
                match self.shared.below(8) {
                    // A pass over the completions between two tasks.
                    0 => self.pass(self.shared.now() + Duration::from_nanos(20_000)),
                    _ => self.turn(),
                }
                continue;
            }
            let next_at = self.shared.queue.borrow().next_at();
            match next_at {
                None => return true,
                Some(at) if at > end => return false,
                Some(at) => self.pass(at.max(self.shared.now())),
            }
        }
        panic!("{STEPS_MAX} steps and no end: tasks wake each other for nothing");
    }

    /// The time on the world's clock.
    pub fn now(&self) -> Time {
        self.shared.now()
    }

    /// Everything that is still alive though it should not be, a line for each.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (id, node) in self.shared.tasks.alive() {
            leaks.push(format!("{node}: task {id} never ended"));
        }
        let nodes = self.shared.nodes.borrow();
        for (id, socket) in &self.shared.net.borrow().sockets {
            let (name, local, remote) = (socket.node.name, &socket.local, &socket.remote);
            let state = match (&socket.parked, socket.released) {
                (Some(_), _) => "parked",
                (None, true) => "closed, not delivered",
                (None, false) => "open",
            };
            leaks.push(format!("{name}: socket {id}, {local} to {remote}, is {state}"));
        }
        for (id, socket) in &self.shared.net.borrow().datagrams {
            leaks.push(format!("{}: datagrams of socket {id} are open", socket.node.name));
        }
        for node in self.shared.timers.borrow().nodes() {
            leaks.push(format!("{}: a timer was not dropped", nodes[node as usize].name));
        }
        for node in nodes.iter() {
            if node.lent.get() != 0 {
                leaks.push(format!("{}: {} lent buffers are out", node.name, node.lent.get()));
            }
        }
        leaks
    }

    /// Runs until it is quiet, for `limit` at most.
    ///
    /// # Panics
    /// When anything is alive then, or when a task panicked.
    #[track_caller]
    pub fn finish(&self, limit: Duration) {
        let quiet = self.run(limit);
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "left over (quiet: {quiet}):\n  {}", leaks.join("\n  "));
        assert_eq!(self.panicked(), None, "a task panicked there");
    }

    /// The node of which a task panicked, if one did.
    pub fn panicked(&self) -> Option<&'static str> {
        let nodes = self.shared.nodes.borrow();
        nodes.iter().find(|node| node.panics.get() > 0).map(|node| node.name)
    }

    /// What happened so far.
    pub fn trace(&self) -> Trace {
        self.shared.trace.borrow().clone()
    }

    /// Moves the clock by up to `until` and lets everything happen that is due.
    fn pass(&self, until: Time) {
        self.shared.clock.set(until);
        loop {
            let due = self.shared.queue.borrow_mut().pop(until);
            let Some(due) = due else { break };
            self.happen(due);
        }
        if self.shared.faults.spurious_wakes && self.shared.below(64) == 0 {
            let rng = &mut self.shared.rng.borrow_mut();
            self.shared.tasks.wake_any(rng);
        }
    }

    fn happen(&self, due: Due) {
        let shared = &self.shared;
        match due {
            Due::Knock { from, to } => shared.knock(from, &to),
            Due::Answer { socket, refused } => shared.answer(socket, refused),
            Due::Pump(socket) => shared.pump(socket),
            Due::Arrive(socket) => shared.arrive(socket),
            Due::Unpark(socket) => shared.unpark(socket),
            Due::Linger(socket) => shared.end_linger(socket),
            Due::Tick(timer) => shared.tick_timer(timer),
            Due::Call(plan) => plan(self),
        }
    }

    /// Runs one of the tasks that could run.
    fn turn(&self) {
        let taken = self.shared.tasks.take(&mut self.shared.rng.borrow_mut());
        let Some(Turn { id, node, mut work, waker }) = taken else { return };
        self.shared.record(Event::Polled { task: id });
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => drop(self.shared.tasks.put_back(id, work)),
            Ok(Poll::Ready(())) => {
                self.shared.record(Event::Done { task: id });
                self.shared.tasks.remove(id);
            }
            Err(_) => {
                self.shared.record(Event::Panicked { task: id });
                node.panics.set(node.panics.get() + 1);
                self.shared.tasks.remove(id);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks, plans and parked streams hold the world that holds them.
        let due = self.shared.queue.borrow_mut().take();
        drop(due);
        let work = self.shared.tasks.remove_where(|_| true);
        drop(work);
        let listeners = std::mem::take(&mut self.shared.net.borrow_mut().listeners);
        drop(listeners);
        let doors = std::mem::take(&mut self.shared.net.borrow_mut().doors);
        drop(doors);
        let sockets = std::mem::take(&mut self.shared.net.borrow_mut().sockets);
        drop(sockets);
    }
}

/// Far more than any scenario needs.
const STEPS_MAX: u32 = 20_000_000;
