//! What the control thread asks of those who run the shards.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use penstock_env::Address;
use penstock_proxy::{Entrance, Snapshot};
use thiserror::Error;
use tokio::sync::Notify;

/// The running shards, seen from the control thread. Nothing here may wait for a shard.
pub trait Shards: Send {
    /// How many there are, running or not.
    fn count(&self) -> usize;

    /// Makes ready all that shards need to serve `next`: whatever can fail of it.
    ///
    /// # Errors
    /// A new listener can't be bound, the log can't be opened, or a shard takes no messages.
    fn prepare<'a>(
        &'a mut self,
        next: &Arc<Snapshot>,
    ) -> Result<Box<dyn Prepared + 'a>, ShardsError>;

    /// Stops accepting and ends what is idle; requests under way have `longest` to end.
    fn drain(&mut self, longest: Duration);

    /// Those that ended since this was last asked.
    fn ended(&mut self) -> Vec<Ended>;

    /// Starts a shard in the place of one that ended, on the same sockets.
    ///
    /// # Errors
    /// There is no thread, ring or descriptor for it.
    fn restart(&mut self, index: usize, current: &Arc<Snapshot>) -> Result<(), ShardsError>;

    /// What the shard in this place has counted, over restarts.
    fn counts(&self, index: usize) -> ShardCounts;

    /// Where is being listened, with the ports that the kernel chose.
    fn listening(&self) -> Vec<Listening>;

    /// Opens the access log anew, after a rotation.
    fn reopen_log(&mut self);

    /// Gives free memory back to the kernel.
    fn give_memory_back(&mut self);

    /// What the access log has written, if there is one.
    fn log_counts(&self) -> Option<LogCounts>;

    /// Lines of the event log that found no room, as nobody read it.
    fn events_lost(&self) -> u64;
}

/// A change that shards are ready for. Dropped, it never was.
pub trait Prepared {
    /// Has every shard serve it, on its listeners.
    fn commit(self: Box<Self>);
}

/// A shard's thread is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub index: usize,
    /// Why, unless it was told to.
    pub error: Option<String>,
}

/// What one shard counts about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Receives that had to wait for a buffer.
    pub starved: u64,
    /// Connections that found no pipe to be carried by.
    pub pipes_short: u64,
    /// Tasks that ended in a panic.
    pub panics: u64,
    /// Passes over the ring.
    pub passes: u64,
}

/// An address that is being listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Whose it is in the snapshot.
    pub entrance: Entrance,
    /// The address, with a real port.
    pub address: Address,
}

/// What the access log has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines written.
    pub lines: u64,
    /// Lines lost in writing; records that found no room are counted on the shards.
    pub lines_lost: u64,
    /// Writes and reopenings that failed.
    pub errors: u64,
}

/// Why the shards can't do what was asked.
#[derive(Debug, Error)]
pub enum ShardsError {
    /// A listener's or service's address can't be had.
    #[error("{entrance}: cannot listen on {address}: {error}")]
    Bind {
        /// Its name in the config, as in `listener.web`.
        entrance: String,
        /// Where it should listen.
        address: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The access log can't be written.
    #[error("observe.access_log: cannot open {target}: {error}")]
    Log {
        /// Where it should go.
        target: String,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A shard has not taken the messages of before.
    #[error("shard {index} takes no messages: it is stuck, or ending")]
    Behind {
        /// Which.
        index: usize,
    },
    /// A shard can't be started.
    #[error("shard {index} cannot start: {reason}")]
    Start {
        /// Which.
        index: usize,
        /// Why.
        reason: String,
    },
}

/// Wakes the control thread from any other: a shard has ended.
#[derive(Clone, Debug, Default)]
pub struct Alarm {
    notify: Arc<Notify>,
}

impl Alarm {
    /// Wakes it; several calls before it looks are one.
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }
}
