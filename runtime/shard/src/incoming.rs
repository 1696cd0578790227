//! Datagrams of everybody at one socket: taken in batches, answered one by one.
//!
//! A socket that is bound to one address answers from it by itself. One that is bound to all is
//! told by the kernel which of them a datagram was sent to, and says so when it answers
//! (ip(7), ipv6(7): IP_PKTINFO).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use penstock_env::{Address, Ends, Replies};

use crate::address::RawAddress;
use crate::listener::Listener;

/// Answers by a socket that datagrams come in at. It stays open while somebody may answer.
#[derive(Clone)]
pub struct ShardReplies {
    listener: Rc<Listener>,
}

impl ShardReplies {
    pub(crate) fn new(listener: Rc<Listener>) -> ShardReplies {
        ShardReplies { listener }
    }
}

impl Replies for ShardReplies {
    fn send(&self, ends: &Ends, datagram: &[u8]) -> bool {
        let is_v6 = self.listener.is_v6();
        let Ok(to) = RawAddress::new(&Address::Ip(as_family(ends.peer, is_v6))) else {
            return false;
        };
        let mut part =
            libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        let mut control = Control::default();
        let mut message = empty_message();
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if self.listener.is_wildcard() {
            message.msg_controllen = control.say(ends.local.ip(), is_v6) as _;
            message.msg_control = control.words.as_mut_ptr().cast();
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: everything that the message points to is valid for the length of the call.
        unsafe { libc::sendmsg(self.listener.fd(), &raw const message, flags) >= 0 }
    }
}

/// Room for a batch of datagrams. One for all sockets of a shard.
pub(crate) struct Batch {
    data: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        // SAFETY: all zeros is a valid sockaddr_storage (family AF_UNSPEC).
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Batch {
            // Untouched memory is none: a page of each is used, as long as datagrams are small.
            data: vec![0; BATCH_MAX * DATAGRAM_BYTES_MAX],
            names: vec![name; BATCH_MAX],
            controls: vec![Control::default(); BATCH_MAX],
        }
    }

    /// Takes what has come, up to a batch, and gives each to `take` with its ends. Says how many
    /// there were.
    ///
    /// # Errors
    /// There are none now, or an earlier answer of ours was refused.
    pub(crate) fn receive(
        &mut self,
        listener: &Listener,
        mut take: impl FnMut(Ends, &[u8]),
    ) -> io::Result<usize> {
        let rooms = self.data.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let mut parts: [libc::iovec; BATCH_MAX] =
            [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
        for (part, room) in parts.iter_mut().zip(rooms) {
            *part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        }
        let mut messages: [libc::mmsghdr; BATCH_MAX] = std::array::from_fn(|at| {
            let mut message = empty_message();
            message.msg_name = (&raw mut self.names[at]).cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_iov = &raw mut parts[at];
            message.msg_iovlen = 1;
            if listener.is_wildcard() {
                message.msg_control = self.controls[at].words.as_mut_ptr().cast();
                message.msg_controllen = size_of::<Control>() as _;
            }
            libc::mmsghdr { msg_hdr: message, msg_len: 0 }
        });
        let (fd, flags) = (listener.fd(), libc::MSG_DONTWAIT as _);
        // SAFETY: as many messages as we say, each with room of its own, valid for the call.
        let count = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), BATCH_MAX as _, flags, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let bound = listener.local();
        for (at, message) in messages[..count].iter().enumerate() {
            let room = &self.data[at * DATAGRAM_BYTES_MAX..][..DATAGRAM_BYTES_MAX];
            let datagram = &room[..message.msg_len as usize];
            let peer = RawAddress::of(&self.names[at], message.msg_hdr.msg_namelen).to_address();
            let (Address::Ip(peer), &Address::Ip(mut local)) = (peer, bound) else { continue };
            if let Some(ip) = self.controls[at].heard(message.msg_hdr.msg_controllen) {
                local.set_ip(ip);
            }
            take(Ends { peer, local }, datagram);
        }
        Ok(count)
    }
}

