//! Datagrams: each comes whole or not at all, and nobody waits for room.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// Both ends of a datagram that came in: whose it is, and the address of ours that it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Where to.
    pub local: SocketAddr,
}

/// Datagrams between us and one peer that we have chosen. Dropping it closes it.
pub trait Datagrams: 'static {
    /// Waits for the next one, which takes the place of what is in `into`.
    ///
    /// # Errors
    /// The peer, or somebody on the way, says that nobody is there. Later ones may pass.
    fn poll_receive(&self, context: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<()>>;

    /// Sends one. False when it was lost here: the kernel has no room for it, or it is too large.
    /// What becomes known of the way is told by [`Datagrams::poll_receive`].
    fn send(&self, datagram: &[u8]) -> bool;
}

/// What one does with datagrams in `async` code.
pub trait DatagramsExt: Datagrams {
    /// Waits for the next one; see [`Datagrams::poll_receive`].
    fn receive(&self, into: &mut Vec<u8>) -> impl Future<Output = io::Result<()>> {
        poll_fn(|context| self.poll_receive(context, into))
    }
}

impl<D: Datagrams> DatagramsExt for D {}

/// The way back to those whose datagrams come in at one socket. Cheap to clone.
pub trait Replies: Clone + 'static {
    /// Sends a datagram from `ends.local` to `ends.peer`. False when it was lost here.
    fn send(&self, ends: &Ends, datagram: &[u8]) -> bool;
}
