//! The loop of a shard: hand over what was queued, wait, reap, wake, let the tasks run.
//!
//! It runs as a task of glommio's executor and sleeps *in our ring*, not in glommio's: sleeping
//! there takes an eventfd and three more system calls per wake-up, which at one connection is
//! nearly half of the CPU. Glommio's own timers and foreign wake-ups would wait for the next
//! completion of ours, so nothing on a shard uses them: timers are the wheel's, messages come
//! through the mailbox, which is watched by our ring.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use io_uring::{opcode, types};
use penstock_env::{Time, Wake};

use crate::batch::{BATCH_MAX, Batch};
use crate::core::{Core, add};
use crate::incoming::ShardReplies;
use crate::listener::Listener;
use crate::op::Op;
use crate::ring::Completion;
use crate::slots::SlotKey;
use crate::wheel::Due;
use crate::world::ShardEnv;
use crate::{Mailbox, Service};

/// With this many completions a pass or fewer, sends go by system call: a ring pays off when
/// it carries several operations per enter.
const DIRECT_BELOW: usize = 4;

/// Turns of the executor's queue between two looks at the ring. A stream of HTTP/2 takes three:
/// its connection reads, it answers, its connection writes.
const TURNS_MAX: usize = 4;

/// Batches of datagrams that are taken from a socket before others have their turn.
const BATCHES_MAX: usize = 4;

/// Between two tries to accept where descriptors or memory have run out.
const ACCEPT_PAUSE: types::Timespec = types::Timespec::new().nsec(100_000_000);

/// The key of operations that are the shard's own.
const NOBODY: SlotKey = SlotKey { index: 0, generation: 0 };

/// A shard at work.
pub(crate) struct Pump<S: Service> {
    core: Rc<Core>,
    env: ShardEnv,
    service: Rc<S>,
    listeners: RefCell<Vec<Option<Rc<Listener>>>>,
    mailbox: Mailbox<S::Mail>,
    mail_word: Box<u64>,
    tick: Box<types::Timespec>,
    tick_at: Time,
    pause: Box<types::Timespec>,
}

impl<S: Service> Pump<S> {
    pub(crate) fn new(env: ShardEnv, service: Rc<S>, mailbox: Mailbox<S::Mail>) -> Pump<S> {
        Pump {
            core: Rc::clone(&env.core),
            env,
            service,
            listeners: RefCell::default(),
            mailbox,
            mail_word: Box::new(0),
            tick: Box::default(),
            tick_at: Time::NEVER,
            pause: Box::new(ACCEPT_PAUSE),
        }
    }

    /// Begins to accept from `listener`, known to the service by its place in the order of calls.
    pub(crate) fn listen(&self, listener: Listener) {
        let mut listeners = self.listeners.borrow_mut();
        let key = SlotKey { index: listeners.len() as u32, generation: 0 };
        if listener.has_datagrams() {
            self.arm_datagrams(&listener, key);
        } else {
            self.arm_accept(&listener, key);
        }
        listeners.push(Some(Rc::new(listener)));
    }

