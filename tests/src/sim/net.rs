//! The network: bytes go from a send into the kernel, onto the wire, and out of it at the peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Rng, Time};

use super::datagrams::{DatagramSocket, Door};
use super::node::{Death, Node};
use super::queue::Due;
use super::shared::Shared;
use super::socket::{Packet, Parked, Socket};
use super::stream::{SimChunk, SimStream};
use super::trace::{Event, digest};
use super::world::Path;

/// All sockets and listeners. Ids are never used again, so a late event meets nobody.
pub(super) struct Net {
    pub(super) sockets: BTreeMap<u64, Socket>,
    pub(super) listeners: BTreeMap<Address, Listener>,
    pub(super) paths: BTreeMap<Address, Path>,
    pub(super) datagrams: BTreeMap<u64, DatagramSocket>,
    pub(super) doors: BTreeMap<Address, Door>,
    pub(super) next_port: u16,
}

/// Who listens, and what it does with a connection.
pub(super) struct Listener {
    pub(super) node: Rc<Node>,
    pub(super) accept: Accept,
}

/// Called outside of any task; must only spawn or drop.
pub(super) type Accept = Rc<RefCell<dyn FnMut(SimStream)>>;

/// What a dead machine's last hop swallows before the sender's window is shut.
const VOID_BYTES: u64 = 64 * 1024;
/// How long the send under way of a closed socket may take; the shard cuts it then as well.
pub(super) const LINGER: Duration = Duration::from_secs(10);
/// How long the kernel goes on delivering what it has of a socket that is closed.
const ORPHAN: Duration = Duration::from_secs(600);
/// A system call or a completion takes about this long.
const KERNEL: Duration = Duration::from_micros(5);

impl Net {
    pub(super) fn new() -> Net {
        Net {
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            paths: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            doors: BTreeMap::new(),
            next_port: 32_768,
        }
    }
}

impl Shared {
    /// Goes on with what a socket has to send.
    pub(super) fn pump(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        socket.out.pumping = false;
        let took = self.take_send(id, socket);
        let moved = self.transmit(&mut net, id);
        self.settle(&mut net, id);
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        let room = socket.link.send_bytes_max > socket.out.buffered.len();
        if room
            && socket.out.sending.is_none()
            && let Some(waker) = socket.out.waker.take()
        {
            // A conduit waits for room.
            waker.wake();
        }
        if moved || (room && socket.out.sending.is_some()) {
            self.plan_pump(id, socket, KERNEL);
        } else if took {
            self.plan_pump(id, socket, socket.link.latency);
        }
    }

    /// Plans a pump, unless one is planned.
    pub(super) fn plan_pump(&self, id: u64, socket: &mut Socket, about: Duration) {
        if !socket.out.pumping {
            socket.out.pumping = true;
            self.due_in(about, Due::Pump(id));
        }
    }

    /// The kernel takes some of the send under way.
    pub(super) fn take_send(&self, id: u64, socket: &mut Socket) -> bool {
        let room = socket.link.send_bytes_max.saturating_sub(socket.out.buffered.len());
        let Some(sending) = socket.out.sending.as_mut().filter(|_| room > 0) else { return false };
        let left = &sending.bytes[sending.at..];
        let passed = socket.out.passed + socket.out.buffered.len() as u64;
        let count = socket.link.cut.size(left.len().min(room), passed, &mut self.rng.borrow_mut());
        socket.out.buffered.extend(&left[..count]);
        sending.at += count;
        self.record(Event::Taken { socket: id, bytes: count });
        if sending.at == sending.bytes.len() {
            socket.finish_sending();
        }
        true
    }

