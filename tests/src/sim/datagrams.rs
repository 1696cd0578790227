//! Datagrams: each on its own through the network, in any order, or not at all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use penstock_env::{Address, Datagrams, Ends, Replies, Sent};

use super::env::SimEnv;
use super::node::Node;
use super::queue::Due;
use super::shared::Shared;
use super::trace::{Event, digest};
use super::world::Path;

/// A socket that has one peer.
pub(super) struct DatagramSocket {
    pub(super) node: Rc<Node>,
    local: SocketAddr,
    remote: SocketAddr,
    inbox: VecDeque<Vec<u8>>,
    refused: bool,
    waker: Option<Waker>,
}

/// Who takes the datagrams of everybody at an address.
pub(super) struct Door {
    pub(super) node: Rc<Node>,
    take: Take,
}

/// Called outside of any task; must only spawn, send or drop.
type Take = Rc<RefCell<dyn FnMut(&SimReplies, Ends, &[&[u8]])>>;

/// Datagrams to and from one peer in the simulated world.
pub struct SimDatagrams {
    shared: Rc<Shared>,
    node: Rc<Node>,
    id: u64,
}

/// The way back to those who sent datagrams to a node.
#[derive(Clone)]
pub struct SimReplies {
    shared: Rc<Shared>,
    node: Rc<Node>,
}

impl SimEnv {
    /// Gives every datagram to `address` to `take`.
    pub fn bind_datagrams(
        &self,
        address: &Address,
        take: impl FnMut(&SimReplies, Ends, &[&[u8]]) + 'static,
    ) {
        let door = Door { node: self.node.clone(), take: Rc::new(RefCell::new(take)) };
        let before = self.shared.net.borrow_mut().doors.insert(address.clone(), door);
        drop(before);
    }

    /// Nobody takes datagrams to `address` from now on.
    pub fn unbind_datagrams(&self, address: &Address) {
        let door = self.shared.net.borrow_mut().doors.remove(address);
        drop(door);
    }

    pub(super) fn open(&self, to: &Address, from: IpAddr) -> io::Result<SimDatagrams> {
        let &Address::Ip(remote) = to else { return Err(io::ErrorKind::InvalidInput.into()) };
        if !self.node.alive() {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        if let Some(error) = self.shared.local_error(to) {
            return Err(error);
        }
        let id = self.shared.id();
        let mut net = self.shared.net.borrow_mut();
        net.next_port = net.next_port.checked_add(1).unwrap_or(32_768);
        let local = SocketAddr::new(from, net.next_port);
        let (node, inbox) = (self.node.clone(), VecDeque::new());
        let socket = DatagramSocket { node, local, remote, inbox, refused: false, waker: None };
        net.datagrams.insert(id, socket);
        Ok(SimDatagrams { shared: self.shared.clone(), node: self.node.clone(), id })
    }
}

impl Datagrams for SimDatagrams {
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&[&[u8]]),
    ) -> Poll<io::Result<()>> {
        let mut net = self.shared.net.borrow_mut();
        let Some(socket) = net.datagrams.get_mut(&self.id) else { return Poll::Pending };
        if std::mem::take(&mut socket.refused) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let come = std::mem::take(&mut socket.inbox);
        if come.is_empty() {
            socket.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(net);
        let come: Vec<&[u8]> = come.iter().map(Vec::as_slice).collect();
        take(&come);
        Poll::Ready(Ok(()))
    }

    fn send(&self, datagrams: &[&[u8]]) -> Sent {
        let net = self.shared.net.borrow();
        let Some(socket) = net.datagrams.get(&self.id) else { return Sent::default() };
        let ends = Ends { peer: socket.remote, local: socket.local };
        drop(net);
        self.shared.send_datagrams(&self.node, ends, datagrams, Some(self.id))
    }
}

impl Drop for SimDatagrams {
    fn drop(&mut self) {
        let socket = self.shared.net.borrow_mut().datagrams.remove(&self.id);
        drop(socket);
    }
}

impl Replies for SimReplies {
    fn send(&self, ends: &Ends, datagrams: &[&[u8]]) -> Sent {
        self.shared.send_datagrams(&self.node, *ends, datagrams, None)
    }
}

impl Shared {
    fn send_datagrams(
        self: &Rc<Shared>,
        node: &Node,
        ends: Ends,
        datagrams: &[&[u8]],
        sender: Option<u64>,
    ) -> Sent {
        let mut sent = Sent::default();
        for datagram in datagrams {
            if self.send_datagram(node, ends, datagram, sender) {
                sent += Sent { datagrams: 1, bytes: datagram.len() };
            }
        }
        sent
    }

    /// Puts a datagram on its way from `ends.local`; who sent it by a socket of its own may hear
    /// that nobody took it.
    fn send_datagram(
        self: &Rc<Shared>,
        node: &Node,
        ends: Ends,
        datagram: &[u8],
        sender: Option<u64>,
    ) -> bool {
        if !node.alive() {
            return false;
        }
        // What breaks connections loses datagrams.
        if self.below(1000) < self.faults.resets_per_mille {
            return true;
        }
        let (shared, datagram) = (self.clone(), datagram.to_vec());
        let deliver = move |_: &_| shared.deliver(ends, &datagram, sender);
        self.due_in(self.faults.latency_max + SHORTEST, Due::Call(Box::new(deliver)));
        true
    }

    fn deliver(self: &Rc<Shared>, ends: Ends, datagram: &[u8], sender: Option<u64>) {
        let value = digest(datagram.len() as u64, datagram);
        self.record(Event::Noted { what: "datagram", value });
        let (from, to) = (ends.local, ends.peer);
        let mut net = self.net.borrow_mut();
        let path = net.paths.get(&Address::Ip(to)).copied().unwrap_or(Path::Open);
        if path == Path::Hole {
            return;
        }
        let is_for = |one: &&mut DatagramSocket| (one.local, one.remote) == (to, from);
        if let Some(socket) = net.datagrams.values_mut().find(is_for) {
            socket.inbox.push_back(datagram.to_vec());
            return socket.waker.take().into_iter().for_each(Waker::wake);
        }
        let door = net.doors.get(&Address::Ip(to)).filter(|_| path != Path::Refused);
        if let Some((node, take)) = door.map(|door| (door.node.clone(), door.take.clone())) {
            drop(net);
            let replies = SimReplies { shared: self.clone(), node };
            return (take.borrow_mut())(&replies, Ends { peer: from, local: to }, &[datagram]);
        }
        // Nobody is there, says an ICMP error.
        let sender = sender.and_then(|id| net.datagrams.get_mut(&id));
        if let Some(socket) = sender {
            socket.refused = true;
            socket.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Takes a node's doors away.
    pub(super) fn close_doors(&self, node: &Node) {
        let mut net = self.net.borrow_mut();
        let closed: Vec<_> = net.doors.extract_if(.., |_, door| door.node.id == node.id).collect();
        drop(net);
        drop(closed);
    }
}

/// Even where the network takes no time.
const SHORTEST: Duration = Duration::from_micros(10);
