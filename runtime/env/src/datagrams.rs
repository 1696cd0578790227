//! Datagrams: each comes whole or not at all, and nobody waits for room.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::task::{Context, Poll};

/// Both ends of a datagram that came in: whose it is, and the address of ours that it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Where to.
    pub local: SocketAddr,
}

/// How much of what was to be sent was not lost here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams.
    pub datagrams: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, more: Sent) {
        self.datagrams += more.datagrams;
        self.bytes += more.bytes;
    }
}

/// Datagrams between us and one peer that we have chosen. Dropping it closes it.
pub trait Datagrams: 'static {
    /// Waits for the next ones, and gives `take` those that have come, in order, some at a time.
    ///
    /// # Errors
    /// The peer, or somebody on the way, says that nobody is there. Later ones may pass.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&[&[u8]]),
    ) -> Poll<io::Result<()>>;

    /// Sends these, in order. One may be lost here: the kernel has no room for it, or it is too
    /// large. What becomes known of the way is told by [`Datagrams::poll_receive`].
    fn send(&self, datagrams: &[&[u8]]) -> Sent;
}

/// What one does with datagrams in `async` code.
pub trait DatagramsExt: Datagrams {
    /// Waits for the next ones; see [`Datagrams::poll_receive`].
    fn receive(&self, mut take: impl FnMut(&[&[u8]])) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |context| self.poll_receive(context, &mut take))
    }
}

impl<D: Datagrams> DatagramsExt for D {}

/// The way back to those whose datagrams come in at one socket. Cheap to clone.
pub trait Replies: Clone + 'static {
    /// Sends datagrams from `ends.local` to `ends.peer`, in order. One may be lost here.
    fn send(&self, ends: &Ends, datagrams: &[&[u8]]) -> Sent;
}
