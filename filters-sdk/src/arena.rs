//! Where the host puts the values that it returns: a bump arena, emptied per callback.
//!
//! A general allocator would be called, and freed, for every header that a filter reads; here a
//! value costs an addition. Memory is kept at its high-water mark (a WASM memory cannot shrink
//! anyway) and reused by every later callback. Nothing here is unsafe: chunks are leaked cells.

use core::cell::{Cell, RefCell};

use penstock_filters_sdk_abi::arena::ALIGN;

/// Words, so that every value begins at a multiple of eight.
type Chunk = &'static [Cell<u64>];

/// Chunks of memory that are filled in turn and emptied all at once.
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// The chunk that is being filled, and how much of it is.
    current: usize,
    used: usize,
    /// The area that the host fills by itself (`penstock_arena`).
    host: Option<Chunk>,
    /// How many callbacks are on the stack: only the outermost may empty the arena.
    depth: u32,
}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), current: 0, used: 0, host: None, depth: 0 }
    }

    /// A callback begins. The outermost one finds the arena empty.
    pub(crate) fn enter(&mut self) {
        if self.depth == 0 {
            self.current = 0;
            self.used = 0;
        }
        self.depth += 1;
    }

    /// A callback ends.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// A run of `bytes` bytes that nothing else uses until the outermost callback returns.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Chunk {
        let words = bytes.div_ceil(WORD_BYTES);
        while let Some(chunk) = self.chunks.get(self.current) {
            if let Some(run) = chunk.get(self.used..self.used + words) {
                self.used += words;
                return run;
            }
            self.current += 1;
            self.used = 0;
        }
        let chunk = leak(words);
        self.chunks.push(chunk);
        self.used = words;
        &chunk[..words]
    }

    /// The block of at least `bytes` bytes that belongs to the host (`abi::arena` is the contract).
    /// Asked again for no more than it has, it is the same one.
    pub(crate) fn host_area(&mut self, bytes: usize) -> Chunk {
        let words = bytes.div_ceil(WORD_BYTES);
        match self.host {
            Some(area) if area.len() >= words => area,
            _ => self.host.insert(leak(words)),
        }
    }
}

/// New memory for at least `words` words. Doubling keeps the sum of all chunks that were too small
/// below the size of the largest.
fn leak(words: usize) -> Chunk {
    let words = words.next_power_of_two().max(CHUNK_WORDS_MIN);
    Box::leak(vec![Cell::new(0); words].into_boxed_slice())
}

/// Enough for the fields of a common request (15 fields, 700 bytes) many times over, and small
/// beside the 64 KiB that a filter may dirty per shard.
const CHUNK_WORDS_MIN: usize = 8 * 1024 / WORD_BYTES;

const WORD_BYTES: usize = ALIGN as usize;
const _: () = assert!(WORD_BYTES == size_of::<u64>());

thread_local! {
    static ARENA: RefCell<Arena> = const { RefCell::new(Arena::new()) };
}

/// Runs `callback` with an arena that is empty if it is the outermost one.
pub fn scope<T>(callback: impl FnOnce() -> T) -> T {
    ARENA.with_borrow_mut(Arena::enter);
    let result = callback();
    ARENA.with_borrow_mut(Arena::leave);
    result
}

/// The address of `bytes` fresh bytes: what the allocator export answers.
pub(crate) fn allocate(bytes: usize) -> *mut u8 {
    ARENA.with_borrow_mut(|arena| arena.allocate(bytes).as_ptr().cast_mut().cast())
}

/// The address of the host's own area: what the arena export answers.
pub(crate) fn host_area(bytes: usize) -> *mut u8 {
    ARENA.with_borrow_mut(|arena| arena.host_area(bytes).as_ptr().cast_mut().cast())
}
