//! Shared queues: items that filters hand to each other, over all shards.
//!
//! As in Envoy, a queue belongs to a `vm_id` and is found by name, and the root context that
//! registered it last hears of items. No lock: a queue's state is immutable and behind an atomic
//! pointer, so that taking and putting replace the pointer if nobody did meanwhile. Both ends are
//! lists, so that each costs one small allocation: items are put in front of the one, and the
//! other is made of it, turned round, whenever it is empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::contexts::ContextId;
use crate::shared::{Space, WriteError};

/// Has a shard look at its queues; called by others' threads.
pub type Nudge = dyn Fn() + Send + Sync;

/// Every queue of the process, and how shards are told.
#[derive(Default)]
pub(crate) struct Queues {
    /// A queue's token is its place, plus one.
    all: ArcSwap<Vec<Arc<Queue>>>,
    bells: Box<[Bell]>,
    listeners: AtomicUsize,
}

/// How a shard is told that there is something for it.
#[derive(Default)]
#[repr(align(128))]
struct Bell {
    rung: AtomicBool,
    nudge: ArcSwapOption<Box<Nudge>>,
}

/// One queue.
pub(crate) struct Queue {
    pub(crate) token: u32,
    vm_id: Arc<str>,
    name: Box<[u8]>,
    /// What its items are counted in.
    space: Arc<Space>,
    items: ArcSwap<Items>,
    /// The last hears of items.
    listeners: ArcSwap<Vec<Listener>>,
    /// Items that the listener was not told of.
    owed: AtomicUsize,
}

#[derive(Default)]
struct Items {
    count: usize,
    front: Option<Arc<Node>>,
    back: Option<Arc<Node>>,
}

struct Node {
    item: Arc<[u8]>,
    next: Option<Arc<Node>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Listener {
    shard: usize,
    number: usize,
}

/// A root context's place among those that hear of a queue's items; ends with it.
pub(crate) struct Registration {
    pub(crate) queue: Arc<Queue>,
    pub(crate) root: ContextId,
    /// `None` where only the queue was to be made.
    listener: Option<Listener>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // One after the other: a long list must not become a deep recursion.
        let mut next = self.next.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.next.take();
        }
    }
}

impl Queues {
    pub(crate) fn new(shards: usize) -> Queues {
        let bells = (0..shards).map(|_| Bell::default()).collect();
        Queues { all: ArcSwap::default(), bells, listeners: AtomicUsize::new(0) }
    }

