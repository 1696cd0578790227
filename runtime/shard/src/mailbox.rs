//! Messages to a shard: a single-producer ring and an eventfd that the shard's io_uring watches.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

/// The sending end; it belongs to one thread.
pub struct Sender<M> {
    ring: HeapProd<M>,
    wake: Arc<OwnedFd>,
}

/// The receiving end, on the shard.
pub struct Mailbox<M> {
    ring: HeapCons<M>,
    wake: Arc<OwnedFd>,
}

/// Wakes a shard with nothing to say; any thread may.
#[derive(Clone)]
pub struct Nudge {
    wake: Arc<OwnedFd>,
}

/// A mailbox that holds up to `capacity` messages.
///
/// # Errors
/// Out of file descriptors.
pub fn mailbox<M>(capacity: usize) -> io::Result<(Sender<M>, Mailbox<M>)> {
    // SAFETY: plain numbers; the fd is owned at once.
    let wake = unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Arc::new(OwnedFd::from_raw_fd(fd))
    };
    let (producer, consumer) = HeapRb::new(capacity).split();
    let sender = Sender { ring: producer, wake: Arc::clone(&wake) };
    Ok((sender, Mailbox { ring: consumer, wake }))
}

impl<M> Sender<M> {
    /// How many messages there is room for. Only the sender takes room away, so that many
    /// [`Sender::send`] will succeed.
    pub fn room(&self) -> usize {
        self.ring.vacant_len()
    }

    /// Sends a message and wakes the shard.
    ///
    /// # Errors
    /// The message itself, when the box is full: the shard is stuck or far behind.
    pub fn send(&mut self, message: M) -> Result<(), M> {
        self.ring.try_push(message)?;
        wake(&self.wake);
        Ok(())
    }
}

impl Nudge {
    /// Has the shard call [`crate::Service::nudged`]; several before it does are one.
    pub fn nudge(&self) {
        wake(&self.wake);
    }
}

/// Adds one to what the shard's ring reads.
fn wake(eventfd: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: 8 valid bytes. A shard that reads nothing for 2^64 wake-ups is not to be had.
    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

impl<M> Mailbox<M> {
    /// The next message.
    pub fn take(&mut self) -> Option<M> {
        self.ring.try_pop()
    }

    /// What wakes the shard without a message.
    pub fn nudge(&self) -> Nudge {
        Nudge { wake: Arc::clone(&self.wake) }
    }

    pub(crate) fn fd(&self) -> i32 {
        self.wake.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::mailbox;

    #[test]
    fn a_full_box_gives_the_message_back() {
        let (mut sender, mut inbox) = mailbox(2).expect("an eventfd");
        assert_eq!(sender.room(), 2);
        assert_eq!((sender.send(1), sender.send(2), sender.send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some(1), Some(2), None));
    }
}
