//! Raw sockets: packets with what is in front of their transport.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};

/// A raw socket that waits for nothing. Not of UDP: for sending, for receiving and who has sent,
/// it is the same.
pub(crate) fn open(family: libc::c_int, protocol: libc::c_int) -> io::Result<UdpSocket> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a call on numbers.
    let socket = unsafe { libc::socket(family, kind, protocol) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows of it.
    Ok(unsafe { UdpSocket::from_raw_fd(socket) })
}

/// Sets an option of a socket that is a number.
pub(crate) fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let (fd, bytes) = (socket.as_fd().as_raw_fd(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: a number, with its size.
    let failed = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), bytes) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
