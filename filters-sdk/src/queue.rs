//! Queues that all shards fill and empty: what one request leaves, the filter works off beside.

use core::marker::PhantomData;

use crate::shared::{NotShared, SharedValue};
use crate::sys;

/// Which queue, as [`Filter::on_queue`](crate::Filter::on_queue) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId(pub(crate) u32);

/// A queue of values of type `T`.
///
/// Filters with the same `vm_id` share names. Who fills it only needs [`find`](Self::find); the
/// filter that is to hear of values, in [`Filter::on_queue`](crate::Filter::on_queue), makes it by
/// [`register`](Self::register), mostly in `new`. Every shard does; the last one hears of values.
///
/// ```
/// # extern crate penstock_filters_sdk as penstock;
/// # use penstock::Queue;
/// let jobs = Queue::<String>::register("jobs").unwrap();
/// jobs.push(&"sweep".to_owned()).unwrap();
/// assert_eq!(jobs.pop().as_deref(), Some("sweep"));
/// assert_eq!(jobs.pop(), None);
/// ```
#[derive(Debug)]
pub struct Queue<T> {
    id: QueueId,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Queue<T> {}

impl<T: SharedValue> Queue<T> {
    /// The queue of this name, made if it is not there, with this filter to hear of its values.
    pub fn register(name: &str) -> Result<Self, NotShared> {
        let id = sys::register_queue(name).map_err(|_| NotShared::Refused)?;
        Ok(Self { id: QueueId(id), value: PhantomData })
    }

    /// The queue of this name of the filter's own `vm_id`, if somebody made it.
    pub fn find(name: &str) -> Option<Self> {
        Self::find_of("", name)
    }

    /// The queue of this name of another `vm_id`.
    pub fn find_of(vm_id: &str, name: &str) -> Option<Self> {
        let id = sys::resolve_queue(vm_id, name).ok()?;
        Some(Self { id: QueueId(id), value: PhantomData })
    }

    /// Which queue it is.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Puts a value behind the others. Refused where shared data has no more room.
    pub fn push(&self, value: &T) -> Result<(), NotShared> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        sys::push_queue(self.id.0, &bytes).map_err(|_| NotShared::Refused)
    }

    /// Takes the first value; `None` where there is none. What is none of type `T` is passed over.
    pub fn pop(&self) -> Option<T> {
        loop {
            let bytes = sys::pop_queue(self.id.0).ok()?;
            if let Some(value) = T::decode(bytes) {
                return Some(value);
            }
        }
    }
}
