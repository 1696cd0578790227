//! `Env` for a node of the simulated world.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use penstock_env::{Address, Env, Stream, Time, Unix, Wake};

use super::conduit::SimConduit;
use super::datagrams::{SimDatagrams, SimReplies};
use super::net::Listener;
use super::node::{Limits, Node};
use super::queue::Due;
use super::shared::Shared;
use super::stream::SimStream;
use super::timers::SimTimer;
use super::trace::Event;

/// A node's handle to its world.
#[derive(Clone)]
pub struct SimEnv {
    pub(super) shared: Rc<Shared>,
    pub(super) node: Rc<Node>,
}

impl SimEnv {
    /// Gives every connection to `address` to `accept`, which must only spawn or drop. Who
    /// listened there before does so no more.
    pub fn listen(&self, address: &Address, accept: impl FnMut(SimStream) + 'static) {
        let listener = Listener { node: self.node.clone(), accept: Rc::new(RefCell::new(accept)) };
        let before = self.shared.net.borrow_mut().listeners.insert(address.clone(), listener);
        drop(before);
    }

    /// Connects to `address` are refused from now on.
    pub fn unlisten(&self, address: &Address) {
        let listener = self.shared.net.borrow_mut().listeners.remove(address);
        drop(listener);
    }

    /// Parked streams come back with [`Wake::Drain`], and those parked from now on as well.
    pub fn drain(&self) {
        self.node.draining.set(true);
        let net = self.shared.net.borrow();
        let mine = net.sockets.iter().filter(|(_, socket)| socket.node.id == self.node.id);
        for (&id, _) in mine.filter(|(_, socket)| socket.parked.is_some()) {
            self.shared.due_at(self.now(), Due::Unpark(id));
        }
    }

    /// Puts something of one's own in the trace.
    pub fn note(&self, what: &'static str, value: u64) {
        self.shared.record(Event::Noted { what, value });
    }

    /// What the node has to get by with.
    pub fn limits(&self) -> Limits {
        self.node.limits
    }

    /// Tasks of this node that panicked.
    pub fn panics_count(&self) -> u32 {
        self.node.panics.get()
    }

    /// Bytes of the largest task that was spawned on this node.
    pub fn task_bytes_max(&self) -> usize {
        self.node.task_bytes_max.get()
    }

    /// Lent buffers that are out.
    pub fn lent_count(&self) -> u32 {
        self.node.lent.get()
    }

    /// Send buffers taken and not given back. Not a leak by itself: one that was dropped, with a
    /// task that was cut off for example, is only lost to the pool.
    pub fn buffers_out(&self) -> i64 {
        self.node.buffers_out.get()
    }

    /// The address that the node's `port` has.
    pub fn address(&self, port: u16) -> Address {
        Address::Ip((self.node.ip(), port).into())
    }
}

impl SimEnv {
    fn shelve_boxed(
        &self,
        stream: SimStream,
        until: Time,
        resume: Box<dyn FnOnce(SimStream, Wake)>,
    ) {
        let again = self.clone();
        self.park(stream, until, move |stream, wake| {
            if wake != Wake::Readable {
                return resume(stream, wake);
            }
            let mut context = Context::from_waker(Waker::noop());
            loop {
                match stream.poll_recv(&mut context) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Pending => return again.shelve_boxed(stream, until, resume),
                    Poll::Ready(_) => return resume(stream, Wake::Timeout),
                }
            }
        });
    }
}

impl Env for SimEnv {
    type Stream = SimStream;
    type Conduit = SimConduit;
    type Datagrams = SimDatagrams;
    type Replies = SimReplies;
    type Timer = SimTimer;

    fn now(&self) -> Time {
        self.shared.now()
    }

    fn read_clock(&self) -> Time {
        self.now()
    }

    fn unix(&self) -> Unix {
        Unix { us: EPOCH_US + self.shared.now().as_ns() / 1_000 }
    }

    fn random(&self) -> u64 {
        self.node.rng.borrow_mut().next_u64()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if !self.node.alive() {
            return;
        }
        let largest = self.node.task_bytes_max.get().max(size_of_val(&task));
        self.node.task_bytes_max.set(largest);
        let id = self.shared.id();
        self.shared.record(Event::Spawned { task: id, node: self.node.id });
        self.shared.tasks.spawn(id, self.node.clone(), Box::pin(task));
    }

    async fn connect(&self, address: &Address) -> io::Result<SimStream> {
        self.connect_from(address, self.node.ip()).await
    }

    async fn connect_from(&self, address: &Address, from: IpAddr) -> io::Result<SimStream> {
        if !self.node.alive() {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        if let Some(error) = self.shared.local_error(address) {
            return Err(error);
        }
        let stream = self.shared.dial(&self.node, address, from);
        poll_fn(|context| self.shared.poll_connected(stream.id(), context)).await?;
        Ok(stream)
    }

    fn open_datagrams(&self, address: &Address, from: Option<IpAddr>) -> io::Result<SimDatagrams> {
        self.open(address, from.unwrap_or(self.node.ip()))
    }

    fn conduit(&self, _from: &SimStream, _to: &SimStream) -> Option<SimConduit> {
        Some(SimConduit::new(self.shared.clone()))
    }

    fn timer(&self) -> SimTimer {
        SimTimer::new(self.shared.clone(), self.node.id)
    }

    fn buffer(&self) -> Vec<u8> {
        self.node.count_buffers(1);
        Vec::new()
    }

    fn recycle(&self, _buffer: Vec<u8>) {
        self.node.count_buffers(-1);
    }

    fn is_short(&self) -> bool {
        let Limits { lent_max, .. } = self.node.limits;
        lent_max - self.node.lent.get() < lent_max.div_ceil(4)
    }

    fn park(&self, stream: SimStream, until: Time, resume: impl FnOnce(SimStream, Wake) + 'static) {
        self.shared.park(stream, until, Box::new(resume));
    }

    /// What comes is taken here, and dropped: nobody sees the difference but who would wait.
    fn shelve(
        &self,
        stream: SimStream,
        until: Time,
        resume: impl FnOnce(SimStream, Wake) + 'static,
    ) {
        self.shelve_boxed(stream, until, Box::new(resume));
    }
}

/// 2025-01-01T00:00:00Z: the time of day at the origin of the simulated clock.
const EPOCH_US: u64 = 1_735_689_600_000_000;
