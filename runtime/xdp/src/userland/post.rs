//! What lanes are told, and how they are woken for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use penstock_l4::Tenure;
use penstock_l4::value::{Address, Backend, Flow, FlowKey, Settings, SourceRule, Vip, VipKey};

/// What the control side tells a lane.
pub(super) enum Order {
    Settings(Settings),
    Service(VipKey, Option<u16>),
    Vip(u16, Vip),
    Maglev(u32, Arc<[u32]>),
    Backend(u32, Option<Backend>),
    Source(Address, u8, Option<SourceRule>),
    /// Addresses that the machine has itself, of those whose packets come here.
    Own(Arc<[Address]>),
    /// Which flows there are in `count` places from `first` on.
    Flows {
        tenure: Tenure,
        first: usize,
        count: usize,
        answer: SyncSender<Part>,
    },
    /// Say when everything before is done.
    Settle(SyncSender<()>),
    /// End.
    Stop,
}

/// Flows, and whether there are more places behind theirs.
pub(super) type Part = (Vec<(FlowKey, Flow)>, bool);

/// A packet from another lane.
pub(super) struct Foreign {
    pub(super) bytes: Vec<u8>,
    /// How many lanes have had it.
    pub(super) hops: u32,
}

/// A lane's address.
#[derive(Clone)]
pub(super) struct Post {
    orders: Sender<Order>,
    packets: SyncSender<Foreign>,
    bell: Arc<Bell>,
}

/// What has come for a lane.
pub(super) struct Mailbox {
    pub(super) orders: Receiver<Order>,
    pub(super) packets: Receiver<Foreign>,
    bell: Arc<Bell>,
}

/// One address and mailbox for each lane.
pub(super) fn mailboxes(count: usize) -> io::Result<(Vec<Post>, Vec<Mailbox>)> {
    let pairs: io::Result<Vec<_>> = (0..count).map(|_| mailbox()).collect();
    Ok(pairs?.into_iter().unzip())
}

fn mailbox() -> io::Result<(Post, Mailbox)> {
    let bell = Arc::new(Bell { file: eventfd()?, is_asleep: AtomicBool::new(false) });
    // Only the control side gives orders, a few for each change of the configuration.
    let (to_orders, orders) = channel();
    let (to_packets, packets) = sync_channel(WAITING_MAX);
    let post = Post { orders: to_orders, packets: to_packets, bell: bell.clone() };
    Ok((post, Mailbox { orders, packets, bell }))
}

impl Post {
    /// Gives an order. A lane that has ended needs none.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.bell.ring();
    }

    /// Hands a packet over. False when too many are waiting there.
    pub(super) fn hand(&self, packet: Foreign) -> bool {
        match self.packets.try_send(packet) {
            Ok(()) => {
                self.bell.ring();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Mailbox {
    /// What has to be waited for.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.bell.file.as_raw_fd()
    }

    /// Says that the lane is about to wait: who writes from now on wakes it. What was written
    /// before has to be looked for once more.
    pub(super) fn lie_down(&self) {
        self.bell.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The lane is awake.
    pub(super) fn stand_up(&self) {
        if !self.bell.is_asleep.swap(false, Ordering::Relaxed) {
            // Somebody rang, now or soon; what he leaves in the bell costs one round.
            let _ = (&self.bell.file).read(&mut [0; 8]);
        }
    }
}

/// Wakes a lane that waits.
struct Bell {
    file: File,
    is_asleep: AtomicBool,
}

impl Bell {
    /// After something was put into the mailbox. Either we see that the lane lies down, or it sees
    /// what we have put in (Dekker's algorithm: a fence on both sides).
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            // It fails only when it has been rung 2^64 - 2 times.
            let _ = (&self.file).write(&1_u64.to_ne_bytes());
        }
    }
}

fn eventfd() -> io::Result<File> {
    // SAFETY: a call on numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows of it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Packets that wait for a lane: as many as its queue of the device holds.
const WAITING_MAX: usize = 1_024;