    /// Runs until the service says that it is finished.
    ///
    /// # Errors
    /// The ring is broken.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut completions = Vec::with_capacity(256);
        self.arm_mail();
        loop {
            let idle = self.let_tasks_run().await;
            if self.service.is_finished() {
                self.core.end_tasks();
                while !self.let_tasks_run().await {}
                return Ok(());
            }
            self.core.feed_starved();
            self.arm_tick();
            if let Err(error) = self.core.ring.borrow_mut().enter(u32::from(idle)) {
                match error.raw_os_error() {
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                    _ => return Err(error),
                }
            }
            self.core.read_clock();
            self.core.ring.borrow_mut().reap(&mut completions);
            add(&self.core.counters.passes, 1);
            self.core.direct.set(idle && completions.len() <= DIRECT_BELOW);
            self.core.prefetch(&completions);
            for completion in completions.drain(..) {
                self.dispatch(&completion);
            }
        }
    }

    fn bring_back(&self, wake: Wake) {
        let keys = self.core.sockets.borrow().keys();
        for key in keys {
            self.core.on_due(key, wake);
        }
    }

    /// Lets tasks run: those that were woken, and those that they wake. Whether a whole turn of
    /// the executor's queue polled none of ours in the end: then nothing is runnable, and the shard
    /// may sleep. Where tasks keep each other busy, others wait for what the ring has meanwhile.
    async fn let_tasks_run(&self) -> bool {
        for _ in 0..TURNS_MAX {
            let before = self.core.polls.get();
            yield_once().await;
            if self.core.polls.get() == before {
                return true;
            }
        }
        false
    }

    fn dispatch(&mut self, completion: &Completion) {
        match completion.op {
            Op::Recv => self.core.on_recv(completion),
            Op::Send => self.core.on_send(completion),
            Op::Connect => self.core.on_connect(completion),
            Op::Close => self.core.on_close(completion),
            Op::Readable | Op::Writable => self.core.on_ready(completion),
            Op::Accept => self.on_accept(completion),
            Op::Datagrams => self.on_datagrams(completion),
            Op::Tick => self.on_tick(),
            Op::Mail => {
                while let Some(mail) = self.mailbox.take() {
                    self.service.mail(mail, self);
                }
                self.service.nudged();
                self.arm_mail();
            }
            Op::Cancel => {}
        }
    }

    fn on_accept(&self, completion: &Completion) {
        let index = completion.key.index as usize;
        let listeners = self.listeners.borrow();
        let Some(listener) = listeners.get(index).and_then(Option::as_ref) else {
            if completion.result >= 0 {
                // SAFETY: the kernel gave us this descriptor, and nobody else has it.
                unsafe { libc::close(completion.result) };
            }
            return;
        };
        if !completion.more {
            match -completion.result {
                // Nothing left to accept with: at once it would be the same again, for as long
                // as somebody waits to be accepted.
                libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                    self.service.exhausted();
                    self.arm_pause(completion.key);
                }
                _ => self.arm_accept(listener, completion.key),
            }
        }
        if completion.result < 0 {
            // ETIME is the end of such a pause.
            let failed = u64::from(completion.result != -libc::ETIME);
            add(&self.core.counters.accept_errors, failed);
            return;
        }
        add(&self.core.counters.accepted, 1);
        let fd = completion.result;
        let stream = self.env.adopt(fd, listener.peer_of(fd));
        if let Some(local) = listener.unix_path() {
            let _ = stream.local.set(Box::new(local.clone()));
        }
        let key = stream.key;
        drop(listeners);
        self.service.accept(index, stream);
        self.env.arm(key);
    }

    fn on_datagrams(&self, completion: &Completion) {
        let index = completion.key.index as usize;
        let listener = self.listeners.borrow().get(index).cloned().flatten();
        let Some(listener) = listener else { return };
        let replies = ShardReplies::new(Rc::clone(&listener));
        let mut batch = self.core.batch.borrow_mut();
        let batch = batch.get_or_insert_with(Batch::new);
        for _ in 0..BATCHES_MAX {
            // Nothing more; or an answer of ours was refused, which is told once.
            let Ok(count) = batch.receive(listener.fd()) else { break };
            let mut taken = 0;
            batch.give_by_ends(listener.local(), |ends, datagrams| {
                taken += datagrams.len() as u64;
                self.service.datagrams(index, &replies, ends, datagrams);
            });
            add(&self.core.counters.datagrams, taken);
            if count < BATCH_MAX {
                break;
            }
        }
        self.arm_datagrams(&listener, completion.key);
    }

    fn on_tick(&mut self) {
        let mut due = Vec::new();
        self.core.wheel.borrow_mut().advance(self.core.now(), |timer| due.push(timer));
        self.tick_at = Time::NEVER;
        for timer in due {
            match timer {
                Due::Task(waker) => waker.wake(),
                Due::Parked(key) => self.core.on_due(key, Wake::Timeout),
            }
        }
    }

    fn arm_accept(&self, listener: &Listener, key: SlotKey) {
        let entry =
            opcode::AcceptMulti::new(types::Fd(listener.fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: a multishot accept points to no memory of ours.
        unsafe { self.core.push(entry, Op::Accept, key) }
    }

    fn arm_datagrams(&self, listener: &Listener, key: SlotKey) {
        let events = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(listener.fd()), events).build();
        // SAFETY: the operation points to no memory.
        unsafe { self.core.push(entry, Op::Datagrams, key) }
    }

    /// Comes back to a listener after a while, with ETIME for a result.
    fn arm_pause(&self, key: SlotKey) {
        let entry = opcode::Timeout::new(&raw const *self.pause).build();
        // SAFETY: the time is boxed, never changed, and lives as long as the pump.
        unsafe { self.core.push(entry, Op::Accept, key) }
    }

    fn arm_mail(&mut self) {
        let word = (&raw mut *self.mail_word).cast();
        let entry = opcode::Read::new(types::Fd(self.mailbox.fd()), word, 8).build();
        // SAFETY: the word is boxed and lives as long as the pump, which outlives its ring's use.
        unsafe { self.core.push(entry, Op::Mail, NOBODY) }
    }

    /// Asks to be woken for the wheel's next entry, unless an earlier wake-up is on its way.
    fn arm_tick(&mut self) {
        let Some(next) = self.core.wheel.borrow().next() else { return };
        if next >= self.tick_at {
            return;
        }
        self.tick_at = next;
        *self.tick = types::Timespec::new()
            .sec(next.as_ns() / 1_000_000_000)
            .nsec((next.as_ns() % 1_000_000_000) as u32);
        let entry =
            opcode::Timeout::new(&raw const *self.tick).flags(types::TimeoutFlags::ABS).build();
        // SAFETY: the kernel copies the time when the operation is submitted, which is before
        // this is called again.
        unsafe { self.core.push(entry, Op::Tick, NOBODY) }
    }
}

