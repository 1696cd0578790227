//! Starts a shard: a pinned thread with glommio's executor, our ring, and a service on it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use penstock_env::Ends;
use thiserror::Error;

use crate::core::{Core, Counters};
use crate::incoming::ShardReplies;
use crate::listener::Listener;
use crate::pump::{Control, Pump};
use crate::stream::ShardStream;
use crate::world::ShardEnv;
use crate::{Mailbox, clock};

/// What runs on a shard.
pub trait Service: 'static {
    /// What the control side may tell it.
    type Mail: Send + 'static;

    /// A connection came in at the listener with this index.
    fn accept(&self, listener: usize, stream: ShardStream);

    /// Datagrams with these ends came in at the listener with this index; `replies` leads back.
    fn datagrams(&self, listener: usize, replies: &ShardReplies, ends: Ends, datagrams: &[&[u8]]);

    /// A message came in.
    fn mail(&self, mail: Self::Mail, control: &dyn Control);

    /// Something woke the shard from another thread: a message that was taken in, or [a
    /// nudge](crate::Nudge).
    fn nudged(&self) {}

    /// A connection could not be taken in for want of descriptors or memory: what can be done
    /// without is to go. Called every 100 ms for as long as that is so.
    fn exhausted(&self) {}

    /// Whether the shard can end: asked once a pass.
    fn is_finished(&self) -> bool;
}

/// How a shard is to be.
pub struct ShardOptions {
    /// Its number, from 0.
    pub index: usize,
    /// The core it is pinned to; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// Receive buffers of 4 KiB; a power of two up to 32,768.
    pub buffers: u16,
    /// Pipes of up to 1 MiB for [conduits](crate::ShardConduit), at most.
    pub pipes_max: u32,
    /// The sockets it accepts from.
    pub listeners: Vec<Listener>,
    /// What it counts about itself; a shard that takes another's place counts on.
    pub counters: Arc<Counters>,
    /// Called on the shard's thread when it ends, in whatever way: join it then.
    pub ended: Box<dyn FnOnce() + Send>,
}

/// Tells that a shard has ended, also when it ends by a panic.
struct Ended(Option<Box<dyn FnOnce() + Send>>);

/// Closes what a shard leaves behind, however it ends.
struct Remains(Rc<Core>);

impl Drop for Remains {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell();
        }
    }
}

/// A shard could not start, or ended by itself.
#[derive(Debug, Error)]
pub enum ShardError {
    /// io_uring is not to be had.
    #[error(
        "io_uring is not available: {0}; Linux 6.1 or newer is needed, with io_uring allowed \
         (kernel.io_uring_disabled=0, and a seccomp profile that permits io_uring_setup: \
         Docker's default one does not)"
    )]
    Ring(#[source] io::Error),
    /// The executor did not start.
    #[error("the executor of shard {index} did not start: {message}")]
    Executor {
        /// Which shard.
        index: usize,
        /// What glommio said.
        message: String,
    },
    /// The ring broke while the shard ran.
    #[error("the ring of a running shard broke: {0}")]
    Broken(#[source] io::Error),
    /// The shard's thread panicked.
    #[error("shard {index} panicked")]
    Panicked {
        /// Which shard.
        index: usize,
    },
}

/// A running shard.
pub struct ShardHandle {
    index: usize,
    join: ExecutorJoinHandle<Result<(), ShardError>>,
}

impl ShardHandle {
    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end as it should.
    pub fn join(self) -> Result<(), ShardError> {
        let index = self.index;
        self.join.join().map_err(|_| ShardError::Panicked { index })?
    }
}

/// Whether the kernel gives us the ring that shards need; asked once before any starts.
///
/// # Errors
/// It does not, and why.
pub fn probe() -> Result<(), ShardError> {
    Core::new(8, 0, 0, Arc::default()).map(drop).map_err(ShardError::Ring)
}

/// Starts a shard's thread. `build` runs on it and makes the service.
///
/// # Errors
/// The thread or its executor did not start. A ring that is refused shows when the handle is
/// joined: call [`probe`] first.
pub fn start<S: Service>(
    options: ShardOptions,
    mailbox: Mailbox<S::Mail>,
    build: impl FnOnce(ShardEnv) -> S + Send + 'static,
) -> Result<ShardHandle, ShardError> {
    let ShardOptions { index, core, buffers, pipes_max, listeners, counters, ended } = options;
    let ended = Ended(Some(ended));
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let join = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{index}"))
        // Files go through other threads; its rings serve the executor's own needs only.
        .io_memory(0)
        .ring_depth(16)
        .spawn(move || async move {
            let _ended = ended;
            let (now, unix) = clock::read();
            let seed = now.as_ns() ^ unix.us.rotate_left(32) ^ (index as u64) << 56;
            let core = Core::new(buffers, pipes_max, seed, counters).map_err(ShardError::Ring)?;
            let _remains = Remains(Rc::clone(&core));
            let env = ShardEnv { core };
            let service = Rc::new(build(env.clone()));
            let pump = Pump::new(env, service, mailbox);
            for listener in listeners {
                pump.listen(listener);
            }
            pump.run().await.map_err(ShardError::Broken)
        })
        .map_err(|error| ShardError::Executor { index, message: error.to_string() })?;
    Ok(ShardHandle { index, join })
}
