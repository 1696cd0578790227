//! The optional export that spares nested calls of the guest's allocator.
//!
//! A hostcall that returns bytes must place them in the guest's memory. The standard way calls
//! back into the guest for every value (`proxy_on_memory_allocate`, 42 ns a time). A module that
//! exports [`EXPORT`] lends the host one block to place values in by itself:
//!
//! * Signature: `penstock_arena(bytes: i32) -> i32`, the address of a block of at least `bytes`
//!   bytes, or 0 to refuse.
//! * The host calls it at most once in the life of an instance, after `_initialize` (or
//!   `_start`) and before any other callback, with [`BYTES`].
//! * The block is the host's until the instance is gone. The guest neither frees it nor hands it
//!   out again; `alloc` with a layout of `bytes`, alignment 8, is all an SDK needs to do.
//! * The host fills it from the start in every outermost callback (a call of the host's that is
//!   not nested in a hostcall). So a value placed there stays as it is until the outermost
//!   callback that asked for it returns, whatever hostcalls come in between, and not longer.
//!   Memory the guest wants for longer it copies.
//! * A value that doesn't fit in what is left goes through `proxy_on_memory_allocate`, and is
//!   the guest's to free as ever. Telling the two apart is a comparison with the block's bounds;
//!   an SDK whose `proxy_on_memory_allocate` hands out memory that it takes back itself at the
//!   next callback need not tell them apart at all.
//! * Other hosts never call it. A module may not rely on being called.

/// The name of the export.
pub const EXPORT: &str = "penstock_arena";

/// How many bytes the host asks for: a request head of common size, read whole, twice.
pub const BYTES: u32 = 16 * 1024;

/// Values in the block begin at multiples of this.
pub const ALIGN: u32 = 8;
