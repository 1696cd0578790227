//! Conduits: splice(2) from socket to pipe and from pipe to socket.
//!
//! By plain system calls that don't block, when the ring says that a socket is ready: a splice
//! through the ring always goes to another thread (the kernel forces it to be asynchronous). A
//! shard's pipes are pooled, and a conduit has one only while bytes are in it: an idle one costs
//! the ring's watch on its socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::{opcode, types};
use penstock_env::{Conduit, Flow, Torn};

use crate::buffers::Lent;
use crate::core::{Core, add};
use crate::life::Life;
use crate::op::Op;
use crate::ring::Completion;
use crate::slots::SlotKey;
use crate::stream::{ShardStream, wait};

/// A pipe, empty while it is in the pool.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// The pipes of a shard.
#[derive(Default)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    /// Those that are lent out included.
    count: u32,
    max: u32,
}

impl Pipes {
    /// At most `max` pipes.
    pub(crate) fn new(max: u32) -> Pipes {
        Pipes { free: Vec::new(), count: 0, max }
    }

    fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.count >= self.max {
            return None;
        }
        let pipe = Pipe::open().ok()?;
        self.count += 1;
        Some(pipe)
    }

    fn put(&mut self, pipe: Pipe) {
        self.free.push(pipe);
    }

    /// A pipe was closed, with what was in it.
    fn forget(&mut self) {
        self.count -= 1;
    }
}

impl Pipe {
    fn open() -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: two valid numbers; the descriptors are owned at once.
        let pipe = unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) < 0 {
                return Err(io::Error::last_os_error());
            }
            Pipe { read: OwnedFd::from_raw_fd(ends[0]), write: OwnedFd::from_raw_fd(ends[1]) }
        };
        // Where the user has as much as one may without privilege, it stays at 64 KiB: pipe(7).
        // SAFETY: plain numbers.
        unsafe { libc::fcntl(pipe.write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        Ok(pipe)
    }
}

/// A conduit between two sockets of this shard.
pub struct ShardConduit {
    core: Rc<Core>,
    from: SlotKey,
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    filled: usize,
}

impl ShardConduit {
    /// A conduit; from now on the ring does not receive from `from`.
    pub(crate) fn new(from: &ShardStream, to: &ShardStream) -> ShardConduit {
        let core = Rc::clone(&from.core);
        for stream in [from, to] {
            let fd = stream.fd();
            // SAFETY: plain numbers. Only splice(2) looks at this flag: the ring's own operations
            // on sockets wait by themselves.
            unsafe {
                let flags = libc::fcntl(fd, libc::F_GETFL);
                libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
            }
        }
        let mut sockets = core.sockets.borrow_mut();
        let (socket, life) = sockets.find(from.key).expect("a stream's socket outlives it");
        socket.held = true;
        if life.pause() {
            core.cancel(Op::Recv, from.key);
        }
        drop(sockets);
        ShardConduit { core, from: from.key, pipe: None, filled: 0 }
    }

    /// Fills the pipe, or says why not.
    fn fill(&mut self, context: &Context<'_>) -> Poll<Result<Flow<Lent>, Torn>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.from).expect("a stream's socket outlives it");
        if let Some(chunk) = socket.inbox.pop_front() {
            return Poll::Ready(Ok(Flow::Received(chunk)));
        }
        if socket.ended {
            return Poll::Ready(Ok(Flow::Ended));
        }
        if socket.recv_error != 0 {
            return Poll::Ready(Err(Torn::From));
        }
        // Before the ring has let go of it, both would take bytes.
        if life.has(Op::Recv) || life.has(Op::Readable) {
            wait(&mut socket.recv_waker, context.waker());
            return Poll::Pending;
        }
        let Some(pipe) = self.core.pipes.borrow_mut().take() else {
            add(&self.core.counters.pipes_short, 1);
            return Poll::Ready(Ok(Flow::Refused));
        };
        let moved = splice(socket.fd, pipe.write.as_raw_fd(), PIPE_BYTES as usize);
        if let Ok(1..) = moved {
            self.filled = moved.unwrap_or_default();
            self.pipe = Some(pipe);
            return Poll::Ready(Ok(Flow::Moved(self.filled)));
        }
        self.core.pipes.borrow_mut().put(pipe);
        match moved {
            Ok(_) => {
                socket.ended = true;
                Poll::Ready(Ok(Flow::Ended))
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                wait(&mut socket.recv_waker, context.waker());
                self.core.ask_ready(socket.fd, Op::Readable, life, self.from);
                Poll::Pending
            }
            Err(errno) => {
                socket.recv_error = errno;
                Poll::Ready(Err(Torn::From))
            }
        }
    }

