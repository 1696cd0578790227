//! Datagrams to and from one endpoint: a connected socket for each flow.
//!
//! By plain system calls, when the ring says that a socket is ready: a datagram may have 64 KiB,
//! and buffers of that size can't be lent for each receive. Where everybody's come in: `incoming`.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_env::{Address, Datagrams};

use crate::address::RawAddress;
use crate::core::Core;
use crate::ring::Op;
use crate::slots::SlotKey;
use crate::socket::Socket;
use crate::stream::wait;

/// Datagrams to and from one endpoint.
pub struct ShardDatagrams {
    core: Rc<Core>,
    key: SlotKey,
    fd: i32,
}

impl ShardDatagrams {
    pub(crate) fn open(core: &Rc<Core>, to: &Address) -> io::Result<ShardDatagrams> {
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
        let key = core.sockets.borrow_mut().insert(Socket::new(fd));
        let opened = ShardDatagrams { core: Rc::clone(core), key, fd };
        // SAFETY: the address is valid for the call, which does not wait.
        match unsafe { libc::connect(fd, raw.as_ptr(), raw.len()) } {
            0 => Ok(opened),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Datagrams for ShardDatagrams {
    fn poll_receive(&self, context: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let mut sockets = self.core.sockets.borrow_mut();
        let (socket, life) = sockets.find(self.key).expect("a flow's socket outlives it");
        let known = std::mem::take(&mut socket.send_error);
        if known != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(known)));
        }
        if !life.readable_asked && std::mem::take(&mut socket.is_ready) {
            let room = &mut *self.core.datagram.borrow_mut();
            let flags = libc::MSG_DONTWAIT;
            // SAFETY: `room` is valid for its length.
            let got = unsafe { libc::recv(self.fd, room.as_mut_ptr().cast(), room.len(), flags) };
            if let Ok(length) = usize::try_from(got) {
                into.clear();
                into.extend_from_slice(&room[..length]);
                return Poll::Ready(Ok(()));
            }
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
                return Poll::Ready(Err(error));
            }
        }
        wait(&mut socket.recv_waker, context.waker());
        if !life.readable_asked {
            life.readable_asked = true;
            self.core.ask_ready(self.fd, Op::Readable, self.key);
        }
        Poll::Pending
    }

    fn send(&self, datagram: &[u8]) -> bool {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `datagram` is valid for the length of the call.
        let sent = unsafe { libc::send(self.fd, datagram.as_ptr().cast(), datagram.len(), flags) };
        if sent >= 0 {
            return true;
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if !is_lost_here(errno) {
            // What the network has said of an earlier one; who receives is to hear of it.
            let mut sockets = self.core.sockets.borrow_mut();
            let (socket, _) = sockets.find(self.key).expect("a flow's socket outlives it");
            socket.send_error = errno;
            if let Some(waker) = &socket.recv_waker {
                waker.wake_by_ref();
            }
        }
        false
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