impl<S: Service> Drop for Pump<S> {
    fn drop(&mut self) {
        // Some operations point to what goes with the pump, and those that were only queued (the
        // ends of listeners and connections) would never be heard of.
        self.core.end_operations();
    }
}

/// What a service may do to the shard that runs it, when a message asks for it.
pub trait Control {
    /// Stops accepting from all listeners; the kernel refuses new connections from then on.
    fn stop_listening(&self);

    /// Brings every parked stream back with [`Wake::Drain`], and keeps later ones from parking.
    fn wake_parked(&self);

    /// Brings every parked stream back with [`Wake::Review`]; it may park again.
    fn review_parked(&self);

    /// Begins to accept from one more listener; its index is the number of `listen` calls before.
    fn listen(&self, listener: Listener);

    /// Stops accepting from one listener.
    fn unlisten(&self, index: usize);
}

impl<S: Service> Control for Pump<S> {
    fn stop_listening(&self) {
        let count = self.listeners.borrow().len();
        for index in 0..count {
            self.unlisten(index);
        }
    }

    fn wake_parked(&self) {
        self.core.draining.set(true);
        self.bring_back(Wake::Drain);
    }

    fn review_parked(&self) {
        self.bring_back(Wake::Review);
    }

    fn listen(&self, listener: Listener) {
        Pump::listen(self, listener);
    }

    fn unlisten(&self, index: usize) {
        let mut listeners = self.listeners.borrow_mut();
        if let Some(listener) = listeners.get_mut(index).and_then(Option::take) {
            let op = if listener.has_datagrams() { Op::Datagrams } else { Op::Accept };
            self.core.cancel(op, SlotKey { index: index as u32, generation: 0 });
        }
    }
}

/// Gives every other runnable task its turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
