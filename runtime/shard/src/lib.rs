//! One core's executor: glommio tasks over our own io_uring.
//!
//! The only crate that knows io_uring. It makes no decisions: it moves bytes, keeps time and
//! calls. A [`Service`] (the proxy) decides. See `ARCHITECTURE.md` for why the sockets are not
//! glommio's own.

mod address;
mod ahead;
mod batch;
mod buffers;
mod clock;
mod conduit;
mod control;
mod core;
mod datagrams;
mod foreign;
mod gather;
mod incoming;
mod life;
mod listener;
mod mailbox;
mod memory;
mod op;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod pump;
mod records;
mod ring;
mod rlimits;
mod slots;
mod socket;
mod start;
mod stream;
mod task;
mod train;
mod wheel;
mod world;

pub use buffers::{BUFFER_BYTES, Lent};
pub use clock::thread_cpu_ns;
pub use conduit::ShardConduit;
pub use core::Counters;
pub use datagrams::ShardDatagrams;
pub use incoming::ShardReplies;
pub use life::{AfterSend, Life};
pub use listener::Listener;
pub use mailbox::{Mailbox, Nudge, Sender, mailbox};
pub use memory::give_memory_back;
pub use op::Op;
pub use pump::Control;
pub use records::{Bell, RecordReader, RecordSender, records};
pub use rlimits::{LimitError, raise as raise_limits};
pub use slots::{SlotKey, Slots};
pub use start::{Service, ShardError, ShardHandle, ShardOptions, probe, start};
pub use stream::{ShardStream, ShardTimer};
pub use wheel::{Due, TICK, TimerIndex, Wheel};
pub use world::ShardEnv;
