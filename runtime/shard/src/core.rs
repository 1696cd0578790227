//! What a shard's streams, timers and pump share. Bound to one thread; nothing here blocks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;
use std::{io, ptr};

use io_uring::{opcode, squeue, types};
use penstock_env::{Rng, Time, Unix};

use crate::ahead::TaskMemory;
use crate::batch::Batch;
use crate::buffers::{BUFFER_BYTES, Buffers, GROUP};
use crate::clock;
use crate::conduit::Pipes;
use crate::life::{End, Life};
use crate::op::Op;
use crate::ring::Ring;
use crate::slots::{SlotKey, Slots};
use crate::socket::Socket;
use crate::task::Blocks;
use crate::wheel::Wheel;

/// Pooled buffers above this are freed: a rare large head must not stay for ever.
const POOLED_BYTES_MAX: usize = 16 * 1024;
/// Pooled buffers at most; a shard rarely has more sends under way in one pass.
const POOL_MAX: usize = 1024;
/// How long a dropped stream's last send may take before it is cut.
const LINGER: Duration = Duration::from_secs(10);

/// One shard's state.
pub struct Core {
    pub(crate) ring: RefCell<Ring>,
    pub(crate) sockets: RefCell<Slots<Socket>>,
    pub(crate) wheel: RefCell<Wheel>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) pipes: RefCell<Pipes>,
    /// Sockets whose receive ended for want of buffers.
    pub(crate) starved: RefCell<Vec<SlotKey>>,
    pub(crate) counters: Arc<Counters>,
    /// Polls of our tasks so far: the pump may sleep only when a whole turn polled none.
    pub(crate) polls: Cell<u64>,
    /// The task that is being polled.
    pub(crate) polled: Cell<TaskMemory>,
    /// Whether few enough things happen at a time that a send by system call is cheaper.
    pub(crate) direct: Cell<bool>,
    pub(crate) draining: Cell<bool>,
    /// Tasks take no further step.
    pub(crate) over: Cell<bool>,
    /// Room for datagrams, once there are some.
    pub(crate) batch: RefCell<Option<Batch>>,
    /// Where tasks are.
    pub(crate) blocks: Rc<Blocks>,
    pool: RefCell<Vec<Vec<u8>>>,
    now: Cell<Time>,
    unix: Cell<Unix>,
    rng: RefCell<Rng>,
}

/// What a shard counts about itself: written by its thread alone, read by any.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Datagrams taken in.
    pub datagrams: AtomicU64,
    /// Accepts that failed (out of file descriptors, mostly).
    pub accept_errors: AtomicU64,
    /// Receives that ended because no buffer was free.
    pub starved: AtomicU64,
    /// Conduits that found no pipe.
    pub pipes_short: AtomicU64,
    /// Tasks that ended in a panic.
    pub panics: AtomicU64,
    /// Passes over the completions.
    pub passes: AtomicU64,
}

