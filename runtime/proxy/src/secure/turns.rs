//! Turns at the heavy steps of handshakes, so that a burst of them does not stop a shard.
//!
//! A step with a signature takes some 100 us, a request 15. Only so many steps run before the
//! executor has come round again, in which every connection with something to do had its turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Steps between two rounds of the executor: half a millisecond, about.
const STEPS_MAX: u32 = 4;

/// The turns of one shard.
pub(crate) struct Turns {
    free: Cell<u32>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next_id: Cell<u64>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { free: Cell::new(STEPS_MAX), waiting: RefCell::default(), next_id: Cell::new(0) }
    }
}

impl Turns {
    /// Runs `step` when it has its turn.
    pub(crate) async fn take<T>(&self, step: impl FnOnce() -> T) -> T {
        self.wait().await;
        let _turn = Turn { turns: self };
        let result = step();
        let mut came_round = false;
        poll_fn(|context| {
            if std::mem::replace(&mut came_round, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        result
    }

    async fn wait(&self) {
        let mut place = Place { turns: self, id: None };
        poll_fn(|context| {
            if self.free.get() > 0 {
                self.free.set(self.free.get() - 1);
                place.leave();
                return Poll::Ready(());
            }
            place.stand(context.waker());
            Poll::Pending
        })
        .await;
    }

    fn wake_one(&self) {
        let first = self.waiting.borrow_mut().pop_front();
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }
}

/// A turn that is taken.
struct Turn<'a> {
    turns: &'a Turns,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.free.set(self.turns.free.get() + 1);
        self.turns.wake_one();
    }
}

/// A place among those who wait. Whoever goes without having had a turn passes the call on.
struct Place<'a> {
    turns: &'a Turns,
    id: Option<u64>,
}

impl Place<'_> {
    fn stand(&mut self, waker: &Waker) {
        let id = self.id.unwrap_or_else(|| {
            let id = self.turns.next_id.get();
            self.turns.next_id.set(id + 1);
            id
        });
        self.id = Some(id);
        let mut waiting = self.turns.waiting.borrow_mut();
        match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push_back((id, waker.clone())),
        }
    }

    /// Whether it was still waiting to be called.
    fn leave(&mut self) -> bool {
        let Some(id) = self.id.take() else { return true };
        let mut waiting = self.turns.waiting.borrow_mut();
        let at = waiting.iter().position(|(other, _)| *other == id);
        at.and_then(|at| waiting.remove(at)).is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.id.is_some() && !self.leave() && self.turns.free.get() > 0 {
            self.turns.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::{STEPS_MAX, Turns};

    #[test]
    fn so_many_steps_run_in_a_round_and_nobody_is_forgotten() {
        let (turns, steps) = (Turns::default(), Cell::new(0));
        let mut context = Context::from_waker(Waker::noop());
        let mut tasks: Vec<_> =
            (0..10).map(|_| Box::pin(turns.take(|| steps.set(steps.get() + 1)))).collect();
        let mut rounds = Vec::new();
        while !tasks.is_empty() {
            // One goes away while it waits.
            if rounds.len() == 1 {
                tasks.pop();
            }
            let before = steps.get();
            tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
            rounds.push(steps.get() - before);
        }
        assert_eq!(steps.get(), 9);
        // The first of a round gives its turn back, and the others of the round may take it.
        assert!(rounds.iter().all(|&count| count <= 2 * STEPS_MAX), "{rounds:?}");
        assert_eq!(turns.free.get(), STEPS_MAX);
        assert!(turns.waiting.borrow().is_empty());
    }

    #[test]
    fn a_call_to_one_that_went_away_is_passed_on() {
        let turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        turns.free.set(0);
        let mut last = pin!(turns.wait());
        {
            let mut first = pin!(turns.wait());
            assert!(first.as_mut().poll(&mut context).is_pending());
            assert!(last.as_mut().poll(&mut context).is_pending());
            turns.free.set(1);
            turns.wake_one();
        }
        assert!(turns.waiting.borrow().is_empty(), "the second was called in its place");
        assert!(last.as_mut().poll(&mut context).is_ready());
    }
}
