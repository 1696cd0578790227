//! TLS under everything: an [`Env`] whose streams may be encrypted, and nobody above notices.
//!
//! ```text
//! accept -> plain stream -> handshake -> sealed stream -> protocol
//! connect -> plain stream -> handshake -> sealed stream -> attempt, pool
//! ```
//! `stream` and `chunk` are those streams and what they receive, `handshake` makes a sealed one of
//! a plain one, `accept` does so for those that came in once their `hello` is whole, `handshakes`
//! has their places, and `turns` keeps handshakes from having a shard to themselves. Not for
//! certificates: that is the `tls` crate.

mod accept;
mod chunk;
mod conduit;
mod handshake;
mod handshakes;
pub(crate) mod hello;
mod stream;
mod turns;

use std::future::Future;
use std::io;
use std::net::IpAddr;

use penstock_env::{Address, Env, Time, Unix, Wake};

pub(crate) use accept::serve;
pub use chunk::SecureChunk;
pub use conduit::SecureConduit;
pub(crate) use handshake::{Introduced, Stage, connect, connect_as};
pub(crate) use handshakes::Handshakes;
pub(crate) use stream::Ends;
pub use stream::SecureStream;
pub(crate) use turns::Turns;

/// The world of `E`, with TLS.
#[derive(Clone)]
pub struct Secure<E>(pub(crate) E);

impl<E: Env> Env for Secure<E> {
    type Stream = SecureStream<E>;
    type Conduit = SecureConduit<E>;
    type Datagrams = E::Datagrams;
    type Replies = E::Replies;
    type Timer = E::Timer;

    #[inline]
    fn now(&self) -> Time {
        self.0.now()
    }

    fn read_clock(&self) -> Time {
        self.0.read_clock()
    }

    fn unix(&self) -> Unix {
        self.0.unix()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(task);
    }

    async fn connect(&self, address: &Address) -> io::Result<SecureStream<E>> {
        self.0.connect(address).await.map(SecureStream::plain)
    }

    async fn connect_from(&self, address: &Address, from: IpAddr) -> io::Result<SecureStream<E>> {
        self.0.connect_from(address, from).await.map(SecureStream::plain)
    }

    fn open_datagrams(&self, address: &Address, from: Option<IpAddr>) -> io::Result<E::Datagrams> {
        self.0.open_datagrams(address, from)
    }

    fn conduit(&self, from: &SecureStream<E>, to: &SecureStream<E>) -> Option<SecureConduit<E>> {
        SecureConduit::new(&self.0, from, to)
    }

    fn timer(&self) -> E::Timer {
        self.0.timer()
    }

    #[inline]
    fn buffer(&self) -> Vec<u8> {
        self.0.buffer()
    }

    #[inline]
    fn recycle(&self, buffer: Vec<u8>) {
        self.0.recycle(buffer);
    }

    fn is_short(&self) -> bool {
        self.0.is_short()
    }

    fn park(
        &self,
        stream: SecureStream<E>,
        until: Time,
        resume: impl FnOnce(SecureStream<E>, Wake) + 'static,
    ) {
        stream.park(&self.0, until, resume);
    }

    fn shelve(
        &self,
        stream: SecureStream<E>,
        until: Time,
        resume: impl FnOnce(SecureStream<E>, Wake) + 'static,
    ) {
        let raw = stream.into_plain();
        self.0.shelve(raw, until, move |raw, wake| resume(SecureStream::plain(raw), wake));
    }
}
