//! The streams and timers that `proxy` sees: handles into the shard's tables.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use penstock_env::{Address, CloseKind, SendBuf, Stream, Time, Timer};

use crate::address;
use crate::buffers::Lent;
use crate::core::Core;
use crate::op::Op;
use crate::slots::SlotKey;
use crate::socket::Behind;
use crate::wheel::TimerIndex;

/// A connected socket of this shard.
pub struct ShardStream {
    pub(crate) core: Rc<Core>,
    pub(crate) key: SlotKey,
    pub(crate) peer: Address,
    /// Our side's address, once somebody has asked.
    pub(crate) local: OnceCell<Box<Address>>,
}

impl ShardStream {
    /// Ready when a connect under way has ended.
    pub(crate) fn poll_connected(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a stream's socket outlives it");
        if life.has(Op::Connect) {
            wait(&mut socket.send_waker, context.waker());
            return Poll::Pending;
        }
        Poll::Ready(outcome(socket.send_error))
    }

    /// The file descriptor, for options that are set once at the start of a connection.
    pub(crate) fn fd(&self) -> i32 {
        let mut sockets = self.core.sockets.borrow_mut();
        sockets.find(self.key).expect("a stream's socket outlives it").0.fd
    }
}

pub(crate) fn wait(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) if known.will_wake(waker) => {}
        place => *place = Some(waker.clone()),
    }
}

fn outcome(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

impl Stream for ShardStream {
    type Chunk = Lent;

    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Lent>>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a stream's socket outlives it");
        if let Some(chunk) = socket.inbox.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        if socket.ended {
            return Poll::Ready(Ok(None));
        }
        if socket.recv_error != 0 {
            return Poll::Ready(outcome(socket.recv_error).map(|()| None));
        }
        // One that waits holds no room for what comes.
        socket.inbox = VecDeque::new();
        wait(&mut socket.recv_waker, context.waker());
        socket.reader = self.core.polled.get();
        if !life.has(Op::Recv) && !socket.starved {
            self.core.arm_recv(socket.fd, life, self.key);
        }
        Poll::Pending
    }

    fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, _) = sockets.find(self.key).expect("a stream's socket outlives it");
        if socket.recv_error != 0 {
            return Poll::Ready(());
        }
        wait(&mut socket.recv_waker, context.waker());
        Poll::Pending
    }

    fn unread(&self, chunk: Lent) {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, _) = sockets.find(self.key).expect("a stream's socket outlives it");
        socket.inbox.push_front(chunk);
    }

    fn start_send(&self, data: SendBuf<Lent>) {
        self.core.start_send(self.key, data, Behind::More);
    }

    fn start_last_send(&self, data: SendBuf<Lent>) {
        self.core.start_send(self.key, data, Behind::End);
    }

    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a stream's socket outlives it");
        if life.has(Op::Send) {
            wait(&mut socket.send_waker, context.waker());
            return Poll::Pending;
        }
        Poll::Ready(outcome(socket.send_error))
    }

    fn unsent_bytes(&self) -> usize {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a stream's socket outlives it");
        if life.has(Op::Send) { socket.unsent() } else { 0 }
    }

    fn unacknowledged_bytes(&self) -> usize {
        let mut queued: libc::c_int = 0;
        // SAFETY: room for a number, valid for the call (tcp(7), unix(7): SIOCOUTQ).
        let failed = unsafe { libc::ioctl(self.fd(), libc::TIOCOUTQ, &raw mut queued) };
        let queued = if failed == 0 { usize::try_from(queued).unwrap_or(0) } else { 0 };
        self.unsent_bytes() + queued
    }

    fn shutdown_write(&self) {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a stream's socket outlives it");
        if life.has(Op::Send) {
            socket.fin_wanted = true;
        } else {
            socket.end_writing();
        }
    }

    fn reset_if_dropped(&self) {
        let mut sockets = self.core.sockets.borrow_mut();
        sockets.find(self.key).expect("a stream's socket outlives it").0.reset_if_dropped = true;
    }

    fn close(self, kind: CloseKind) {
        self.core.close(self.key, kind == CloseKind::Reset);
    }

    fn peer(&self) -> &Address {
        &self.peer
    }

    fn local(&self) -> &Address {
        self.local.get_or_init(|| Box::new(address::local(self.fd())))
    }
}

impl Drop for ShardStream {
    fn drop(&mut self) {
        let mut sockets = self.core.sockets.borrow_mut();
        let reset = sockets.find(self.key).is_some_and(|(socket, _)| socket.reset_if_dropped);
        drop(sockets);
        self.core.close(self.key, reset);
    }
}

/// A deadline in the shard's wheel.
pub struct ShardTimer {
    core: Rc<Core>,
    index: TimerIndex,
}

impl ShardTimer {
    pub(crate) fn new(core: &Rc<Core>) -> ShardTimer {
        ShardTimer { core: Rc::clone(core), index: core.wheel.borrow_mut().insert(None) }
    }
}

impl Timer for ShardTimer {
    #[inline]
    fn set(&self, at: Time) {
        self.core.wheel.borrow_mut().set(self.index, at);
    }

    fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut wheel = self.core.wheel.borrow_mut();
        if wheel.is_due(self.index, self.core.now()) {
            return Poll::Ready(());
        }
        wheel.wait(self.index, context.waker());
        Poll::Pending
    }
}

impl Drop for ShardTimer {
    fn drop(&mut self) {
        self.core.wheel.borrow_mut().remove(self.index);
    }
}