    /// Puts a piece of the send buffer, or the end, on the wire.
    fn transmit(&self, net: &mut Net, id: u64) -> bool {
        let Some(socket) = net.sockets.get(&id) else { return false };
        let room = match socket.peer {
            _ if socket.void => (VOID_BYTES.saturating_sub(socket.out.passed)) as usize,
            None => return false,
            Some(peer) => match net.sockets.get(&peer) {
                Some(peer) => peer_room(peer, socket.link.receive_bytes_max),
                None => return self.transmit_to_nobody(net, id),
            },
        };
        let (peer, void) = (socket.peer, socket.void);
        let Some(socket) = net.sockets.get_mut(&id) else { return false };
        let packet = if socket.out.buffered.is_empty() {
            let end = socket.out.end_wanted && !socket.out.ended && socket.out.sending.is_none();
            if !end {
                return false;
            }
            socket.out.ended = true;
            Packet::End
        } else if room > 0 {
            let most = socket.out.buffered.len().min(room);
            let count = socket.link.cut.size(most, socket.out.passed, &mut self.rng.borrow_mut());
            socket.out.passed += count as u64;
            Packet::Bytes(socket.out.buffered.drain(..count).collect())
        } else {
            return false;
        };
        let (link, passed) = (socket.link, socket.out.passed);
        if let Some(peer) = peer.filter(|_| !void) {
            self.put_on_wire(net, peer, packet, link.latency);
            if link.reset_after.is_some_and(|after| passed > after) {
                self.curse(net, id, peer, passed);
            }
        }
        true
    }

    /// The peer's socket is gone: bytes are answered by a reset, an end by nothing.
    fn transmit_to_nobody(&self, net: &mut Net, id: u64) -> bool {
        let Some(socket) = net.sockets.get_mut(&id) else { return false };
        let latency = socket.link.latency;
        if socket.out.buffered.is_empty() {
            socket.out.ended |= socket.out.end_wanted && socket.out.sending.is_none();
        } else {
            socket.out.buffered.clear();
            self.put_on_wire(net, id, Packet::Reset, latency * 2);
        }
        false
    }

    /// The network resets a connection: both ends hear of it.
    fn curse(&self, net: &mut Net, one: u64, other: u64, after_bytes: u64) {
        self.record(Event::Cursed { socket: one, after_bytes });
        for id in [one, other] {
            if let Some(socket) = net.sockets.get_mut(&id) {
                socket.link.reset_after = None;
            }
            self.put_on_wire(net, id, Packet::Reset, KERNEL);
        }
    }

    /// Sends `packet` towards `to`. Packets stay in order; a reset may take the place of bytes
    /// that are still on the way.
    fn put_on_wire(&self, net: &mut Net, to: u64, packet: Packet, latency: Duration) {
        let Some(socket) = net.sockets.get_mut(&to) else { return };
        let wait = latency.mul_f64(0.5 + self.rng.borrow_mut().unit());
        let mut at = self.now() + wait;
        if matches!(packet, Packet::Reset) && self.below(2) == 0 {
            socket.into.wire.clear();
        }
        if let Some(&(last, _)) = socket.into.wire.back() {
            at = at.max(last);
        }
        socket.into.wire.push_back((at, packet));
        self.due_at(at, Due::Arrive(to));
    }

    /// Takes in what has arrived at a socket.
    pub(super) fn arrive(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        loop {
            let Some(socket) = net.sockets.get_mut(&id) else { return };
            if socket.into.wire.front().is_none_or(|&(at, _)| at > self.now()) {
                break;
            }
            let Some((_, packet)) = socket.into.wire.pop_front() else { break };
            // The file is closed: Linux answers data on it with a reset.
            let closed = socket.released && socket.out.sending.is_none();
            if socket.into.error.is_some() {
                // What comes after a reset is nothing: bytes before it may be missing.
                continue;
            }
            match packet {
                Packet::Bytes(_) if closed => {
                    socket.break_off(ErrorKind::ConnectionReset, ErrorKind::BrokenPipe);
                    self.send_reset(&mut net, id);
                }
                Packet::Bytes(bytes) => {
                    let digest = if self.veiled.get() { 0 } else { digest(0, &bytes) };
                    self.record(Event::Arrived { socket: id, bytes: bytes.len(), digest });
                    socket.into.buffered.extend(bytes);
                }
                Packet::End => {
                    self.record(Event::Ended { socket: id });
                    socket.into.ended = true;
                }
                Packet::Reset => {
                    self.record(Event::Reset { socket: id });
                    let send_error =
                        [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe][self.below(2) as usize];
                    socket.break_off(ErrorKind::ConnectionReset, send_error);
                }
            }
        }
        self.settle(&mut net, id);
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        self.read_ahead(id, socket);
        socket.wake_reader();
        if socket.parked.is_some() {
            self.due_in(KERNEL, Due::Unpark(id));
        }
        self.open_window(&mut net, id);
    }