    /// Gives the other socket what it takes.
    fn pour(&mut self, context: &Context<'_>, to: SlotKey) -> Poll<Result<usize, Torn>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(0)) };
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(to).expect("a stream's socket outlives it");
        assert!(!life.has(Op::Send), "one send at a time: wait for poll_sent");
        if socket.send_error != 0 {
            return Poll::Ready(Err(Torn::To));
        }
        if life.has(Op::Writable) {
            wait(&mut socket.send_waker, context.waker());
            return Poll::Pending;
        }
        match splice(pipe.read.as_raw_fd(), socket.fd, self.filled) {
            Ok(moved) => {
                self.filled -= moved;
                if self.filled == 0
                    && let Some(pipe) = self.pipe.take()
                {
                    self.core.pipes.borrow_mut().put(pipe);
                }
                Poll::Ready(Ok(moved))
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                wait(&mut socket.send_waker, context.waker());
                self.core.ask_ready(socket.fd, Op::Writable, life, to);
                Poll::Pending
            }
            Err(errno) => {
                socket.send_error = errno;
                Poll::Ready(Err(Torn::To))
            }
        }
    }
}

impl Conduit<ShardStream> for ShardConduit {
    const LARGE_BYTES: usize = 8 * 1024;
    const PAYS_AFTER_BYTES: u32 = 256 * 1024;

    fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        _from: &ShardStream,
        to: &ShardStream,
    ) -> Poll<Result<Flow<Lent>, Torn>> {
        if self.filled == 0 {
            match self.fill(context) {
                Poll::Ready(Ok(Flow::Moved(_))) => {}
                other => return other,
            }
        }
        self.pour(context, to.key).map_ok(Flow::Moved)
    }

    fn held_bytes(&self) -> usize {
        self.filled
    }
}

impl Drop for ShardConduit {
    fn drop(&mut self) {
        if self.pipe.take().is_some() {
            self.core.pipes.borrow_mut().forget();
        }
        let mut sockets = self.core.sockets.borrow_mut();
        if let Some((socket, _)) = sockets.find(self.from) {
            socket.held = false;
        }
    }
}

impl Core {
    /// Asks the ring to tell when a socket can be read from, or written to.
    pub(crate) fn ask_ready(&self, fd: i32, op: Op, life: &mut Life, key: SlotKey) {
        life.begin(op);
        let events = match op {
            Op::Writable => libc::POLLOUT,
            _ => libc::POLLIN | libc::POLLRDHUP,
        };
        let entry = opcode::PollAdd::new(types::Fd(fd), events as u32).build();
        // SAFETY: the operation points to no memory.
        unsafe { self.push(entry, op, key) }
    }

    pub(crate) fn on_ready(&self, completion: &Completion) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(completion.key) else { return };
        life.done(completion.op);
        let waker = match completion.op {
            Op::Writable => &socket.send_waker,
            _ => {
                socket.is_ready = true;
                &socket.recv_waker
            }
        };
        if let Some(waker) = waker {
            waker.wake_by_ref();
        }
        let over = sockets.free_if_over(completion.key);
        drop((sockets, over));
    }
}

/// Moves up to `len` bytes, as many as there are and as are taken at once.
fn splice(from: i32, to: i32, len: usize) -> Result<usize, i32> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let null = std::ptr::null_mut();
    // SAFETY: no offsets are given: neither end is a file.
    let moved = unsafe { libc::splice(from, null, to, null, len, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// What a pipe takes: 276 CPU milliseconds per GiB with this much, in the prototypes' run.
const PIPE_BYTES: i32 = 1 << 20;
