//! The futures of tasks, in memory that is kept for the next of the same size.
//!
//! Each stream of HTTP/2 is a task, and its future some 4 KiB. The heap has blocks of up to 1 KiB
//! at hand; a larger one it cuts from what is free and merges into it again, for each of them. So
//! the blocks of tasks that ended are kept: the last one in is the first one out, and still cached.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::ahead::TaskMemory;

/// Below, the heap is as quick (glibc's cache of a thread ends at 1,032 bytes).
const KEPT_BYTES_MIN: usize = 1_024;
/// Blocks kept of one size: what a burst of streams leaves, not what a day's highest peak did.
const KEPT_MAX: usize = 64;

/// A shard's memory for futures.
#[derive(Default)]
pub(crate) struct Blocks {
    // A handful: one for each kind of task.
    shelves: RefCell<Vec<Shelf>>,
}

/// Free blocks of one layout.
struct Shelf {
    layout: Layout,
    blocks: Vec<NonNull<u8>>,
}

/// A future at its place, which it keeps until it is dropped.
pub(crate) struct Task<F> {
    place: NonNull<F>,
    blocks: Rc<Blocks>,
    owns: PhantomData<F>,
}

impl Blocks {
    /// Gives `future` a place.
    pub(crate) fn place<F: Future>(self: &Rc<Self>, future: F) -> Task<F> {
        let place = self.take(layout_of::<F>()).cast::<F>();
        // SAFETY: the block has the layout of an `F`, and nobody else has it.
        unsafe { place.write(future) };
        Task { place, blocks: Rc::clone(self), owns: PhantomData }
    }

    fn take(&self, layout: Layout) -> NonNull<u8> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.iter_mut().find(|shelf| shelf.layout == layout);
        if let Some(block) = shelf.and_then(|shelf| shelf.blocks.pop()) {
            return block;
        }
        // SAFETY: `layout_of` makes none of no bytes.
        let block = unsafe { alloc(layout) };
        NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
    }

    fn give_back(&self, layout: Layout, block: NonNull<u8>) {
        if layout.size() >= KEPT_BYTES_MIN {
            let mut shelves = self.shelves.borrow_mut();
            let known = shelves.iter().position(|shelf| shelf.layout == layout);
            let index = known.unwrap_or_else(|| {
                shelves.push(Shelf { layout, blocks: Vec::new() });
                shelves.len() - 1
            });
            let blocks = &mut shelves[index].blocks;
            if blocks.len() < KEPT_MAX {
                return blocks.push(block);
            }
        }
        // SAFETY: it came from `take` with this layout, and its taker is done with it.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for Shelf { layout, blocks } in self.shelves.get_mut().drain(..) {
            for block in blocks {
                // SAFETY: as in `give_back`; what lies on a shelf nobody has.
                unsafe { dealloc(block.as_ptr(), layout) };
            }
        }
    }
}

impl<F> Task<F> {
    /// Where the future is.
    pub(crate) fn memory(&self) -> TaskMemory {
        TaskMemory::of(self.place.as_ptr())
    }
}

// The future never moves, whatever its handle does.
impl<F> Unpin for Task<F> {}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `place` holds a future until `self` is dropped, and only `self` reaches it.
        let future = unsafe { self.get_mut().place.as_mut() };
        // SAFETY: it stays at its place until it is dropped there.
        unsafe { Pin::new_unchecked(future) }.poll(context)
    }
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        // Also when the future's own drop panics.
        struct Back<'a>(&'a Blocks, Layout, NonNull<u8>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.give_back(self.1, self.2);
            }
        }
        let _back = Back(&self.blocks, layout_of::<F>(), self.place.cast());
        // SAFETY: it holds a future, which nobody uses after this.
        unsafe { self.place.drop_in_place() };
    }
}

/// The layout of an `F`, a byte at least.
fn layout_of<F>() -> Layout {
    let layout = Layout::new::<F>();
    if layout.size() == 0 { Layout::new::<u8>() } else { layout }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use super::{Blocks, KEPT_MAX};

    fn kept(blocks: &Blocks) -> usize {
        blocks.shelves.borrow().iter().map(|shelf| shelf.blocks.len()).sum()
    }

    #[test]
    fn the_next_task_of_a_size_gets_the_place_of_the_last_that_ended() {
        let blocks = Rc::new(Blocks::default());
        let future = |room: [u8; 4_096]| async move { room.len() };
        let first = blocks.place(future([1; 4_096]));
        let place = first.place;
        drop(first);
        let mut second = blocks.place(future([2; 4_096]));
        assert_eq!((second.place, kept(&blocks)), (place, 0));
        let done = Pin::new(&mut second).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(done, Poll::Ready(4_096));
    }

    #[test]
    fn small_ones_and_more_than_a_burst_go_back_to_the_heap() {
        let blocks = Rc::new(Blocks::default());
        drop(blocks.place(pending::<()>()));
        drop(blocks.place(async {}));
        assert_eq!(kept(&blocks), 0);
        let large = |room: [u8; 2_048]| async move { room.len() };
        let tasks: Vec<_> = (0..KEPT_MAX + 3).map(|_| blocks.place(large([0; 2_048]))).collect();
        drop(tasks);
        assert_eq!(kept(&blocks), KEPT_MAX);
    }

    #[test]
    fn what_panics_while_it_is_dropped_leaves_its_place() {
        struct Panics([u8; 2_048]);
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("{} bytes", self.0.len());
            }
        }
        let blocks = Rc::new(Blocks::default());
        let panics = Panics([0; 2_048]);
        let task = blocks.place(async move { drop(panics) });
        assert!(catch_unwind(AssertUnwindSafe(|| drop(task))).is_err());
        assert_eq!(kept(&blocks), 1);
    }
}