    /// Lends chunks before anybody asks, while half of the pool is free.
    fn read_ahead(&self, id: u64, socket: &mut Socket) {
        let limits = socket.node.limits;
        while !socket.into.buffered.is_empty()
            && !socket.released
            && socket.parked.is_none()
            && socket.into.chunks.len() < limits.read_ahead_max
            && socket.node.lent.get() * 2 < limits.lent_max
        {
            let chunk = self.lend(id, socket);
            socket.into.chunks.push_back(chunk);
        }
    }

    /// Moves bytes of the receive buffer into a lent one. There must be some of both.
    pub(super) fn lend(&self, id: u64, socket: &mut Socket) -> SimChunk {
        let most = socket.into.buffered.len().min(socket.node.limits.lent_bytes_max);
        let rng: &mut Rng = &mut self.rng.borrow_mut();
        let count = socket.link.cut.size(most, socket.into.passed, rng);
        socket.into.passed += count as u64;
        self.record(Event::Lent { socket: id, bytes: count });
        SimChunk::new(socket.node.clone(), socket.into.buffered.drain(..count).collect())
    }

    /// The receive buffer has room: lets the peer go on.
    pub(super) fn open_window(&self, net: &mut Net, id: u64) {
        let Some(peer) = net.sockets.get(&id).and_then(|socket| socket.peer) else { return };
        if let Some(peer_socket) = net.sockets.get_mut(&peer)
            && !(peer_socket.out.buffered.is_empty() && peer_socket.out.sending.is_none())
        {
            let latency = peer_socket.link.latency;
            self.plan_pump(peer, peer_socket, latency);
        }
    }

    /// Takes a step in the end of a released socket, if it is one.
    pub(super) fn settle(&self, net: &mut Net, id: u64) {
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        if !socket.released || socket.out.sending.is_some() {
            return;
        }
        if !socket.into.buffered.is_empty() {
            // Closed with unread data: Linux sends a reset and drops what it had to send.
            socket.into.buffered.clear();
            self.send_reset(net, id);
            self.remove(net, id);
            return;
        }
        if socket.into.error.is_none() && !socket.out.end_wanted {
            socket.out.end_wanted = true;
            self.plan_pump(id, socket, KERNEL);
        }
        if socket.into.error.is_some() || (socket.drained() && !socket.void) {
            self.remove(net, id);
        }
    }

    /// Tells the peer that the connection is broken.
    pub(super) fn send_reset(&self, net: &mut Net, id: u64) {
        let Some(socket) = net.sockets.get(&id).filter(|socket| !socket.void) else { return };
        if let Some(peer) = socket.peer {
            let latency = socket.link.latency;
            self.put_on_wire(net, peer, Packet::Reset, latency);
        }
    }

    /// Forgets a socket. Bytes still on their way to it will meet nobody: a reset answers them.
    pub(super) fn remove(&self, net: &mut Net, id: u64) -> Option<Parked> {
        let on_the_way = net.sockets.get(&id)?.unread_bytes() > 0;
        if on_the_way {
            self.send_reset(net, id);
        }
        let mut socket = net.sockets.remove(&id)?;
        socket.finish_sending();
        if let Some(peer) = socket.peer
            && let Some(peer_socket) = net.sockets.get_mut(&peer)
        {
            // What it still has to send will find out.
            self.plan_pump(peer, peer_socket, socket.link.latency);
        }
        socket.parked.take()
    }

