//! The executor: any woken task may be the next one; the seed says which.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Wake, Waker};

use penstock_env::Rng;

use super::node::Node;

/// A task's work.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of all nodes.
pub(super) struct Tasks {
    live: RefCell<BTreeMap<u64, Task>>,
    ready: RefCell<Vec<u64>>,
    woken: Receiver<u64>,
    wake: Sender<u64>,
}

/// A task that is about to be polled, outside of any borrow.
pub(super) struct Turn {
    pub(super) id: u64,
    pub(super) node: Rc<Node>,
    pub(super) work: Work,
    pub(super) waker: Waker,
}

struct Task {
    node: Rc<Node>,
    /// Absent while it is being polled.
    work: Option<Work>,
    bell: Arc<Bell>,
}

/// What a task's waker rings. A channel and not a shared list, since wakers must be `Send`.
struct Bell {
    id: u64,
    rung: AtomicBool,
    wake: Sender<u64>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            // A world that is gone needs no waking.
            let _ = self.wake.send(self.id);
        }
    }
}

impl Tasks {
    pub(super) fn new() -> Tasks {
        let (wake, woken) = channel();
        Tasks { live: RefCell::default(), ready: RefCell::default(), woken, wake }
    }

    pub(super) fn spawn(&self, id: u64, node: Rc<Node>, work: Work) {
        let bell = Arc::new(Bell { id, rung: AtomicBool::new(false), wake: self.wake.clone() });
        self.live.borrow_mut().insert(id, Task { node, work: Some(work), bell: bell.clone() });
        bell.wake();
    }

    /// How many tasks could run now.
    pub(super) fn ready_count(&self) -> usize {
        let mut ready = self.ready.borrow_mut();
        ready.extend(self.woken.try_iter());
        ready.len()
    }

    /// Takes any task that could run; `None` when it was gone already.
    pub(super) fn take(&self, rng: &mut Rng) -> Option<Turn> {
        let mut ready = self.ready.borrow_mut();
        let at = rng.below(u32::try_from(ready.len()).unwrap_or(u32::MAX)) as usize;
        let id = ready.swap_remove(at);
        let mut live = self.live.borrow_mut();
        let task = live.get_mut(&id)?;
        task.bell.rung.store(false, Ordering::Relaxed);
        let work = task.work.take()?;
        Some(Turn { id, node: task.node.clone(), work, waker: task.bell.clone().into() })
    }

    /// Gives back a task that has to wait; returns its work when the task is gone meanwhile, for
    /// the caller to drop.
    pub(super) fn put_back(&self, id: u64, work: Work) -> Option<Work> {
        match self.live.borrow_mut().get_mut(&id) {
            Some(task) => {
                task.work = Some(work);
                None
            }
            None => Some(work),
        }
    }

    pub(super) fn remove(&self, id: u64) {
        let gone = self.live.borrow_mut().remove(&id);
        drop(gone);
    }

    /// Takes out the work of all tasks that `pick` picks, for the caller to drop.
    pub(super) fn remove_where(&self, pick: impl Fn(&Node) -> bool) -> Vec<Work> {
        let mut live = self.live.borrow_mut();
        let ids: Vec<u64> =
            live.iter().filter(|(_, task)| pick(&task.node)).map(|(&id, _)| id).collect();
        ids.iter().filter_map(|id| live.remove(id)?.work).collect()
    }

    /// Wakes some live task for no reason, as a real executor may.
    pub(super) fn wake_any(&self, rng: &mut Rng) {
        let live = self.live.borrow();
        let Ok(count @ 1..) = u32::try_from(live.len()) else { return };
        if let Some(task) = live.values().nth(rng.below(count) as usize) {
            task.bell.clone().wake();
        }
    }

    /// The ids and the nodes of the tasks that are not done.
    pub(super) fn alive(&self) -> Vec<(u64, &'static str)> {
        self.live.borrow().iter().map(|(&id, task)| (id, task.node.name)).collect()
    }
}
