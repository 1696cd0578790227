//! Our io_uring: how it is set up, what is handed to it, and what it answers.

use std::io;

use io_uring::types::{CancelBuilder, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use crate::op::Op;
use crate::slots::SlotKey;

/// Operations that can be queued before they must be handed to the kernel.
const SUBMISSIONS: u32 = 1024;

const ENTER_GETEVENTS: u32 = 1;

/// Tries to hand over what is queued at the end: each may find the completions overflown.
const LAST_ENTERS_MAX: usize = 8;

/// How long the end of what is under way is waited for; it is there at once.
const CANCEL_TIMEOUT: Timespec = Timespec::new().sec(1);

/// One answer of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What it answers.
    pub op: Op,
    /// Whose it is.
    pub key: SlotKey,
    /// A count or a negated errno.
    pub result: i32,
    /// The lent buffer, for a receive.
    pub buffer: Option<u16>,
    /// Whether the operation stays armed.
    pub more: bool,
}

impl Completion {
    /// The count, or the error.
    pub fn outcome(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}

/// The ring of one shard; it must be made on the thread that uses it.
pub struct Ring {
    uring: IoUring,
    queued: u32,
}

impl Ring {
    /// Sets the ring up.
    ///
    /// # Errors
    /// The kernel is older than 6.1, io_uring is forbidden (a container's seccomp profile,
    /// `kernel.io_uring_disabled`), or memlock is too low.
    pub fn new() -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            // Multishot operations answer many times for one submission.
            .setup_cqsize(SUBMISSIONS * 4)
            .build(SUBMISSIONS)?;
        Ok(Ring { uring, queued: 0 })
    }

    /// For registrations.
    pub fn submitter(&self) -> io_uring::Submitter<'_> {
        self.uring.submitter()
    }

    /// Queues an operation for the next enter, to be answered as `op` on `key`.
    ///
    /// # Safety
    /// Memory that `entry` points to must stay valid until its completion was seen.
    #[inline]
    pub unsafe fn push(&mut self, entry: squeue::Entry, op: Op, key: SlotKey) {
        let entry = &entry.user_data(op.on(key));
        // SAFETY: the caller's promise, passed on.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            if let Err(error) = self.enter(0) {
                // EBUSY and EAGAIN pass once completions are reaped; the kernel keeps overflown
                // ones, so trying again makes progress.
                tracing::debug!(%error, "the submission queue is full");
            }
        }
        self.queued += 1;
    }

    /// Hands over what is queued, and waits until at least `wait` completions are there.
    ///
    /// # Errors
    /// EBUSY, EAGAIN or EINTR, all of which pass; anything else is a broken ring.
    #[inline]
    pub fn enter(&mut self, wait: u32) -> io::Result<()> {
        let wait = if self.uring.completion().is_empty() { wait } else { 0 };
        // SAFETY: no argument is passed; flags and counts are plain numbers.
        let entered = unsafe {
            self.uring.submitter().enter::<libc::sigset_t>(self.queued, wait, ENTER_GETEVENTS, None)
        };
        let submitted = u32::try_from(entered?).unwrap_or(u32::MAX);
        self.queued = self.queued.saturating_sub(submitted);
        Ok(())
    }

    /// Hands over what is queued, and ends whatever is under way: from here on the kernel keeps
    /// no socket for us, takes no connection in and uses no memory. Completions go `into`.
    pub fn end(&mut self, into: &mut Vec<Completion>) {
        for _ in 0..LAST_ENTERS_MAX {
            let entered = self.enter(0);
            self.reap(into);
            if entered.is_ok() && self.queued == 0 {
                break;
            }
        }
        // Not found: nothing is under way. What was ends with the next enter.
        let any = CancelBuilder::any();
        let _ = self.uring.submitter().register_sync_cancel(Some(CANCEL_TIMEOUT), any);
        let _ = self.enter(0);
        self.reap(into);
    }

    /// Takes all completions that are there, in order.
    #[inline]
    pub fn reap(&mut self, into: &mut Vec<Completion>) {
        for entry in self.uring.completion() {
            let (op, key) = Op::parse(entry.user_data()).expect("we number what we push");
            into.push(Completion {
                op,
                key,
                result: entry.result(),
                buffer: cqueue::buffer_select(entry.flags()),
                more: cqueue::more(entry.flags()),
            });
        }
    }
}
