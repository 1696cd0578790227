//! Tells tasks that wait beside their work that the worker has changed: it drains, or serves
//! something else.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::task::Waker;

/// What a task listens to. Dropping it is all it takes to leave.
#[derive(Default)]
pub(crate) struct Bell {
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes `waker` from now on.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Wakes whoever listens.
    pub(crate) fn ring(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The bells of a worker.
#[derive(Default)]
pub(crate) struct Bells {
    all: RefCell<Vec<Weak<Bell>>>,
}

impl Bells {
    /// One more.
    pub(crate) fn add(&self) -> Rc<Bell> {
        let (mut all, bell) = (self.all.borrow_mut(), Rc::new(Bell::default()));
        // Those that are gone make room before the list grows: it stays within twice its use.
        if all.len() == all.capacity() {
            all.retain(|bell| bell.strong_count() > 0);
        }
        all.push(Rc::downgrade(&bell));
        bell
    }

    /// Rings them all.
    pub(crate) fn ring(&self) {
        for bell in self.all.borrow().iter().filter_map(Weak::upgrade) {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bells;

    #[test]
    fn bells_that_are_gone_take_no_room() {
        let bells = Bells::default();
        let kept = bells.add();
        for _ in 0..10_000 {
            drop(bells.add());
        }
        assert!(bells.all.borrow().len() < 20);
        bells.ring();
        drop(kept);
    }
}
