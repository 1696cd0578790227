//! Routes to single addresses into the device, by rtnetlink(7).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::FromRawFd;

use penstock_l4::value::Address;

use crate::XdpError;

/// A socket to the kernel's routes, of the namespace that it was opened in.
pub(super) struct Routes {
    socket: File,
    device: u32,
    sequence: u32,
}

impl Routes {
    /// For routes into the device of that index.
    pub(super) fn open(device: u32) -> Result<Self, XdpError> {
        // SAFETY: a call on numbers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if fd < 0 {
            return Err(XdpError::Socket(io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just given it to us, and nobody else knows of it. What is read
        // and written is its messages, each whole.
        let socket = unsafe { File::from_raw_fd(fd) };
        Ok(Routes { socket, device, sequence: 0 })
    }

    /// Routes an address into the device.
    pub(super) fn add(&mut self, address: &Address) -> Result<(), XdpError> {
        let failed = |error| XdpError::Route { address: ip(address), error };
        if self.is_local(address).map_err(failed)? {
            return Err(XdpError::LocalAddress(ip(address)));
        }
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let answer = self.ask(libc::RTM_NEWROUTE, flags, address, Some(self.device));
        answer.map(drop).map_err(failed)
    }

    /// Takes that back. That there is none is all right.
    pub(super) fn remove(&mut self, address: &Address) -> Result<(), XdpError> {
        match self.ask(libc::RTM_DELROUTE, libc::NLM_F_ACK, address, Some(self.device)) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(XdpError::Route { address: ip(address), error })
            }
            _ => Ok(()),
        }
    }

    /// Whether the machine has the address itself: then no route can lead elsewhere.
    fn is_local(&mut self, address: &Address) -> io::Result<bool> {
        match self.ask(libc::RTM_GETROUTE, 0, address, None) {
            Ok(answer) => Ok(answer.get(KIND_AT) == Some(&libc::RTN_LOCAL)),
            // There is no way to it yet, or one that says so.
            Err(error) => match error.raw_os_error() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES) => {
                    Ok(false)
                }
                _ => Err(error),
            },
        }
    }

    /// Sends a message about the route to one address, and gives the kernel's answer.
    fn ask(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        address: &Address,
        device: Option<u32>,
    ) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = message(kind, flags, self.sequence, address, device);
        self.socket.write_all(&message)?;
        loop {
            let mut answer = vec![0; ANSWER_BYTES_MAX];
            let length = self.socket.read(&mut answer)?;
            answer.truncate(length);
            let Some((header, rest)) = answer.split_first_chunk::<HEADER_BYTES>() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let word = |at: usize| -> [u8; 4] {
                [header[at], header[at + 1], header[at + 2], header[at + 3]]
            };
            if u32::from_ne_bytes(word(8)) != self.sequence {
                continue;
            }
            let [first, second, ..] = word(4);
            if i32::from(u16::from_ne_bytes([first, second])) != libc::NLMSG_ERROR {
                return Ok(answer);
            }
            // Zero says that it is done, all else is an errno below zero.
            let errno = rest.first_chunk().map_or(libc::EPROTO, |word| -i32::from_ne_bytes(*word));
            return match errno {
                0 => Ok(answer),
                errno => Err(io::Error::from_raw_os_error(errno)),
            };
        }
    }
}

/// `struct nlmsghdr`, `struct rtmsg` and attributes (`linux/netlink.h`, `linux/rtnetlink.h`).
fn message(
    kind: u16,
    flags: libc::c_int,
    sequence: u32,
    address: &Address,
    device: Option<u32>,
) -> Vec<u8> {
    let octets = address.octets();
    let (family, octets) = if address.is_v4() {
        (libc::AF_INET, &octets[12..])
    } else {
        (libc::AF_INET6, &octets[..])
    };
    let scope = if address.is_v4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let mut body = vec![family as u8, octets.len() as u8 * 8, 0, 0];
    body.extend([libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, scope, libc::RTN_UNICAST]);
    body.extend([0; 4]);
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend((value.len() as u16 + 4).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    };
    attribute(libc::RTA_DST, octets);
    if let Some(device) = device {
        attribute(libc::RTA_OIF, &device.to_ne_bytes());
    }
    let mut message = Vec::new();
    message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// The address as people write it.
fn ip(address: &Address) -> IpAddr {
    IpAddr::from(address.octets()).to_canonical()
}

/// Of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Where the type of a route stands, behind the header: the eighth byte of `struct rtmsg`.
const KIND_AT: usize = HEADER_BYTES + 7;
/// A route to one address has a few attributes.
const ANSWER_BYTES_MAX: usize = 8_192;