    /// A number that no other listener has.
    pub(crate) fn next_listener(&self) -> usize {
        self.listeners.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the shard has a bell: trial starts of the control thread have none.
    pub(crate) fn has_bell(&self, shard: usize) -> bool {
        shard < self.bells.len()
    }

    /// How other threads can have this shard look.
    pub(crate) fn set_nudge(&self, shard: usize, nudge: Box<Nudge>) {
        if let Some(bell) = self.bells.get(shard) {
            bell.nudge.store(Some(Arc::new(nudge)));
        }
    }

    /// Whether this shard's bell was rung since it was last asked.
    pub(crate) fn take_rung(&self, shard: usize) -> bool {
        let bell = self.bells.get(shard);
        bell.is_some_and(|bell| {
            bell.rung.load(Ordering::Relaxed) && bell.rung.swap(false, Ordering::Acquire)
        })
    }

    /// Rings a shard's bell; `from` there, its own task has to be woken by other means.
    pub(crate) fn ring(&self, shard: usize, from: usize) {
        let Some(bell) = self.bells.get(shard) else { return };
        let was_rung = bell.rung.swap(true, Ordering::Release);
        if !was_rung
            && shard != from
            && let Some(nudge) = &*bell.nudge.load()
        {
            nudge();
        }
    }

    /// The queue of this token.
    pub(crate) fn find(&self, token: u32) -> Option<Arc<Queue>> {
        let index = (token as usize).checked_sub(1)?;
        self.all.load().get(index).map(Arc::clone)
    }

    /// The queue of this name.
    pub(crate) fn resolve(&self, vm_id: &[u8], name: &[u8]) -> Option<Arc<Queue>> {
        let all = self.all.load();
        let is = |queue: &&Arc<Queue>| queue.vm_id.as_bytes() == vm_id && *queue.name == *name;
        all.iter().find(is).map(Arc::clone)
    }

    /// The queue of this name, made if it is not there.
    ///
    /// # Errors
    /// When there are as many as the host keeps, or no room for the name.
    pub(crate) fn make(
        &self,
        vm_id: &Arc<str>,
        name: &[u8],
        space: &Arc<Space>,
        bytes_max: usize,
    ) -> Result<Arc<Queue>, WriteError> {
        let mut all = self.all.load();
        loop {
            if let Some(found) = self.resolve(vm_id.as_bytes(), name) {
                return Ok(found);
            }
            if all.len() >= QUEUES_MAX {
                return Err(WriteError::OverLimit);
            }
            space.reserve(name.len() + QUEUE_BYTES, bytes_max)?;
            let queue = Arc::new(Queue {
                token: all.len() as u32 + 1,
                vm_id: Arc::clone(vm_id),
                name: name.into(),
                space: Arc::clone(space),
                items: ArcSwap::default(),
                listeners: ArcSwap::default(),
                owed: AtomicUsize::new(0),
            });
            let next = all.iter().chain([&queue]).map(Arc::clone).collect();
            let seen = self.all.compare_and_swap(&*all, Arc::new(next));
            if Arc::ptr_eq(&seen, &all) {
                return Ok(queue);
            }
            space.release(name.len() + QUEUE_BYTES);
            all = seen;
        }
    }
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("count", &self.all.load().len()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Has this root context hear of items from now on, and of those that are there. `number` is
    /// its alone; `shard` is none where nothing is called.
    pub(crate) fn register(
        self: &Arc<Queue>,
        shard: Option<usize>,
        number: usize,
        root: ContextId,
    ) -> Registration {
        let listener = shard.map(|shard| Listener { shard, number });
        if let Some(listener) = listener {
            self.listeners.rcu(|all| {
                let others = all.iter().filter(|other| **other != listener);
                others.copied().chain([listener]).collect::<Vec<_>>()
            });
            self.owed.store(self.items.load().count, Ordering::Relaxed);
        }
        Registration { queue: Arc::clone(self), root, listener }
    }

    /// Puts an item behind the others; the shard that is to hear of it, if any is.
    ///
    /// # Errors
    /// When its `vm_id` would have more shared bytes than it may.
    pub(crate) fn put(&self, item: &[u8], bytes_max: usize) -> Result<Option<usize>, WriteError> {
        self.space.reserve(item.len() + ITEM_BYTES, bytes_max)?;
        let item: Arc<[u8]> = item.into();
        self.items.rcu(|items| Items {
            count: items.count + 1,
            front: items.front.clone(),
            back: Some(Arc::new(Node { item: Arc::clone(&item), next: items.back.clone() })),
        });
        self.owed.fetch_add(1, Ordering::Relaxed);
        Ok(self.listeners.load().last().map(|listener| listener.shard))
    }

    /// Takes the first item.
    pub(crate) fn take(&self) -> Option<Arc<[u8]>> {
        let mut items = self.items.load();
        loop {
            let front = items.front.clone().or_else(|| turned(items.back.as_ref()))?;
            let rest = Items {
                count: items.count - 1,
                front: front.next.clone(),
                back: items.front.as_ref().and(items.back.clone()),
            };
            let seen = self.items.compare_and_swap(&*items, Arc::new(rest));
            if Arc::ptr_eq(&seen, &items) {
                self.space.release(front.item.len() + ITEM_BYTES);
                return Some(Arc::clone(&front.item));
            }
            items = seen;
        }
    }

    fn is_empty(&self) -> bool {
        self.items.load().count == 0
    }
}

/// A list, turned round.
fn turned(list: Option<&Arc<Node>>) -> Option<Arc<Node>> {
    let (mut turned, mut next) = (None, list);
    while let Some(node) = next {
        turned = Some(Arc::new(Node { item: Arc::clone(&node.item), next: turned }));
        next = node.next.as_ref();
    }
    turned
}

impl Registration {
    /// Whether its root is to be told of one item more; asked once for each.
    pub(crate) fn take_owed(&self) -> bool {
        let queue = &self.queue;
        if self.listener.is_none() || queue.listeners.load().last() != self.listener.as_ref() {
            return false;
        }
        // Items that others took meanwhile are not told of.
        if queue.is_empty() {
            queue.owed.store(0, Ordering::Relaxed);
            return false;
        }
        let less = |owed: usize| owed.checked_sub(1);
        queue.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(listener) = self.listener {
            let rest = |all: &Arc<Vec<Listener>>| {
                all.iter().filter(|other| **other != listener).copied().collect::<Vec<_>>()
            };
            self.queue.listeners.rcu(rest);
        }
    }
}

/// Queues of a process: filters name few, and all their life.
const QUEUES_MAX: usize = 1_024;
/// What an item takes beside its bytes: a list's node, and its share of the state around.
const ITEM_BYTES: usize = 96;
/// What a queue takes beside its name and items.
const QUEUE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ITEM_BYTES, Queue, Queues};
    use crate::contexts::ContextId;
    use crate::shared::{SharedData, WriteError};

    fn queue(queues: &Queues, name: &[u8]) -> Arc<Queue> {
        let space = SharedData::new(7, 2).space(&"vm".into());
        queues.make(&"vm".into(), name, &space, 1 << 20).expect("there is room")
    }