    /// A closed socket has lingered for a while: a send under way is cut; what only the kernel
    /// has to deliver gets more time.
    pub(super) fn end_linger(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get(&id).filter(|socket| socket.released) else { return };
        if socket.out.sending.is_none() && !socket.void && !socket.orphaned {
            if let Some(socket) = net.sockets.get_mut(&id) {
                socket.orphaned = true;
            }
            return self.due_at(self.now() + ORPHAN, Due::Linger(id));
        }
        self.send_reset(&mut net, id);
        let parked = self.remove(&mut net, id);
        drop(net);
        drop(parked);
    }

    /// Takes a node's listeners and sockets away; returns what the caller must drop.
    pub(super) fn cut_off(&self, node: &Node, death: Death) -> (Vec<Parked>, Vec<Listener>) {
        let mut net = self.net.borrow_mut();
        let listening: Vec<Address> = net
            .listeners
            .iter()
            .filter(|(_, listener)| listener.node.id == node.id)
            .map(|(address, _)| address.clone())
            .collect();
        let mut listeners = Vec::new();
        for address in listening {
            if death == Death::Silent {
                net.paths.insert(address.clone(), Path::Hole);
            }
            listeners.extend(net.listeners.remove(&address));
        }
        let sockets: Vec<u64> = net
            .sockets
            .iter()
            .filter(|(_, socket)| socket.node.id == node.id)
            .map(|(&id, _)| id)
            .collect();
        let mut parked = Vec::new();
        for id in sockets {
            match death {
                Death::Reset => self.send_reset(&mut net, id),
                Death::Silent => {
                    let peer = net.sockets.get(&id).and_then(|socket| socket.peer);
                    if let Some(peer) = peer.and_then(|peer| net.sockets.get_mut(&peer)) {
                        peer.void = true;
                    }
                    if let Some(socket) = net.sockets.get_mut(&id) {
                        socket.void = true;
                    }
                }
            }
            parked.extend(self.remove(&mut net, id));
        }
        (parked, listeners)
    }

    /// Wakes the readers of nodes whose lent buffers came back.
    pub(super) fn hand_buffers_round(&self) {
        let nodes = self.nodes.borrow();
        for node in nodes.iter().filter(|node| node.starved.get() && node.returned.get()) {
            node.starved.set(false);
            let mut net = self.net.borrow_mut();
            let mine = net.sockets.values_mut().filter(|socket| socket.node.id == node.id);
            mine.filter(|socket| socket.readable()).for_each(Socket::wake_reader);
        }
        nodes.iter().for_each(|node| node.returned.set(false));
    }

    /// Looks whether a parked stream is to come back now.
    pub(super) fn unpark(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        let Some(until) = socket.parked.as_ref().map(|parked| parked.until) else { return };
        let Some(wake) = self.unpark_reason(socket, until) else { return };
        let Some(parked) = socket.parked.take() else { return };
        drop(net);
        self.record(Event::Resumed { socket: id, wake });
        (parked.resume)(parked.stream, wake);
    }

    fn unpark_reason(&self, socket: &Socket, until: Time) -> Option<penstock_env::Wake> {
        if socket.readable() {
            Some(penstock_env::Wake::Readable)
        } else if until <= self.last_tick() {
            Some(penstock_env::Wake::Timeout)
        } else if socket.node.draining.get() {
            Some(penstock_env::Wake::Drain)
        } else {
            None
        }
    }
}

fn peer_room(peer: &Socket, receive_bytes_max: usize) -> usize {
    receive_bytes_max.saturating_sub(peer.unread_bytes())
}
