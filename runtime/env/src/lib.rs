//! The world a connection lives in: clock, randomness, sockets, timers, tasks, as traits.
//!
//! `proxy` is generic over [`Env`] and so never sees a system call. `shard` implements it with
//! glommio and an io_uring, `tests/sim` as a deterministic world with seeded faults. Not for
//! protocol logic (`wire`), nor for decisions (`proxy`, `balance`).

#![forbid(unsafe_code)]

mod address;
mod conduit;
mod datagrams;
mod map;
mod rng;
mod send;
mod stream;
mod time;

use std::future::Future;
use std::io;
use std::net::IpAddr;

pub use address::Address;
pub use conduit::{Conduit, Flow, Torn};
pub use datagrams::{Datagrams, DatagramsExt, Ends, Replies, Sent};
pub use map::{Map, MapSeed};
pub use rng::Rng;
pub use send::{Part, SendBuf};
pub use stream::{Chunk, CloseKind, Stream, StreamExt};
pub use time::{Time, Timer, TimerExt, Unix};

/// Everything that a connection may ask of the world.
///
/// A handle: cheap to clone, bound to the thread (shard) that made it.
pub trait Env: Clone + 'static {
    /// A byte stream to a peer.
    type Stream: Stream;
    /// A way for bytes from one stream to another.
    type Conduit: Conduit<Self::Stream>;
    /// Datagrams between us and one peer.
    type Datagrams: Datagrams;
    /// The way back to those who sent us datagrams.
    type Replies: Replies;
    /// A deadline that can be moved as often as one likes at the cost of a store.
    type Timer: Timer;

    /// Monotonic time, read once per pass over the completions: equal for all work of one pass.
    fn now(&self) -> Time;

    /// Reads the clock within a pass, behind what may have taken long; [`Env::now`] is that from
    /// here on.
    fn read_clock(&self) -> Time;

    /// Time of day, for logs and for date fields; never for measuring.
    fn unix(&self) -> Unix;

    /// Random bits that nobody can foresee, but that replay under the simulator. A system call:
    /// for seeds and keys; choices draw from an [`Rng`].
    fn random(&self) -> u64;

    /// Runs `task` on this shard. A panic in it ends this task alone, and is counted.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Connects to `address`. No deadline of its own: race it with a [`Timer`]; dropping the
    /// future abandons the attempt and closes the socket.
    ///
    /// # Errors
    /// What the kernel said: refused, unreachable, out of file descriptors or ports.
    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Self::Stream>>;

    /// The same under another's address: the other side sees a connection `from` there.
    ///
    /// # Errors
    /// As above; also where we may not, or where the two addresses are not of one family.
    fn connect_from(
        &self,
        address: &Address,
        from: IpAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Opens a way for datagrams to `address`, at once: whether anybody is there shows later. They
    /// are from one of our addresses, or from that of another.
    ///
    /// # Errors
    /// What the kernel said: no route, out of file descriptors or ports; it is no IP address. With
    /// `from` also where we may not, or where the two addresses are not of one family.
    fn open_datagrams(
        &self,
        address: &Address,
        from: Option<IpAddr>,
    ) -> io::Result<Self::Datagrams>;

    /// A way from one stream to another in the kernel, for a direction that carries much. `None`
    /// where the bytes have to pass through us.
    fn conduit(&self, from: &Self::Stream, to: &Self::Stream) -> Option<Self::Conduit>;

    /// A timer that is not set yet.
    fn timer(&self) -> Self::Timer;

    /// An empty buffer of the shard's pool. It goes back when the send it rides on is done, or
    /// through [`Env::recycle`].
    fn buffer(&self) -> Vec<u8>;

    /// Gives a buffer back to the pool; one that grew beyond the pool's measure is freed.
    fn recycle(&self, buffer: Vec<u8>);

    /// Whether what was received, and not passed on yet, takes up most of the memory for it: until
    /// it does not, little more shall be held for peers that read slowly.
    fn is_short(&self) -> bool;

    /// What one send carries at most, about; where memory is short, whatever came first.
    #[inline]
    fn send_bytes_max(&self) -> usize {
        if self.is_short() { 1 } else { SEND_BYTES_MAX }
    }

    /// Puts an idle stream aside without a task: when bytes, an end or an error arrive, or at
    /// `until`, `resume` is called with the stream and the reason, outside any task (so it must
    /// only spawn or drop). An idle keep-alive connection costs a table slot and this closure.
    fn park(
        &self,
        stream: Self::Stream,
        until: Time,
        resume: impl FnOnce(Self::Stream, Wake) + 'static,
    );

    /// Puts a stream aside that nobody is to serve: as [`Env::park`], but what its peer sends is
    /// not taken, and does not bring it back. Only for one of which nothing was received.
    fn shelve(
        &self,
        stream: Self::Stream,
        until: Time,
        resume: impl FnOnce(Self::Stream, Wake) + 'static,
    );
}

/// Why a parked stream came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something can be received: bytes, the end of the stream, or an error.
    Readable,
    /// The time it was parked for is over.
    Timeout,
    /// The shard is draining and wants idle connections gone.
    Drain,
    /// What is served has changed: an idle connection goes if it is not wanted any more, and
    /// parks again if it is.
    Review,
}

/// One send's worth, where memory is not short.
const SEND_BYTES_MAX: usize = 32 * 1024;
