//! The sockets that encapsulated packets arrive at.

use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::decap::inner::Kind;
use crate::{XdpError, raw};

/// A socket, and what it gives.
pub(super) struct Inlet {
    /// Not of UDP, but of GUE: for receiving and who has sent, a raw socket is the same.
    socket: UdpSocket,
    pub(super) kind: Kind,
}

impl Inlet {
    /// The next packet that has come, and from whom.
    pub(super) fn next<'m>(&self, memory: &'m mut [u8]) -> Option<(&'m [u8], IpAddr)> {
        let (length, source) = self.socket.recv_from(memory).ok()?;
        Some((memory.get(..length)?, source.ip().to_canonical()))
    }
}

/// One for each encapsulation and family that this kernel has.
pub(super) fn all() -> Result<Vec<Inlet>, XdpError> {
    let mut inlets = Vec::new();
    for (family, protocol, kind) in RAW {
        match raw(family, protocol) {
            Ok(socket) => inlets.push(Inlet { socket, kind }),
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(XdpError::Socket(error)),
        }
    }
    // Of both families, where there are both.
    let gue = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, GUE_PORT));
    let gue = gue.or_else(|_| UdpSocket::bind(("0.0.0.0", GUE_PORT))).map_err(XdpError::Socket)?;
    gue.set_nonblocking(true).map_err(XdpError::Socket)?;
    // RFC 6936: a tunnel may do without, as the packet inside has its own. By itself the kernel
    // drops a datagram over IPv6 that has no checksum.
    raw::set(&gue, libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, 1).map_err(XdpError::Socket)?;
    inlets.push(Inlet { socket: gue, kind: Kind::Gue });
    Ok(inlets)
}

/// Until there is something at one of them, or so many milliseconds are over.
pub(super) fn wait(inlets: &[Inlet], ms: u32) -> Result<(), XdpError> {
    let poll = |inlet: &Inlet| libc::pollfd {
        fd: inlet.socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let ms = i32::try_from(ms).unwrap_or(i32::MAX);
    let mut polls: Vec<_> = inlets.iter().map(poll).collect();
    // SAFETY: as many as we say, for as long as the call takes.
    if unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, ms) } >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(XdpError::Socket(error)),
    }
}

fn raw(family: libc::c_int, protocol: libc::c_int) -> io::Result<UdpSocket> {
    let socket = raw::open(family, protocol)?;
    // What may arrive while we are not running; beyond the system's limit it takes CAP_NET_ADMIN.
    // That the kernel refuses costs nothing but patience.
    let _ = raw::set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, QUEUE_BYTES);
    Ok(socket)
}

/// By family and number of the protocol. With IPv4 the kernel gives the outer header, too.
const RAW: [(libc::c_int, libc::c_int, Kind); 6] = [
    (libc::AF_INET, libc::IPPROTO_GRE, Kind::Gre { outer: true }),
    (libc::AF_INET, libc::IPPROTO_IPIP, Kind::Bare { outer: true }),
    (libc::AF_INET, libc::IPPROTO_IPV6, Kind::Bare { outer: true }),
    (libc::AF_INET6, libc::IPPROTO_GRE, Kind::Gre { outer: false }),
    (libc::AF_INET6, libc::IPPROTO_IPIP, Kind::Bare { outer: false }),
    (libc::AF_INET6, libc::IPPROTO_IPV6, Kind::Bare { outer: false }),
];
/// IANA's for GUE.
const GUE_PORT: u16 = 6_080;
/// `linux/udp.h`.
const UDP_NO_CHECK6_RX: libc::c_int = 102;
/// 2,700 packets of Ethernet's size.
const QUEUE_BYTES: libc::c_int = 4 << 20;
