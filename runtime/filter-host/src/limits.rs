//! What an instance may grow to.

use wasmtime::ResourceLimiter;

/// Counts the bytes of linear memory and tables against one limit.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes: usize,
    table_bytes: usize,
    bytes_max: usize,
    denied: bool,
}

impl Limits {
    pub(crate) fn new(bytes_max: usize) -> Limits {
        Limits { memory_bytes: 0, table_bytes: 0, bytes_max, denied: false }
    }

    /// Bytes of memory and tables now.
    pub(crate) fn bytes(&self) -> usize {
        self.memory_bytes + self.table_bytes
    }

    /// Whether growth was denied: a trap after that is the memory's.
    pub(crate) fn denied(&self) -> bool {
        self.denied
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired.saturating_add(self.table_bytes) <= self.bytes_max;
        match fits {
            true => self.memory_bytes = desired,
            false => self.denied = true,
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A module may have several tables, and only the growing one is told: add the difference.
        let more = desired.saturating_sub(current).saturating_mul(TABLE_ENTRY_BYTES);
        let wanted = self.table_bytes.saturating_add(more);
        let fits = wanted.saturating_add(self.memory_bytes) <= self.bytes_max;
        match fits {
            true => self.table_bytes = wanted,
            false => self.denied = true,
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

/// What a table entry takes on the host's side.
const TABLE_ENTRY_BYTES: usize = size_of::<usize>();
/// LLVM emits one, AssemblyScript and others a few.
const TABLES_MAX: usize = 8;
