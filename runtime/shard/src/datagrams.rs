//! Datagrams to and from one endpoint: a connected socket for each flow.
//!
//! By plain system calls, when the ring says that a socket is ready: a datagram may have 64 KiB,
//! and buffers of that size can't be lent for each receive. Where everybody's come in: `incoming`.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_env::{Address, Datagrams, Sent};

use crate::address::RawAddress;
use crate::batch::{Batch, TRAINS_WANTED};
use crate::core::Core;
use crate::foreign;
use crate::op::Op;
use crate::slots::SlotKey;
use crate::socket::{Socket, set_option};
use crate::stream::wait;
use crate::train;

/// Datagrams to and from one endpoint.
pub struct ShardDatagrams {
    core: Rc<Core>,
    key: SlotKey,
    fd: i32,
}

impl ShardDatagrams {
    pub(crate) fn open(
        core: &Rc<Core>,
        to: &Address,
        from: Option<IpAddr>,
    ) -> io::Result<ShardDatagrams> {
        if to.ip().is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let raw = RawAddress::new(to)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain numbers.
        let fd = unsafe { libc::socket(raw.family(), kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        set_option(fd, libc::IPPROTO_UDP, libc::UDP_GRO, &TRAINS_WANTED);
        let key = core.sockets.borrow_mut().insert(Socket::new(fd));
        let opened = ShardDatagrams { core: Rc::clone(core), key, fd };
        if let Some(from) = from {
            foreign::bind(fd, from, to)?;
        }
        // SAFETY: the address is valid for the call, which does not wait.
        match unsafe { libc::connect(fd, raw.as_ptr(), raw.len()) } {
            0 => Ok(opened),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Datagrams for ShardDatagrams {
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&[&[u8]]),
    ) -> Poll<io::Result<()>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a flow's socket outlives it");
        let known = std::mem::take(&mut socket.send_error);
        if known != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(known)));
        }
        if !life.has(Op::Readable) && std::mem::take(&mut socket.is_ready) {
            let mut batch = self.core.batch.borrow_mut();
            let batch = batch.get_or_insert_with(Batch::new);
            match batch.receive(self.fd) {
                Ok(_) => {
                    drop(sockets);
                    batch.give(take);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        wait(&mut socket.recv_waker, context.waker());
        if !life.has(Op::Readable) {
            self.core.ask_ready(self.fd, Op::Readable, life, self.key);
        }
        Poll::Pending
    }

    fn send(&self, datagrams: &[&[u8]]) -> Sent {
        let (sent, failed) = train::send(self.fd, None, datagrams);
        if let Some(errno) = failed.filter(|errno| !is_lost_here(*errno)) {
            // What the network has said of an earlier one; who receives is to hear of it.
            let mut sockets = self.core.sockets.borrow_mut();
            let (socket, _) = sockets.find(self.key).expect("a flow's socket outlives it");
            socket.send_error = errno;
            if let Some(waker) = &socket.recv_waker {
                waker.wake_by_ref();
            }
        }
        sent
    }
}

impl Drop for ShardDatagrams {
    fn drop(&mut self) {
        self.core.close(self.key, false);
    }
}

/// Errors that say nothing of the way: no room, or a datagram that is too large for it.
fn is_lost_here(errno: i32) -> bool {
    matches!(errno, libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM | libc::EMSGSIZE)
}
