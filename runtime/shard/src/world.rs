//! The real [`Env`]: what `proxy` asks for, answered by glommio's executor and our ring.

use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use io_uring::{opcode, types};
use penstock_env::{Address, Env, Time, Unix, Wake};

use crate::address::RawAddress;
use crate::conduit::ShardConduit;
use crate::core::{Core, add};
use crate::datagrams::ShardDatagrams;
use crate::foreign;
use crate::incoming::ShardReplies;
use crate::op::Op;
use crate::slots::SlotKey;
use crate::socket::{Parked, Socket, set_option};
use crate::stream::{ShardStream, ShardTimer};

/// A handle to the shard of this thread.
#[derive(Clone)]
pub struct ShardEnv {
    pub(crate) core: Rc<Core>,
}

impl ShardEnv {
    /// The stream of a socket that was accepted or is being connected.
    pub(crate) fn adopt(&self, fd: i32, peer: Address) -> ShardStream {
        let key = self.core.sockets.borrow_mut().insert(Socket::new(fd));
        ShardStream { core: Rc::clone(&self.core), key, peer, local: OnceCell::new() }
    }

    /// Begins to receive, unless nobody wants to, or already does.
    pub(crate) fn arm(&self, key: SlotKey) {
        let mut sockets = self.core.sockets.borrow_mut();
        if let Some((socket, life)) = sockets.find(key)
            && life.is_open()
            && !life.has(Op::Recv)
            && !socket.held
        {
            self.core.arm_recv(socket.fd, life, key);
        }
    }

    fn begin_connect(&self, to: &Address, from: Option<IpAddr>) -> io::Result<ShardStream> {
        let raw = Box::new(RawAddress::new(to)?);
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers.
        let fd = unsafe { libc::socket(raw.family(), kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let stream = self.adopt(fd, to.clone());
        if let Some(from) = from {
            foreign::bind(fd, from, to)?;
        }
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(stream.key).expect("just inserted");
        socket.delays = to.ip().is_some();
        life.begin(Op::Connect);
        let entry = opcode::Connect::new(types::Fd(fd), raw.as_ptr(), raw.len()).build();
        socket.address = Some(raw);
        // SAFETY: the address is boxed and kept in the slot until the connect is over.
        unsafe { self.core.push(entry, Op::Connect, stream.key) };
        drop(sockets);
        Ok(stream)
    }
}

impl Env for ShardEnv {
    type Stream = ShardStream;
    type Conduit = ShardConduit;
    type Datagrams = ShardDatagrams;
    type Replies = ShardReplies;
    type Timer = ShardTimer;

    #[inline]
    fn now(&self) -> Time {
        self.core.now()
    }

    fn read_clock(&self) -> Time {
        self.core.read_monotonic()
    }

    fn unix(&self) -> Unix {
        self.core.unix()
    }

    fn random(&self) -> u64 {
        self.core.random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let core = Rc::clone(&self.core);
        // At a place of its own: moved once, and it can be told where to.
        let mut task = core.blocks.place(task);
        let guarded = poll_fn(move |context| {
            core.note_poll(task.memory());
            if core.over.get() {
                return Poll::Ready(());
            }
            // After a panic the task is never polled again, only dropped.
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut task).poll(context))) {
                Ok(poll) => poll,
                Err(_) => {
                    add(&core.counters.panics, 1);
                    tracing::error!("a connection's task panicked; its connection is closed");
                    Poll::Ready(())
                }
            }
        });
        glommio::spawn_local(guarded).detach();
        // The new task stands behind the pump in the queue: one more turn before sleeping.
        self.core.note_task();
    }

    async fn connect(&self, address: &Address) -> io::Result<ShardStream> {
        let stream = self.begin_connect(address, None)?;
        poll_fn(|context| stream.poll_connected(context)).await?;
        Ok(stream)
    }

    async fn connect_from(&self, address: &Address, from: IpAddr) -> io::Result<ShardStream> {
        let stream = self.begin_connect(address, Some(from))?;
        poll_fn(|context| stream.poll_connected(context)).await?;
        Ok(stream)
    }

    fn open_datagrams(
        &self,
        address: &Address,
        from: Option<IpAddr>,
    ) -> io::Result<ShardDatagrams> {
        ShardDatagrams::open(&self.core, address, from)
    }

    fn conduit(&self, from: &ShardStream, to: &ShardStream) -> Option<ShardConduit> {
        Some(ShardConduit::new(from, to))
    }

    fn timer(&self) -> ShardTimer {
        ShardTimer::new(&self.core)
    }

    fn buffer(&self) -> Vec<u8> {
        self.core.buffer()
    }

    fn recycle(&self, buffer: Vec<u8>) {
        self.core.recycle(buffer);
    }

    fn is_short(&self) -> bool {
        self.core.buffers.are_crowded()
    }

    fn shelve(
        &self,
        stream: ShardStream,
        until: Time,
        resume: impl FnOnce(ShardStream, Wake) + 'static,
    ) {
        if self.core.draining.get() {
            return resume(stream, Wake::Drain);
        }
        let key = stream.key;
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(key).expect("a stream's socket outlives it");
        assert!(!life.has(Op::Recv), "nothing was received yet, nor is to be");
        socket.held = true;
        // The kernel takes the least that it can.
        set_option(socket.fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &1_i32);
        let timer = self.core.wheel.borrow_mut().insert(Some(key));
        self.core.wheel.borrow_mut().set(timer, until);
        socket.timer = Some(timer);
        socket.parked = Some(Box::new(Parked { stream, resume: Box::new(resume) }));
    }

    fn park(
        &self,
        stream: ShardStream,
        until: Time,
        resume: impl FnOnce(ShardStream, Wake) + 'static,
    ) {
        let key = stream.key;
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(key).expect("a stream's socket outlives it");
        let readable = !socket.inbox.is_empty() || socket.ended || socket.recv_error != 0;
        if readable || self.core.draining.get() {
            drop(sockets);
            return resume(stream, if readable { Wake::Readable } else { Wake::Drain });
        }
        let timer = self.core.wheel.borrow_mut().insert(Some(key));
        self.core.wheel.borrow_mut().set(timer, until);
        socket.timer = Some(timer);
        socket.recv_waker = None;
        socket.inbox.shrink_to_fit();
        socket.parked = Some(Box::new(Parked { stream, resume: Box::new(resume) }));
        if !life.has(Op::Recv) && !socket.starved {
            self.core.arm_recv(socket.fd, life, key);
        }
    }
}
