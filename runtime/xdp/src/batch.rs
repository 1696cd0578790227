//! Many entries of a map in one call (bpf(2), BPF_MAP_UPDATE_BATCH and BPF_MAP_LOOKUP_BATCH, Linux
//! 5.6), which aya does not have: a Maglev table has 65,537, and there may be 655,360 flows.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::Pod;
use aya::maps::IterableMap;

/// The part of `union bpf_attr` that batches use (`linux/bpf.h`).
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Writes `values` to the places of `array` from `first` on, in that order.
pub(crate) fn set_array(
    array: &impl IterableMap<u32, u32>,
    first: u32,
    values: &[u32],
) -> io::Result<()> {
    let keys: Vec<u32> = (first..).take(values.len()).collect();
    let mut attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: values.len() as u32,
        map_fd: number(array.map().fd().as_fd()),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values of 4 bytes, which is what both slices hold;
    // they outlive the call. That the map's are that wide is in the array's type.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut attributes) }
}

/// The entries of a hash map, some thousand at a call. One that comes or goes meanwhile may be
/// among them or not; where the kernel says no more, they end.
pub(crate) fn entries<'m, K: Pod, V: Pod>(map: &'m impl IterableMap<K, V>) -> Entries<'m, K, V> {
    Entries {
        map: map.map().fd().as_fd(),
        keys: Vec::with_capacity(ENTRIES),
        values: Vec::with_capacity(ENTRIES),
        cursor: None,
        is_over: false,
    }
}

/// See [`entries`].
pub(crate) struct Entries<'m, K, V> {
    map: BorrowedFd<'m>,
    /// What the last call brought and was not given yet, the last first.
    keys: Vec<K>,
    values: Vec<V>,
    /// Where the next call goes on; for the kernel alone to read.
    cursor: Option<u32>,
    is_over: bool,
}

impl<K: Pod, V: Pod> Iterator for Entries<'_, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        while self.keys.is_empty() && !self.is_over {
            self.fetch();
        }
        self.keys.pop().zip(self.values.pop())
    }
}

impl<K: Pod, V: Pod> Entries<'_, K, V> {
    fn fetch(&mut self) {
        let room = self.keys.capacity().min(self.values.capacity());
        let (cursor, mut next) = (self.cursor, 0_u32);
        let mut attributes = Attributes {
            in_batch: cursor.as_ref().map_or(0, |cursor| std::ptr::from_ref(cursor) as u64),
            out_batch: &raw mut next as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: number(self.map),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values, for which there is room: how
        // wide they are is in the map's type. A hash map's cursor is 4 bytes (`__htab_map_lookup_
        // and_delete_batch`); both and the vectors outlive the call.
        let done = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attributes) };
        let count = match done.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => attributes.count as usize,
            // The last ones.
            Err(Some(libc::ENOENT)) => {
                self.is_over = true;
                attributes.count as usize
            }
            // More in one bucket than there is room for.
            Err(Some(libc::ENOSPC)) if room < ROOM_MAX => {
                self.keys.reserve_exact(2 * room);
                self.values.reserve_exact(2 * room);
                return;
            }
            Err(_) => {
                self.is_over = true;
                0
            }
        };
        self.cursor = Some(next);
        // SAFETY: so many were written, and any bytes are one (`Pod`).
        unsafe {
            self.keys.set_len(count.min(room));
            self.values.set_len(count.min(room));
        }
    }
}

fn number(map: BorrowedFd<'_>) -> u32 {
    map.as_raw_fd().cast_unsigned()
}

/// # Safety
/// What the attributes point to is there, as large as they and the map say.
unsafe fn bpf(command: libc::c_int, attributes: &mut Attributes) -> io::Result<()> {
    let size = size_of::<Attributes>();
    // SAFETY: the attributes are `size` bytes; the rest is the caller's promise.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Commands of `enum bpf_cmd`.
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_UPDATE_BATCH: libc::c_int = 26;
/// Half a megabyte of flows.
const ENTRIES: usize = 4_096;
/// More than any map of ours holds.
const ROOM_MAX: usize = 1 << 22;
