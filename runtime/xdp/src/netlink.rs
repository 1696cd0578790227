//! Questions to the kernel's routing and other parts, one at a time (netlink(7), rtnetlink(7)).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;

use penstock_l4::value::Address;

use crate::XdpError;

/// A socket of the namespace that it was opened in.
pub(crate) struct Netlink {
    socket: File,
    sequence: u32,
}

impl Netlink {
    /// For questions to the routing.
    pub(crate) fn open() -> Result<Self, XdpError> {
        Netlink::open_for(libc::NETLINK_ROUTE)
    }

    /// For questions to another part of the kernel.
    pub(crate) fn open_for(protocol: libc::c_int) -> Result<Self, XdpError> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: a call on numbers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(XdpError::Socket(io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just given it to us, and nobody else knows of it. What is read
        // and written is its messages, each whole.
        let socket = unsafe { File::from_raw_fd(fd) };
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Sends a message of that kind, and gives the kernel's answer.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        body: &Body,
    ) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.write_all(&message(kind, flags, self.sequence, body))?;
        loop {
            let mut answer = vec![0; ANSWER_BYTES_MAX];
            let length = self.socket.read(&mut answer)?;
            answer.truncate(length);
            let Some((header, rest)) = answer.split_first_chunk::<HEADER_BYTES>() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let [_, _, _, _, first, second, _, _, a, b, c, d, ..] = *header;
            if u32::from_ne_bytes([a, b, c, d]) != self.sequence {
                continue;
            }
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

/// What a message says: a header of its kind, and attributes.
pub(crate) struct Body(Vec<u8>);

impl Body {
    pub(crate) fn new(header: &[u8; 12]) -> Self {
        Body(header.to_vec())
    }

    /// `struct genlmsghdr` of `linux/genetlink.h`, for that part's own commands.
    pub(crate) fn generic(command: u8) -> Self {
        Body(vec![command, 1, 0, 0])
    }

    /// With one more attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// `struct nlmsghdr` of `linux/netlink.h`, and what follows.
fn message(kind: u16, flags: libc::c_int, sequence: u32, body: &Body) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(((HEADER_BYTES + body.0.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(&body.0);
    message
}

/// The family of an address, and the address on the wire.
pub(crate) fn wire(address: &Address) -> (u8, Vec<u8>) {
    let octets = address.octets();
    match address.is_v4() {
        true => (libc::AF_INET as u8, octets[12..].to_vec()),
        false => (libc::AF_INET6 as u8, octets.to_vec()),
    }
}

/// The value of an attribute of an answer, behind this many bytes of its kind's header.
pub(super) fn attribute(answer: &[u8], header_bytes: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = answer.get(HEADER_BYTES + header_bytes..)?;
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == kind {
            return rest.get(4..length);
        }
        // One that ends before its value begins is none.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// The routing table for what leads into the device of that name: "PS", and 16 bits that tell
/// devices apart.
pub(crate) fn table_of(device: &str) -> u32 {
    // FNV-1a (RFC 9923).
    let hash = device
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    0x5053_0000 | hash >> 16
}

/// `struct fib_rule_hdr` of `linux/fib_rules.h`: look a table up.
pub(crate) fn rule(family: u8, bits: u8) -> Body {
    Body::new(&[family, bits, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0])
}

/// The rule for the machine's own addresses.
pub(crate) fn own_rule(family: u8, priority: u32) -> Body {
    let table = u32::from(libc::RT_TABLE_LOCAL);
    // That of who made it, or `ip rule` shows a difference: the kernel.
    rule(family, 0)
        .with(FRA_TABLE, &table.to_ne_bytes())
        .with(FRA_PRIORITY, &priority.to_ne_bytes())
        .with(FRA_PROTOCOL, &[libc::RTPROT_KERNEL])
}

/// The route of everything into a device, in a table.
pub(crate) fn default_route(family: u8, device: u32, table: u32) -> Body {
    let is_v4 = i32::from(family) == libc::AF_INET;
    let scope = if is_v4 { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let (protocol, kind) = (libc::RTPROT_STATIC, libc::RTN_UNICAST);
    Body::new(&[family, 0, 0, 0, 0, protocol, scope, kind, 0, 0, 0, 0])
        .with(libc::RTA_OIF, &device.to_ne_bytes())
        .with(libc::RTA_TABLE, &table.to_ne_bytes())
}

/// `linux/fib_rules.h`.
pub(crate) const FRA_PRIORITY: u16 = 6;
pub(crate) const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
/// Of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;
/// A route or rule has a few attributes.
const ANSWER_BYTES_MAX: usize = 8_192;
