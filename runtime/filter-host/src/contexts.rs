//! The contexts of one instance: a table whose index is part of the id that the guest sees.

use std::collections::VecDeque;
use std::task::Waker;

use penstock_env::Time;

use crate::session::{Callout, LocalResponse};

/// A context's id, as the guest sees it: never 0, and not used again for 2,047 lives of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContextId(u32);

impl ContextId {
    /// No context: what calls outside any have.
    pub(crate) const NONE: ContextId = ContextId(0);

    pub(crate) fn from_guest(id: u32) -> ContextId {
        ContextId(id)
    }

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }
}

/// What a context is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A plugin configuration: index into `FilterSettings::plugins`.
    Root {
        /// The plugin's index.
        plugin: u32,
    },
    /// One exchange, or one raw connection.
    Stream {
        /// Its root context.
        root: ContextId,
        /// It is a connection.
        raw: bool,
    },
}

/// What the host keeps of a context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) kind: Kind,
    /// The guest wants the request to go on; of a connection, what comes from downstream.
    pub(crate) resume_request: bool,
    /// The guest wants the response to go on; of a connection, what comes from upstream.
    pub(crate) resume_response: bool,
    /// The guest wants the stream cut.
    pub(crate) close: bool,
    /// The guest answered the stream itself; it can't a second time.
    pub(crate) answered: bool,
    /// Where the end of the context's life stands.
    pub(crate) ending: Ending,
    /// It has made calls.
    pub(crate) has_calls: bool,
    /// What most contexts never have.
    pub(crate) mail: Option<Box<Mail>>,
}

/// Where the end of a context's life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is in use.
    No,
    /// It is over: what it calls from now on is its root's, for nobody waits for it here.
    Begun,
    /// `proxy_on_done` answered false: it waits for `proxy_done`, so long.
    Waiting {
        /// When its end comes by itself.
        until: Time,
    },
    /// `proxy_done` came: its log and delete callbacks are due.
    Due,
}

/// Things for the stream's owner to pick up.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) waker: Option<Waker>,
    pub(crate) callouts: VecDeque<Callout>,
    pub(crate) local_response: Option<Box<LocalResponse>>,
}

impl Context {
    fn new(kind: Kind) -> Context {
        Context {
            kind,
            resume_request: false,
            resume_response: false,
            close: false,
            answered: false,
            ending: Ending::No,
            has_calls: false,
            mail: None,
        }
    }

    pub(crate) fn mail(&mut self) -> &mut Mail {
        self.mail.get_or_insert_default()
    }

    /// Wakes the task that waits for something to happen to this stream.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.mail.as_mut().and_then(|mail| mail.waker.take()) {
            waker.wake();
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

#[derive(Debug)]
struct Slot {
    life: u32,
    context: Option<Context>,
}

impl Contexts {
    /// A new context; `None` when there are as many as the table holds.
    #[inline]
    pub(crate) fn insert(&mut self, kind: Kind) -> Option<ContextId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < INDEX_MASK as usize => {
                self.slots.push(Slot { life: 0, context: None });
                // Index 0 is never given, so that no id is 0.
                self.slots.len() as u32
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize - 1];
        slot.context = Some(Context::new(kind));
        self.count += 1;
        Some(ContextId(slot.life << INDEX_BITS | index))
    }

    #[inline]
    pub(crate) fn find(&mut self, id: ContextId) -> Option<&mut Context> {
        let slot = self.slots.get_mut(id.index().checked_sub(1)?)?;
        if slot.life != id.0 >> INDEX_BITS {
            return None;
        }
        slot.context.as_mut()
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: ContextId) {
        let Some(slot) = id.index().checked_sub(1).and_then(|index| self.slots.get_mut(index))
        else {
            return;
        };
        if slot.life == id.0 >> INDEX_BITS && slot.context.take().is_some() {
            slot.life = (slot.life + 1) & LIFE_MASK;
            self.free.push(id.index() as u32);
            self.count -= 1;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Every context with its id.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ContextId, &mut Context)> {
        self.slots.iter_mut().zip(1_u32..).filter_map(|(slot, index)| {
            let id = ContextId(slot.life << INDEX_BITS | index);
            slot.context.as_mut().map(|context| (id, context))
        })
    }
}

/// A million contexts per instance.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Ids stay below 2^31: they are positive in languages that read them signed.
const LIFE_MASK: u32 = (1 << (31 - INDEX_BITS)) - 1;

#[cfg(test)]
mod tests {
    use super::{ContextId, Contexts, Kind};

    #[test]
    fn an_id_dies_with_its_context() {
        let mut contexts = Contexts::default();
        let kind = Kind::Root { plugin: 0 };
        let first = contexts.insert(kind).expect("an empty table has room");
        assert_ne!(first, ContextId::NONE);
        contexts.remove(first);
        contexts.remove(first);
        let second = contexts.insert(kind).expect("there is a free slot");
        assert_ne!(first, second);
        assert!(contexts.find(first).is_none() && contexts.find(second).is_some());
        for lie in [0, 2, u32::MAX, 1 << 31] {
            assert!(contexts.find(ContextId::from_guest(lie)).is_none());
            contexts.remove(ContextId::from_guest(lie));
        }
        assert_eq!(contexts.len(), 1);
        assert_eq!(contexts.iter_mut().map(|(id, _)| id).collect::<Vec<_>>(), [second]);
    }
}
