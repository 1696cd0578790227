//! The process limits that shards need, raised where we may and explained where we may not.

use std::io;

use thiserror::Error;

/// Glommio's rings and ours are charged to locked memory.
const MEMLOCK_BYTES: u64 = 512 * 1024;

/// A process limit that is too low and can't be raised by us.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// Locked memory.
    #[error(
        "locked memory is limited to {found} bytes, {needed} are needed: set LimitMEMLOCK=infinity \
         in the unit, `ulimit -l unlimited`, or `--ulimit memlock=-1` for a container"
    )]
    Memlock {
        /// The limit found.
        found: u64,
        /// What the shards need.
        needed: u64,
    },
}

/// Raises the soft limits of locked memory and open files to what is allowed, and checks that
/// `shards` shards can start. Returns the number of files that may be open.
///
/// # Errors
/// Locked memory stays too low.
pub fn raise(shards: usize) -> Result<u64, LimitError> {
    let needed = MEMLOCK_BYTES * shards.max(1) as u64;
    let found = raise_one(libc::RLIMIT_MEMLOCK);
    // CAP_IPC_LOCK lifts the limit altogether, but tells nobody; root can raise it anyway.
    if found < MEMLOCK_BYTES {
        return Err(LimitError::Memlock { found, needed });
    }
    if found < needed {
        tracing::warn!(found, needed, "locked memory is short; older kernels charge all rings");
    }
    Ok(raise_one(libc::RLIMIT_NOFILE))
}

fn raise_one(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            tracing::warn!(error = %io::Error::last_os_error(), "a process limit is unreadable");
            return 0;
        }
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(resource, &raw const wanted) == 0 {
            return wanted.rlim_cur;
        }
    }
    limit.rlim_cur
}
