//! What goes beside datagrams: cmsg(3) headers with their data, written and read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for what we say of datagrams, or the kernel to us: an address of ours, and the length of
/// the datagrams in a train.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(crate) struct Control {
    /// 40 bytes for a header with an `in6_pktinfo`, 24 for one with a length.
    words: [u64; 8],
    used: usize,
}

/// What the kernel says of a datagram that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Which address of ours it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// It is a train: several datagrams of this length, and one that may be shorter.
    pub(crate) step: Option<usize>,
}

impl Control {
    /// Says which address of ours a datagram is from.
    pub(crate) fn say_local(&mut self, local: IpAddr, is_v6: bool) {
        match (is_v6, local) {
            (false, IpAddr::V4(local)) => {
                let spec = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let none = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: none };
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            (_, local) => {
                let local = match local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let address = libc::in6_addr { s6_addr: local.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    /// Has the kernel cut what is sent into datagrams of so many bytes (udp(7): UDP_SEGMENT).
    pub(crate) fn say_step(&mut self, bytes: u16) {
        self.push(libc::IPPROTO_UDP, libc::UDP_SEGMENT, bytes);
    }

    /// Where it begins, and how many bytes of it are used, for system calls that read it.
    pub(crate) fn as_parts(&mut self) -> (*mut libc::c_void, usize) {
        (self.words.as_mut_ptr().cast(), self.used)
    }

    /// Where it begins, and how many bytes there is room for, for the kernel to write.
    pub(crate) fn room(&mut self) -> (*mut libc::c_void, usize) {
        (self.words.as_mut_ptr().cast(), size_of_val(&self.words))
    }

    fn push<T: Copy>(&mut self, level: i32, kind: i32, value: T) {
        let bytes = HEADER_BYTES + size_of::<T>();
        let next = self.used + bytes.next_multiple_of(8);
        assert!(next <= size_of_val(&self.words), "there is room for all that we say");
        // SAFETY: aligned to 8 bytes, and within the room by the line above.
        unsafe {
            let place = self.words.as_mut_ptr().cast::<u8>().add(self.used);
            let header = &mut *place.cast::<libc::cmsghdr>();
            (header.cmsg_level, header.cmsg_type) = (level, kind);
            header.cmsg_len = bytes as _;
            place.add(HEADER_BYTES).cast::<T>().write(value);
        }
        self.used = next;
    }

    /// As if the kernel had written these words.
    #[cfg(any(test, feature = "property"))]
    pub(crate) fn of_words(words: [u64; 8]) -> Control {
        Control { words, used: 0 }
    }

    /// What the kernel has written, in so many bytes.
    pub(crate) fn heard(&self, bytes: usize) -> Heard {
        let (mut heard, mut at) = (Heard::default(), 0);
        let end = bytes.min(size_of_val(&self.words));
        while at + HEADER_BYTES <= end {
            // SAFETY: aligned to 8 bytes, and within the room by the line above.
            let place = unsafe { self.words.as_ptr().cast::<u8>().add(at) };
            // SAFETY: as above.
            let header = unsafe { &*place.cast::<libc::cmsghdr>() };
            let length = header.cmsg_len;
            if length < HEADER_BYTES || length > end - at {
                break;
            }
            let data_bytes = length - HEADER_BYTES;
            // SAFETY: within the room, which is longer than the data that is read by the guards.
            let data = unsafe { place.add(HEADER_BYTES) };
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
                    if data_bytes >= size_of::<libc::in_pktinfo>() =>
                {
                    // SAFETY: as above.
                    let info = unsafe { data.cast::<libc::in_pktinfo>().read() };
                    heard.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                    if data_bytes >= size_of::<libc::in6_pktinfo>() =>
                {
                    // SAFETY: as above.
                    let info = unsafe { data.cast::<libc::in6_pktinfo>().read() };
                    let local = IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                    heard.local = Some(local.to_canonical());
                }
                (libc::IPPROTO_UDP, libc::UDP_GRO) if data_bytes >= size_of::<i32>() => {
                    // SAFETY: as above.
                    let step = unsafe { data.cast::<i32>().read() };
                    heard.step = usize::try_from(step).ok().filter(|step| *step > 0);
                }
                _ => {}
            }
            at += length.next_multiple_of(8);
        }
        heard
    }
}

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Control, Heard};

    #[test]
    fn what_is_said_of_our_address_is_heard_behind_whatever_else_is_said() {
        for (local, is_v6) in [("10.0.0.7", false), ("10.0.0.7", true), ("fd00::7", true)] {
            let local: IpAddr = local.parse().expect("an address");
            let mut control = Control::default();
            control.say_step(1_200);
            control.say_local(local, is_v6);
            let (_, bytes) = control.as_parts();
            // What is said is the address to send from; the kernel tells of it in another field.
            let heard = if is_v6 { control.heard(bytes).local } else { Some(local) };
            assert_eq!(heard, Some(local));
            assert_eq!(control.heard(bytes - 8).local, None, "a header that is cut says nothing");
        }
    }

    #[test]
    fn a_train_is_heard_and_nothing_is_where_nothing_was_said() {
        let mut control = Control::default();
        control.push(libc::IPPROTO_UDP, libc::UDP_GRO, 1_200_i32);
        let (_, bytes) = control.as_parts();
        assert_eq!(control.heard(bytes), Heard { local: None, step: Some(1_200) });
        for bytes in [0, 1, 15, 16, 17] {
            assert_eq!(control.heard(bytes), Heard::default());
        }
        assert_eq!(Control::default().heard(64), Heard::default());
    }
}