/// What goes beside a datagram: one `cmsghdr` with an `in_pktinfo` or `in6_pktinfo`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
struct Control {
    words: [u64; 6],
}

impl Control {
    /// Says which address of ours a datagram is from; how many bytes that takes.
    fn say(&mut self, local: IpAddr, is_v6: bool) -> usize {
        let place = self.words.as_mut_ptr().cast::<u8>();
        // SAFETY: aligned, and 48 bytes: room for a header of 16 and at most 20 behind it.
        unsafe {
            let header = &mut *place.cast::<libc::cmsghdr>();
            let behind = place.add(size_of::<libc::cmsghdr>());
            let bytes = match (is_v6, local) {
                (false, IpAddr::V4(local)) => {
                    (header.cmsg_level, header.cmsg_type) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                    let spec = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                    let none = libc::in_addr { s_addr: 0 };
                    let info =
                        libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: none };
                    behind.cast::<libc::in_pktinfo>().write(info);
                    size_of::<libc::in_pktinfo>()
                }
                (_, local) => {
                    let local = match local {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    header.cmsg_level = libc::IPPROTO_IPV6;
                    header.cmsg_type = libc::IPV6_PKTINFO;
                    let address = libc::in6_addr { s6_addr: local.octets() };
                    let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                    behind.cast::<libc::in6_pktinfo>().write(info);
                    size_of::<libc::in6_pktinfo>()
                }
            };
            header.cmsg_len = (size_of::<libc::cmsghdr>() + bytes) as _;
            (size_of::<libc::cmsghdr>() + bytes).next_multiple_of(8)
        }
    }

    /// Which address of ours a datagram was sent to, if the kernel has said it in `bytes` bytes.
    fn heard(&self, bytes: usize) -> Option<IpAddr> {
        let place = self.words.as_ptr().cast::<u8>();
        if bytes < size_of::<libc::cmsghdr>() {
            return None;
        }
        // SAFETY: aligned, and as long as all that is read: a header and 20 bytes behind it.
        unsafe {
            let header = &*place.cast::<libc::cmsghdr>();
            let behind = place.add(size_of::<libc::cmsghdr>());
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = behind.cast::<libc::in_pktinfo>().read();
                    Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = behind.cast::<libc::in6_pktinfo>().read();
                    Some(IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical())
                }
                _ => None,
            }
        }
    }
}

/// The address as a socket of that family has it: one for both families knows IPv4 as mapped.
fn as_family(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match (address, is_v6) {
        (SocketAddr::V4(v4), true) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        (address, _) => address,
    }
}

fn empty_message() -> libc::msghdr {
    // SAFETY: all zeros is a valid msghdr: no name, no parts, no control.
    unsafe { std::mem::zeroed() }
}

/// Datagrams taken by one system call.
pub(crate) const BATCH_MAX: usize = 32;
/// The largest: what the length field of UDP can say.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_our_address_is_heard() {
        for (local, is_v6) in [("10.0.0.7", false), ("10.0.0.7", true), ("fd00::7", true)] {
            let local: IpAddr = local.parse().expect("an address");
            let mut control = Control::default();
            let bytes = control.say(local, is_v6);
            assert!(bytes <= size_of::<Control>());
            // What is said is the address to send from; the kernel tells of it in another field.
            let heard = if is_v6 { control.heard(bytes) } else { Some(local) };
            assert_eq!(heard, Some(local));
        }
        assert_eq!(Control::default().heard(0), None);
        assert_eq!(Control::default().heard(48), None);
    }

    #[test]
    fn a_socket_for_both_families_knows_ipv4_as_mapped() {
        let v4: SocketAddr = "10.0.0.7:53".parse().expect("an address");
        assert_eq!(as_family(v4, true).to_string(), "[::ffff:10.0.0.7]:53");
        assert_eq!(as_family(v4, false), v4);
    }
}