/// Counts. With one writer a load and a store are enough, and cost what a plain addition does.
#[inline]
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Core {
    /// Sets up ring and buffers on the calling thread, which must be the one that uses them.
    ///
    /// # Errors
    /// See [`Ring::new`] and [`Buffers::register`].
    pub fn new(
        buffer_count: u16,
        pipes_max: u32,
        seed: u64,
        counters: Arc<Counters>,
    ) -> io::Result<Rc<Core>> {
        let (ring, buffers) = (Ring::new()?, Rc::new(Buffers::new(buffer_count)));
        buffers.register(&ring.submitter())?;
        let (now, unix) = clock::read();
        Ok(Rc::new(Core {
            ring: RefCell::new(ring),
            sockets: RefCell::new(Slots::new()),
            wheel: RefCell::new(Wheel::new()),
            buffers,
            pipes: RefCell::new(Pipes::new(pipes_max)),
            starved: RefCell::default(),
            counters,
            polls: Cell::new(0),
            polled: Cell::default(),
            direct: Cell::new(true),
            draining: Cell::new(false),
            over: Cell::new(false),
            batch: RefCell::default(),
            blocks: Rc::default(),
            pool: RefCell::default(),
            now: Cell::new(now),
            unix: Cell::new(unix),
            rng: RefCell::new(Rng::new(seed)),
        }))
    }

    #[inline]
    pub(crate) fn now(&self) -> Time {
        self.now.get()
    }

    /// Notes that a task of ours is being polled.
    #[inline]
    pub(crate) fn note_poll(&self, task: TaskMemory) {
        self.polls.set(self.polls.get() + 1);
        self.polled.set(task);
    }

    /// Notes that a task of ours was made.
    pub(crate) fn note_task(&self) {
        self.polls.set(self.polls.get() + 1);
    }

    pub(crate) fn unix(&self) -> Unix {
        self.unix.get()
    }

    /// As [`Core::read_clock`], but for the time of day.
    pub(crate) fn read_monotonic(&self) -> Time {
        self.now.set(clock::monotonic());
        self.now()
    }

    pub(crate) fn read_clock(&self) {
        let (now, unix) = clock::read();
        self.now.set(now);
        self.unix.set(unix);
    }

    /// Random bits that nobody can foresee: filters make keys of them. Should the kernel have none
    /// (it blocks instead since 5.6), a seeded generator stands in.
    pub(crate) fn random(&self) -> u64 {
        let mut bits = [0; 8];
        // SAFETY: 8 valid bytes.
        let filled = unsafe { libc::getrandom(bits.as_mut_ptr().cast(), bits.len(), 0) };
        if filled == 8 { u64::from_ne_bytes(bits) } else { self.rng.borrow_mut().next_u64() }
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// As [`Ring::push`].
    #[inline]
    pub(crate) unsafe fn push(&self, entry: squeue::Entry, op: Op, key: SlotKey) {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.ring.borrow_mut().push(entry, op, key) }
    }

    /// Arms the receive of a socket; it stays armed until told otherwise. Where much is held that
    /// nobody reads, for one buffer alone: the kernel fills up to 32 before we can stop it.
    pub(crate) fn arm_recv(&self, fd: i32, life: &mut Life, key: SlotKey) {
        life.begin(Op::Recv);
        let fd = types::Fd(fd);
        let entry = match self.buffers.are_crowded() {
            false => opcode::RecvMulti::new(fd, GROUP).build(),
            true => opcode::Recv::new(fd, ptr::null_mut(), BUFFER_BYTES as u32)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        // SAFETY: the operation points to no memory of ours but the registered buffers.
        unsafe { self.push(entry, Op::Recv, key) }
    }

    /// Asks for the end of an operation.
    pub(crate) fn cancel(&self, op: Op, key: SlotKey) {
        let entry = opcode::AsyncCancel::new(op.on(key)).build();
        // SAFETY: the operation points to no memory.
        unsafe { self.push(entry, Op::Cancel, key) }
    }

    /// Begins the end of a socket whose stream was dropped.
    pub(crate) fn close(&self, key: SlotKey, reset: bool) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(key) else { return };
        if !life.is_open() {
            return;
        }
        socket.forget_reader();
        if !life.release(reset) {
            let timer = self.wheel.borrow_mut().insert(Some(key));
            self.wheel.borrow_mut().set(timer, self.now() + LINGER);
            socket.timer = Some(timer);
            return;
        }
        if reset {
            socket.reset_on_close();
        }
        drop(sockets);
        self.finish_close(key);
    }

    /// Hands the close to the kernel, and asks for the end of what is still under way.
    pub(crate) fn finish_close(&self, key: SlotKey) {
        let mut sockets = self.sockets.borrow_mut();
        let Some((socket, life)) = sockets.find(key) else { return };
        let Some(to_cancel) = life.close() else { return };
        if let Some(timer) = socket.timer.take() {
            self.wheel.borrow_mut().remove(timer);
        }
        to_cancel.for_each(|op| self.cancel(op, key));
        let entry = opcode::Close::new(types::Fd(socket.fd)).build();
        // SAFETY: the operation points to no memory.
        unsafe { self.push(entry, Op::Close, key) }
    }

    /// Wakes every task, to end where it is: what it holds is dropped. Each waits on a socket or
    /// a timer, or for one that does.
    pub(crate) fn end_tasks(&self) {
        self.over.set(true);
        let mut wakers = self.wheel.borrow_mut().take_waiting();
        let keys = self.sockets.borrow().keys();
        for key in keys {
            if let Some((socket, _)) = self.sockets.borrow_mut().find(key) {
                wakers.extend(socket.recv_waker.take());
                wakers.extend(socket.send_waker.take());
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends what the kernel has under way for this shard: it lets go of the memory of it, and of
    /// the sockets, those that listen among them.
    pub(crate) fn end_operations(&self) {
        // Borrowed by the pass that panicked: then it ends with the process.
        let Ok(mut ring) = self.ring.try_borrow_mut() else { return };
        let mut completions = Vec::new();
        ring.end(&mut completions);
        for completion in completions {
            if completion.op == Op::Accept && completion.result >= 0 {
                // SAFETY: the kernel gave us this descriptor, and nobody else has it.
                unsafe { libc::close(completion.result) };
            }
        }
    }

    /// Cuts every connection and lets go of what waits on them: the shard is over. What is still
    /// in tasks goes with those.
    pub(crate) fn abandon(&self) {
        // Each keeps its task, which may keep this.
        let waiting = self.wheel.borrow_mut().take_waiting();
        drop(waiting);
        let keys = self.sockets.borrow().keys();
        for key in keys {
            let mut sockets = self.sockets.borrow_mut();
            let Some((socket, life)) = sockets.find(key) else { continue };
            // The descriptor of a close under way may be another socket's by now.
            if matches!(life.end(), End::Open | End::Wanted) {
                // An operation under way keeps the socket itself alive, so it is shut down, too;
                // one that is to be reset is so when the ring lets go of it.
                match socket.reset_if_dropped {
                    true => socket.reset_on_close(),
                    // SAFETY: the descriptor is ours and open.
                    false => drop(unsafe { libc::shutdown(socket.fd, libc::SHUT_RDWR) }),
                }
                // SAFETY: as above.
                unsafe { libc::close(socket.fd) };
            }
            life.closed();
            socket.forget_reader();
            let parked = socket.parked.take();
            drop(sockets);
            drop(parked);
        }
    }

    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.pool.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut pool = self.pool.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= POOLED_BYTES_MAX && pool.len() < POOL_MAX {
            buffer.clear();
            pool.push(buffer);
        }
    }
}
