//! Many entries of an array in one call (bpf(2), BPF_MAP_UPDATE_BATCH, Linux 5.6), which aya does
//! not have: a Maglev table has 65,537, and a call for each takes 65 ms.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{IterableMap, MapData};

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
    let map: &MapData = array.map();
    let keys: Vec<u32> = (first..).take(values.len()).collect();
    let mut attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: values.len() as u32,
        map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values of 4 bytes, which is what both slices hold,
    // and the attributes, of which it writes `count`; all of them outlive the call. That the map's
    // keys and values are that wide is in the array's type.
    let done = unsafe {
        let size = size_of::<Attributes>();
        libc::syscall(libc::SYS_bpf, MAP_UPDATE_BATCH, &raw mut attributes, size)
    };
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `BPF_MAP_UPDATE_BATCH` of `enum bpf_cmd`.
const MAP_UPDATE_BATCH: libc::c_int = 26;
