//! Listening sockets: one of each address per shard (SO_REUSEPORT), so that no shard waits for
//! another; a unix socket is bound once and shared.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use penstock_env::Address;

use crate::address::{self, RawAddress};
use crate::batch::TRAINS_WANTED;
use crate::foreign;
use crate::socket::set_option;

/// Connections that may wait for accept; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Bytes of datagrams that may wait to be taken; the kernel caps it at `net.core.rmem_max`.
const WAITING_BYTES: i32 = 4 << 20;

/// A bound socket that connections or datagrams come in at.
pub struct Listener {
    fd: OwnedFd,
    local: Address,
    datagrams: bool,
    /// Datagrams to several addresses come in: each is answered from its own.
    is_many: bool,
}

impl Listener {
    /// Binds and listens. A unix socket's path is taken over when nobody listens there any more.
    ///
    /// # Errors
    /// The address is taken, not ours, or needs a privilege (ports below 1,024); a unix socket's
    /// path is that of something else.
    pub fn bind(address: &Address) -> io::Result<Listener> {
        Listener::bind_stream(address, false)
    }

    /// The same, at an address that need not be ours, and for connections to any other that are led
    /// here: their [local](penstock_env::Stream::local) address says which.
    ///
    /// # Errors
    /// CAP_NET_ADMIN is missing; and those of above.
    pub fn bind_foreign(address: &Address) -> io::Result<Listener> {
        Listener::bind_stream(address, true)
    }

    fn bind_stream(address: &Address, foreign: bool) -> io::Result<Listener> {
        let raw = RawAddress::new(address)?;
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers; the fd is owned at once.
        let fd = unsafe {
            let fd = libc::socket(raw.family(), kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let number = fd.as_raw_fd();
        match address {
            Address::Ip(ip) => {
                set_option(number, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32);
                set_option(number, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1_i32);
                if foreign {
                    foreign::allow(number, ip.is_ipv6())?;
                }
                // Accepted sockets inherit it.
                set_option(number, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32);
                if ip.is_ipv6() {
                    let only = i32::from(!ip.ip().is_unspecified());
                    set_option(number, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &only);
                }
            }
            Address::Unix(path) => make_room(path.as_path())?,
        }
        // SAFETY: the address is valid for the calls.
        unsafe {
            if libc::bind(number, raw.as_ptr(), raw.len()) < 0 || libc::listen(number, BACKLOG) < 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        let local = match address {
            Address::Ip(_) => address::local(number),
            Address::Unix(_) => address.clone(),
        };
        Ok(Listener { fd, local, datagrams: false, is_many: false })
    }

    /// Binds, for datagrams.
    ///
    /// # Errors
    /// As above; a unix socket has none.
    pub fn bind_datagrams(address: &Address) -> io::Result<Listener> {
        Listener::bind_packets(address, false)
    }

    /// The same, at an address that need not be ours, and for datagrams to any other that are led
    /// here with the same port: the [`Ends`](penstock_env::Ends) of each say which.
    ///
    /// # Errors
    /// As above; also where CAP_NET_ADMIN is missing.
    pub fn bind_foreign_datagrams(address: &Address) -> io::Result<Listener> {
        Listener::bind_packets(address, true)
    }

    fn bind_packets(address: &Address, foreign: bool) -> io::Result<Listener> {
        let Address::Ip(ip) = address else { return Err(io::ErrorKind::Unsupported.into()) };
        let raw = RawAddress::new(address)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain numbers; the fd is owned at once.
        let fd = unsafe {
            let fd = libc::socket(raw.family(), kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let (number, wildcard) = (fd.as_raw_fd(), ip.ip().is_unspecified());
        set_option(number, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1_i32);
        set_option(number, libc::SOL_SOCKET, libc::SO_RCVBUF, &WAITING_BYTES);
        set_option(number, libc::IPPROTO_UDP, libc::UDP_GRO, &TRAINS_WANTED);
        if ip.is_ipv6() {
            let only = i32::from(!wildcard);
            set_option(number, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &only);
        }
        if foreign {
            foreign::allow(number, ip.is_ipv6())?;
        }
        let is_many = wildcard || foreign;
        if is_many {
            let (level, name) = match ip.is_ipv6() {
                true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
                false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            };
            set_option(number, level, name, &1_i32);
        }
        // SAFETY: the address is valid for the call.
        if unsafe { libc::bind(number, raw.as_ptr(), raw.len()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Listener { local: address::local(number), fd, datagrams: true, is_many })
    }

    /// Another handle to the same socket, for a further shard.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn share(&self) -> io::Result<Listener> {
        let (fd, local) = (self.fd.try_clone()?, self.local.clone());
        Ok(Listener { fd, local, datagrams: self.datagrams, is_many: self.is_many })
    }

    /// Where it listens; with the port that the kernel chose when 0 was asked for.
    pub fn local(&self) -> &Address {
        &self.local
    }

    pub(crate) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Whether datagrams come in here, and no connections.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.datagrams
    }

    /// Whether datagrams to more than one address come in here.
    pub(crate) fn is_many(&self) -> bool {
        self.is_many
    }

    /// Whether it is a socket of IPv6, for IPv4 too perhaps.
    pub(crate) fn is_v6(&self) -> bool {
        matches!(&self.local, Address::Ip(ip) if ip.is_ipv6())
    }

    /// The path of a unix socket, which accepted ones don't know.
    pub(crate) fn unix_path(&self) -> Option<&Address> {
        matches!(self.local, Address::Unix(_)).then_some(&self.local)
    }

    /// The peer of an accepted connection.
    pub(crate) fn peer_of(&self, accepted: i32) -> Address {
        match &self.local {
            Address::Ip(_) => address::peer(accepted),
            Address::Unix(_) => self.local.clone(),
        }
    }
}

/// Removes a socket that was left at `path` by a process that died. Nothing else: one slip in a
/// config shall cost nobody a file.
fn make_room(path: &Path) -> io::Result<()> {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        let kept = "something is there that is no socket; it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, kept));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // Somebody answers, or may not be asked: to bind says so.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::{UnixListener, UnixStream};

    use penstock_env::Address;

    use super::Listener;

    #[test]
    fn a_path_is_taken_over_from_a_dead_socket_alone() {
        let folder = std::env::temp_dir().join(format!("penstock-paths-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("x.sock");
        let address: Address = format!("unix:{}", path.display()).parse().expect("an address");
        let bind = || Listener::bind(&address).map(drop).map_err(|error| error.kind());
        drop(UnixListener::bind(&path).expect("a socket that nobody listens at"));
        assert_eq!(bind(), Ok(()));
        // What that left behind is taken over, too; from somebody who listens nothing is.
        std::fs::remove_file(&path).expect("ours");
        let living = UnixListener::bind(&path).expect("a socket");
        assert_eq!(bind(), Err(ErrorKind::AddrInUse));
        UnixStream::connect(&path).expect("it is still there");
        drop(living);
        std::fs::remove_file(&path).expect("ours");
        std::fs::write(&path, "precious").expect("a file");
        assert_eq!(bind(), Err(ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(&path).expect("a file"), b"precious");
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
