//! What the code under test holds: a stream and the chunks that it lends.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_env::{Address, Chunk, CloseKind, SendBuf, Stream, Time, Wake};

use super::net::LINGER;
use super::node::Node;
use super::queue::Due;
use super::shared::Shared;
use super::socket::{Dial, Parked, Sending};
use super::trace::Event;

/// Received bytes in one of the node's lent buffers, or copied out of one.
pub struct SimChunk {
    node: Rc<Node>,
    bytes: Vec<u8>,
    at: usize,
    lent: bool,
}

impl SimChunk {
    pub(super) fn new(node: Rc<Node>, bytes: Vec<u8>) -> SimChunk {
        let lent = !node.is_short();
        node.lent.set(node.lent.get() + u32::from(lent));
        SimChunk { node, bytes, at: 0, lent }
    }
}

impl Deref for SimChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

impl Chunk for SimChunk {
    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "{count} bytes off a chunk of {}", self.len());
        self.at += count;
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.at.saturating_add(len));
    }
}

impl Drop for SimChunk {
    fn drop(&mut self) {
        // The kernel will write into it: nobody may look any more. Only cells are touched here,
        // so a chunk may be dropped wherever it is.
        self.bytes.fill(0xdb);
        if self.lent {
            self.node.lent.set(self.node.lent.get() - 1);
            self.node.returned.set(true);
        }
    }
}

/// One end of a simulated connection.
pub struct SimStream {
    shared: Rc<Shared>,
    id: u64,
    local: Address,
    peer: Address,
    released: bool,
    reset_if_dropped: Cell<bool>,
}

impl SimStream {
    pub(super) fn new(shared: Rc<Shared>, id: u64, local: Address, peer: Address) -> SimStream {
        let reset_if_dropped = Cell::new(false);
        SimStream { shared, id, local, peer, released: false, reset_if_dropped }
    }

    /// The socket's number in the trace.
    pub fn id(&self) -> u64 {
        self.id
    }

    fn release(&mut self, kind: CloseKind) {
        if !std::mem::replace(&mut self.released, true) {
            self.shared.release(self.id, kind);
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.release(match self.reset_if_dropped.get() {
            true => CloseKind::Reset,
            false => CloseKind::Now,
        });
    }
}

impl Stream for SimStream {
    type Chunk = SimChunk;

    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<SimChunk>>> {
        self.shared.poll_recv(self.id, context)
    }

    fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&self.id) else { return Poll::Ready(()) };
        if socket.into.error.is_some() {
            return Poll::Ready(());
        }
        socket.into.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn unread(&self, chunk: SimChunk) {
        let mut net = self.shared.net.borrow_mut();
        if let Some(socket) = net.sockets.get_mut(&self.id) {
            socket.into.chunks.push_front(chunk);
            socket.wake_reader();
        }
    }

    fn start_send(&self, data: SendBuf<SimChunk>) {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&self.id) else { return };
        assert!(socket.out.sending.is_none(), "a send is under way on socket {}", self.id);
        if data.is_empty() {
            return socket.node.count_buffers(-1);
        }
        if socket.out.end_wanted {
            socket.out.error.get_or_insert(ErrorKind::BrokenPipe);
        }
        let bytes = if socket.out.error.is_some() { Vec::new() } else { data.to_vec() };
        socket.out.sending = Some(Sending { bytes, at: 0, held: data });
        if socket.out.error.is_some() {
            return socket.finish_sending();
        }
        // What the socket has room for may be taken at once: a shard with little to do does so.
        if self.shared.below(2) == 0 {
            self.shared.take_send(self.id, socket);
        }
        self.shared.plan_pump(self.id, socket, SUBMIT);
    }

    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&self.id) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        if socket.out.sending.is_some() {
            socket.out.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(socket.out.error.map_or(Ok(()), |error| Err(error.into())))
    }

    fn unsent_bytes(&self) -> usize {
        let net = self.shared.net.borrow();
        let sending = net.sockets.get(&self.id).and_then(|socket| socket.out.sending.as_ref());
        sending.map_or(0, |sending| sending.bytes.len() - sending.at)
    }

    fn unacknowledged_bytes(&self) -> usize {
        let net = self.shared.net.borrow();
        let queued = net.sockets.get(&self.id).map_or(0, |socket| socket.out.buffered.len());
        drop(net);
        self.unsent_bytes() + queued
    }

    fn shutdown_write(&self) {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&self.id) else { return };
        if socket.out.error.is_none() && !socket.out.end_wanted {
            socket.out.end_wanted = true;
            self.shared.plan_pump(self.id, socket, SUBMIT);
        }
    }

    fn reset_if_dropped(&self) {
        self.reset_if_dropped.set(true);
    }

    fn close(mut self, kind: CloseKind) {
        self.release(kind);
    }

    fn peer(&self) -> &Address {
        &self.peer
    }

    fn local(&self) -> &Address {
        &self.local
    }
}

impl Shared {
    fn poll_recv(&self, id: u64, context: &Context<'_>) -> Poll<io::Result<Option<SimChunk>>> {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        if let Some(chunk) = socket.into.chunks.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        if !socket.into.buffered.is_empty() {
            if socket.node.lent.get() >= socket.node.limits.lent_max {
                socket.node.starved.set(true);
                socket.into.waker = Some(context.waker().clone());
                self.record(Event::Starved { socket: id, node: socket.node.id });
                return Poll::Pending;
            }
            let chunk = self.lend(id, socket);
            self.open_window(&mut net, id);
            return Poll::Ready(Ok(Some(chunk)));
        }
        if let Some(error) = socket.into.error {
            return Poll::Ready(Err(error.into()));
        }
        if socket.into.ended {
            return Poll::Ready(Ok(None));
        }
        socket.into.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The stream of a socket was closed or dropped.
    fn release(&self, id: u64, kind: CloseKind) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        self.record(Event::Closed { socket: id });
        socket.released = true;
        socket.into.chunks.clear();
        let open = socket.dial == Dial::Open || socket.peer.is_some();
        if kind == CloseKind::Reset || !open {
            socket.finish_sending();
            self.send_reset(&mut net, id);
            self.remove(&mut net, id);
        } else {
            self.due_at(self.now() + LINGER, Due::Linger(id));
            self.settle(&mut net, id);
        }
    }

    /// Puts a stream aside.
    pub(super) fn park(
        &self,
        stream: SimStream,
        until: Time,
        resume: Box<dyn FnOnce(SimStream, Wake)>,
    ) {
        let id = stream.id;
        self.record(Event::Parked { socket: id });
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        socket.parked = Some(Parked { until, stream, resume });
        if self.below(2) == 0 {
            // What is readable already may come back before this returns.
            drop(net);
            self.unpark(id);
        } else {
            self.due_in(SUBMIT, Due::Unpark(id));
        }
        if until != Time::NEVER {
            self.due_at(self.tick_at(until), Due::Unpark(id));
        }
    }
}

/// From asking for a send until the kernel begins with it.
pub(super) const SUBMIT: Duration = Duration::from_micros(5);
