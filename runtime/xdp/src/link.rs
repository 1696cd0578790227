//! Taking a pinned link off its interface at once.
//!
//! Removing the pin does it too, but some time later: the kernel leaves the end of a link to a
//! worker, and who asks right after still finds the program. aya has no call for this.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Detaches the link that is pinned at `pin`. What can't be is left to the removal of the pin.
pub(crate) fn detach(pin: &Path) {
    let Ok(path) = CString::new(pin.as_os_str().as_bytes()) else { return };
    let mut named = Named { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut named);
    if fd < 0 {
        return;
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    bpf(BPF_LINK_DETACH, &mut Link { fd: fd.as_raw_fd() as u32 });
}

/// The arguments of `BPF_OBJ_GET` (`linux/bpf.h`).
#[repr(C)]
struct Named {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The arguments of `BPF_LINK_DETACH`.
#[repr(C)]
struct Link {
    fd: u32,
}

fn bpf<T>(command: libc::c_long, arguments: &mut T) -> libc::c_long {
    // SAFETY: arguments of the command, as long as we say. The path in them outlives the call.
    unsafe { libc::syscall(libc::SYS_bpf, command, arguments as *mut T, size_of::<T>()) }
}

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;