    #[test]
    fn items_come_out_in_their_order() {
        let queues = Queues::new(2);
        let queue = queue(&queues, b"q");
        assert_eq!(queue.take(), None);
        for round in 0..3_u8 {
            for item in 0..5 {
                assert_eq!(queue.put(&[round, item], 1 << 20), Ok(None));
            }
            assert_eq!(queue.take().as_deref(), Some(&[round, 0][..]));
            assert_eq!(queue.put(b"last", 1 << 20), Ok(None));
            for item in 1..5 {
                assert_eq!(queue.take().as_deref(), Some(&[round, item][..]));
            }
            assert_eq!(queue.take().as_deref(), Some(&b"last"[..]));
            assert!(queue.take().is_none() && queue.is_empty());
        }
    }

    #[test]
    fn a_name_is_one_queue_and_the_last_listener_hears_of_items() {
        let queues = Queues::new(2);
        let queue = queue(&queues, b"q");
        assert!(queues.resolve(b"vm", b"q").is_some_and(|found| Arc::ptr_eq(&found, &queue)));
        assert!(queues.resolve(b"other", b"q").is_none() && queues.find(2).is_none());
        assert!(queues.find(queue.token).is_some() && queues.find(0).is_none());
        assert_eq!(queue.put(b"early", 1 << 20), Ok(None));
        let root = ContextId::from_guest(1);
        let first = queue.register(Some(0), 1, root);
        assert!(first.take_owed() && !first.take_owed());
        let second = queue.register(Some(1), 2, root);
        assert_eq!(queue.put(b"late", 1 << 20), Ok(Some(1)));
        assert!(!first.take_owed());
        // Both that are there, and no more.
        assert!(second.take_owed() && second.take_owed() && !second.take_owed());
        drop(second);
        assert_eq!(queue.put(b"later", 1 << 20), Ok(Some(0)));
        assert!(first.take_owed());
        let trial = queue.register(None, 3, root);
        assert!(!trial.take_owed() && queue.put(b"", 1 << 20) == Ok(Some(0)));
        while queue.take().is_some() {}
        assert!(!first.take_owed(), "nothing is left to be told of");
    }

    #[test]
    fn bells_nudge_other_shards_once() {
        let (queues, count) = (Queues::new(2), Arc::new(()));
        let held = Arc::clone(&count);
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tell = Arc::clone(&told);
        queues.set_nudge(
            1,
            Box::new(move || {
                let _ = &held;
                tell.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }),
        );
        queues.ring(1, 0);
        queues.ring(1, 0);
        queues.ring(0, 0);
        queues.ring(9, 0);
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(queues.take_rung(1) && !queues.take_rung(1) && queues.take_rung(0));
    }

    #[test]
    fn items_have_a_limit_and_long_queues_end_without_a_deep_stack() {
        let space = SharedData::new(7, 2).space(&"vm".into());
        let queues = Queues::new(2);
        let bytes_max = 100_000 * (ITEM_BYTES + 1) + 512;
        let queue = queues.make(&"vm".into(), b"q", &space, bytes_max).expect("there is room");
        let count = (0..200_000).take_while(|_| queue.put(b"x", bytes_max).is_ok()).count();
        assert!((100_000..100_010).contains(&count), "{count}");
        assert_eq!(queue.put(b"x", bytes_max), Err(WriteError::OverLimit));
        assert!(queue.take().is_some() && queue.put(b"x", bytes_max).is_ok());
        drop((queue, queues));
    }

    #[test]
    fn nothing_is_lost_or_doubled_between_threads() {
        let queues = Queues::new(2);
        let queue = queue(&queues, b"q");
        let taken = std::thread::scope(|scope| {
            for thread in 0..3_u8 {
                let queue = &queue;
                scope.spawn(move || {
                    for item in 0..500_u16 {
                        let item = [&[thread][..], &item.to_le_bytes()].concat();
                        queue.put(&item, 1 << 20).expect("there is room");
                    }
                });
            }
            let takers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut taken = Vec::new();
                    let mut misses = 0;
                    while misses < 10_000 && taken.len() < 1_500 {
                        match queue.take() {
                            Some(item) => taken.push(item.to_vec()),
                            None => {
                                misses += 1;
                                std::thread::yield_now();
                            }
                        }
                    }
                    taken
                })
            });
            takers.map(|taker| taker.join().expect("it ends")).concat()
        });
        let mut all: Vec<Vec<u8>> = taken;
        all.extend(std::iter::from_fn(|| queue.take().map(|item| item.to_vec())));
        all.sort();
        let before = all.len();
        all.dedup();
        assert_eq!((before, all.len()), (1_500, 1_500));
    }
}
