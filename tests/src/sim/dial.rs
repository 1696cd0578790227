//! How connections come about: listeners, connects, refusals, and silence.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use penstock_env::Address;

use super::faults::Link;
use super::node::Node;
use super::queue::Due;
use super::shared::Shared;
use super::socket::{Dial, Socket};
use super::stream::SimStream;
use super::trace::Event;
use super::world::Path;

impl Shared {
    /// Why a connect to this address does not even leave the machine.
    pub(super) fn local_error(&self, to: &Address) -> Option<io::Error> {
        match self.net.borrow().paths.get(to) {
            Some(&Path::Fails(number)) => Some(io::Error::from_raw_os_error(number)),
            _ => None,
        }
    }

    /// Begins a connect; the stream is not for use before [`Shared::poll_connected`] is ready.
    pub(super) fn dial(
        self: &Rc<Shared>,
        node: &Rc<Node>,
        to: &Address,
        from: IpAddr,
    ) -> SimStream {
        let id = self.id();
        self.record(Event::Dialed { socket: id, node: node.id });
        let mut net = self.net.borrow_mut();
        let local = match to {
            Address::Ip(_) => {
                net.next_port = net.next_port.checked_add(1).unwrap_or(32_768);
                Address::Ip(SocketAddr::new(from, net.next_port))
            }
            Address::Unix(_) => unnamed(),
        };
        let link = Link::draw(&self.faults, &mut self.rng.borrow_mut());
        let mut wait = link.latency;
        if let Some(Path::Slow(more)) = net.paths.get(to) {
            wait += *more;
        }
        let socket = Socket::new(node.clone(), local.clone(), to.clone(), link);
        net.sockets.insert(id, socket);
        drop(net);
        self.due_at(self.now() + wait, Due::Knock { from: id, to: to.clone() });
        SimStream::new(self.clone(), id, local, to.clone())
    }

    /// Whether the connect is done.
    pub(super) fn poll_connected(&self, id: u64, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        match socket.dial {
            Dial::Open => Poll::Ready(Ok(())),
            Dial::Refused => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
            Dial::Waiting => {
                socket.into.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// A connect's first packet has arrived where it was sent to.
    pub(super) fn knock(self: &Rc<Shared>, from: u64, to: &Address) {
        let mut net = self.net.borrow_mut();
        let Some(dialing) = net.sockets.get(&from) else { return };
        let (latency, remote) = (dialing.link.latency, dialing.local.clone());
        let path = net.paths.get(to).copied().unwrap_or(Path::Open);
        if path == Path::Hole {
            return;
        }
        let unlucky = self.below(1000) < self.faults.refusals_per_mille;
        let listener = net.listeners.get(to).filter(|_| path != Path::Refused && !unlucky);
        let Some((node, accept)) = listener.map(|l| (l.node.clone(), l.accept.clone())) else {
            drop(net);
            return self.due_in(latency, Due::Answer { socket: from, refused: true });
        };
        let id = self.id();
        self.record(Event::Accepted { socket: id, peer: from });
        let link = Link::draw(&self.faults, &mut self.rng.borrow_mut());
        let mut socket = Socket::new(node, to.clone(), remote.clone(), link);
        socket.peer = Some(from);
        socket.dial = Dial::Open;
        net.sockets.insert(id, socket);
        if let Some(dialing) = net.sockets.get_mut(&from) {
            dialing.peer = Some(id);
        }
        drop(net);
        self.due_in(latency, Due::Answer { socket: from, refused: false });
        let stream = SimStream::new(self.clone(), id, to.clone(), remote);
        (accept.borrow_mut())(stream);
    }

    /// The answer to a connect is back.
    pub(super) fn answer(&self, id: u64, refused: bool) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        if refused {
            self.record(Event::Refused { socket: id });
            socket.dial = Dial::Refused;
        } else {
            self.record(Event::Connected { socket: id });
            socket.dial = Dial::Open;
        }
        socket.wake_reader();
    }
}

/// What the kernel says of a unix socket that was bound to no path.
fn unnamed() -> Address {
    Address::Unix(Arc::new(PathBuf::new()))
}
