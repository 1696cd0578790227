//! The shard's receive buffers: one ring that the kernel takes from and chunks go back to.
//!
//! All sockets of a shard share them, so an idle connection holds none. The kernel takes them in
//! turn, so that each that it is offered is soon in memory: only as many are as there has been
//! use for at once, and a little more. Bytes that nobody reads
//! shall not hold them either: once few are free, what arrives is copied out at once, and the
//! socket's own limit bounds what it may keep. Should they run out all the same, the kernel ends
//! the receive (ENOBUFS) and the pump arms it again once some came back.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use penstock_env::Chunk;

/// Bytes of one buffer.
pub const BUFFER_BYTES: usize = 4096;

/// The one buffer group of a shard's ring.
pub const GROUP: u16 = 0;

const PAGE_BYTES: usize = 4096;

/// So many times what the buffers have may be copied out of them before it is much: 64 MiB of the
/// 1,024 that a shard has by default.
const CROWD: usize = 16;

/// Buffers that are offered at first: 512 KiB.
const OFFERED_FIRST: u16 = 128;

/// The buffers and the ring of those that the kernel may take.
pub struct Buffers {
    ring: NonNull<BufRingEntry>,
    /// The allocation, in which the buffers begin at the first page.
    memory: NonNull<u8>,
    count: u16,
    /// So many have ever been given to the kernel, the first ones.
    offered: Cell<u16>,
    tail: Cell<u16>,
    lent: Cell<u16>,
    /// Bytes that were copied out of them, and are still there.
    copied: Cell<usize>,
}

impl Buffers {
    /// Allocates `count` buffers, some of them offered.
    ///
    /// # Panics
    /// When `count` is not a power of two up to 32,768 (the kernel's own limits).
    pub fn new(count: u16) -> Buffers {
        assert!(count.is_power_of_two() && count <= 32_768, "the kernel masks ring indexes");
        let buffers = Buffers {
            ring: allocate(Self::ring_layout(count)).cast(),
            memory: allocate(Self::memory_layout(count)),
            count,
            offered: Cell::new(0),
            tail: Cell::new(0),
            lent: Cell::new(0),
            copied: Cell::new(0),
        };
        buffers.offer(count.min(OFFERED_FIRST));
        buffers
    }

    /// Gives the kernel the first `count` buffers, or what is missing to that.
    fn offer(&self, count: u16) {
        for id in self.offered.get()..count {
            self.place(id);
        }
        self.offered.set(count);
    }

    /// Doubles what the kernel has been offered. False where that is all already.
    pub(crate) fn offer_more(&self) -> bool {
        let offered = self.offered.get();
        let more = offered < self.count;
        if more {
            self.offer((offered * 2).min(self.count));
        }
        more
    }

    /// Tells the kernel of the ring.
    ///
    /// # Errors
    /// What the kernel said: it knows no buffer rings (before 5.19), or memlock is too low.
    pub fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        // SAFETY: the ring is page-aligned, has `count` entries, and outlives the io_uring: the
        // shard drops its io_uring first.
        unsafe {
            submitter.register_buf_ring_with_flags(self.ring.as_ptr() as u64, self.count, GROUP, 0)
        }
    }

    /// Buffers that the kernel can still take.
    pub fn available(&self) -> u16 {
        self.offered.get() - self.lent.get()
    }

    /// Whether so few are free that none should be kept for long: less than a quarter.
    pub fn are_short(&self) -> bool {
        self.available() < self.offered.get() / 4
    }

    /// Whether so much was copied out of them, and is not passed on yet, that little more shall be
    /// held: sixteen times what they have. A shard whose clients are far away, and many, may well
    /// have copied all of it once.
    pub fn are_crowded(&self) -> bool {
        self.copied.get() > usize::from(self.count) * BUFFER_BYTES * CROWD
    }

    /// The chunk that a completion names: the kernel has filled `len` bytes of buffer `id`.
    #[inline]
    pub fn lend(self: &Rc<Self>, id: u16, len: usize) -> Lent {
        assert!(id < self.count && len <= BUFFER_BYTES, "the kernel names our own buffers");
        self.lent.set(self.lent.get() + 1);
        if self.available() < self.offered.get() / 2 {
            self.offer_more();
        }
        let storage = Storage::Lent { buffers: Rc::clone(self), id };
        let chunk = Lent { storage, start: 0, end: len as u16 };
        if self.are_short() { chunk.into_copy() } else { chunk }
    }

    fn give(&self, id: u16) {
        self.place(id);
        self.lent.set(self.lent.get() - 1);
    }

    /// Puts a buffer at the end of the ring.
    fn place(&self, id: u16) {
        let tail = self.tail.get();
        // SAFETY: the masked index lies within the ring; only this thread writes it, and the
        // kernel does not read an entry before the tail has passed it.
        let entry = unsafe { &mut *self.ring.as_ptr().add((tail & (self.count - 1)) as usize) };
        entry.set_addr(self.at(id) as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail field of the ring, valid as long as the ring is; the kernel reads it
        // with acquire, so the entry above is visible first.
        let shared =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring.as_ptr()).cast_mut()) };
        shared.store(tail, Ordering::Release);
    }

    fn at(&self, id: u16) -> *mut u8 {
        let first = self.memory.as_ptr().align_offset(PAGE_BYTES);
        // SAFETY: `id < count` and `first` is less than a page, so the buffer lies within the
        // allocation.
        unsafe { self.memory.as_ptr().add(first + usize::from(id) * BUFFER_BYTES) }
    }

    fn ring_layout(count: u16) -> Layout {
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 512 KiB, a power of two")
    }

    fn memory_layout(count: u16) -> Layout {
        let bytes = usize::from(count) * BUFFER_BYTES + PAGE_BYTES;
        // Aligned by hand: what is to be zeroed and aligned to more than this is written to by
        // the allocator, page by page.
        Layout::from_size_align(bytes, 16).expect("at most 128 MiB and a page, a power of two")
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with these very layouts; chunks hold an `Rc` to us, so none
        // is left, and the io_uring is gone.
        unsafe {
            dealloc(self.ring.as_ptr().cast(), Self::ring_layout(self.count));
            dealloc(self.memory.as_ptr(), Self::memory_layout(self.count));
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layouts above are never of size 0.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Received bytes: in a lent buffer, or copied out of one.
pub struct Lent {
    storage: Storage,
    start: u16,
    end: u16,
}

enum Storage {
    Lent { buffers: Rc<Buffers>, id: u16 },
    Copied { buffers: Rc<Buffers>, bytes: Box<[u8]> },
}

impl Lent {
    /// The same bytes on the heap; the buffer goes back.
    fn into_copy(self) -> Lent {
        let bytes: Box<[u8]> = (&*self).into();
        let (Storage::Lent { buffers, .. } | Storage::Copied { buffers, .. }) = &self.storage;
        let (buffers, end) = (Rc::clone(buffers), bytes.len() as u16);
        buffers.copied.set(buffers.copied.get() + bytes.len());
        Lent { start: 0, end, storage: Storage::Copied { buffers, bytes } }
    }
}

impl Deref for Lent {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let range = usize::from(self.start)..usize::from(self.end);
        match &self.storage {
            Storage::Copied { bytes, .. } => &bytes[range],
            // SAFETY: the range lies within what the kernel filled; the buffer is ours until
            // this chunk is dropped.
            Storage::Lent { buffers, id } => unsafe {
                std::slice::from_raw_parts(buffers.at(*id).add(range.start), range.len())
            },
        }
    }
}

impl Chunk for Lent {
    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "{count} bytes taken of {}", self.len());
        self.start += count as u16;
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.end = self.start + len as u16;
        }
    }
}

impl Drop for Storage {
    #[inline]
    fn drop(&mut self) {
        match self {
            Storage::Lent { buffers, id } => buffers.give(*id),
            Storage::Copied { buffers, bytes } => {
                buffers.copied.set(buffers.copied.get() - bytes.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use penstock_env::Chunk;

    use super::{BUFFER_BYTES, Buffers};

    #[test]
    fn every_lent_buffer_comes_back_once() {
        let buffers = Rc::new(Buffers::new(4));
        assert_eq!(buffers.available(), 4);
        let mut chunk = buffers.lend(2, 10);
        let other = buffers.lend(3, BUFFER_BYTES);
        assert_eq!(buffers.available(), 2);
        chunk.advance(4);
        chunk.truncate(3);
        assert_eq!(chunk.len(), 3);
        drop((chunk, other));
        assert_eq!(buffers.available(), 4);
    }

    #[test]
    fn bytes_that_nobody_reads_leave_a_quarter_of_the_buffers_free() {
        let buffers = Rc::new(Buffers::new(8));
        let unread: Vec<_> = (0..8).map(|id| buffers.lend(id, BUFFER_BYTES)).collect();
        assert_eq!(buffers.available(), 2);
        assert!(unread.iter().all(|chunk| chunk.len() == BUFFER_BYTES));
        drop(unread);
        assert_eq!(buffers.available(), 8);
    }

    #[test]
    fn what_is_copied_and_kept_is_much_at_some_time() {
        let buffers = Rc::new(Buffers::new(4));
        let unread: Vec<_> = (0..3).map(|id| buffers.lend(id, BUFFER_BYTES)).collect();
        let mut kept = Vec::new();
        while !buffers.are_crowded() {
            kept.push(buffers.lend(3, BUFFER_BYTES));
        }
        assert_eq!((kept.len(), buffers.available()), (4 * 16 + 1, 1));
        kept.pop();
        assert!(!buffers.are_crowded());
        drop((unread, kept));
        assert_eq!(buffers.copied.get(), 0);
    }

    #[test]
    fn as_many_are_offered_as_there_is_use_for() {
        let buffers = Rc::new(Buffers::new(1024));
        assert_eq!(buffers.available(), 128);
        for id in 0..1000 {
            drop(buffers.lend(id % 128, 10));
        }
        assert_eq!(buffers.available(), 128);
        let unread: Vec<_> = (0..64).map(|id| buffers.lend(id, 10)).collect();
        assert_eq!(buffers.available(), 64);
        let next = buffers.lend(64, 10);
        assert_eq!(buffers.available(), 256 - 65);
        drop((unread, next));
        assert_eq!(buffers.available(), 256);
        // All at once, before we saw the first of them.
        assert!(buffers.offer_more() && buffers.offer_more());
        assert_eq!((buffers.available(), buffers.offer_more()), (1024, false));
    }
}
