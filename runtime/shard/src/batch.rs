//! Datagrams that come: those that wait at a socket by one system call, trains taken apart.

use std::io;

use penstock_env::{Address, Ends};

use crate::address::RawAddress;
use crate::control::{Control, Heard};
use crate::train::TRAIN_MAX;

/// Room for a batch of datagrams. One for all sockets of a shard.
pub(crate) struct Batch {
    data: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    parts: Vec<libc::iovec>,
    /// What the kernel is given: it points into all of the above, which never moves.
    messages: Vec<libc::mmsghdr>,
    /// How many of them it has filled.
    count: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        // SAFETY: all zeros is a valid sockaddr_storage (family AF_UNSPEC).
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut batch = Batch {
            // Untouched memory is none: a page of each is used, as long as datagrams are small.
            data: vec![0; BATCH_MAX * DATAGRAM_BYTES_MAX],
            names: vec![name; BATCH_MAX],
            controls: vec![Control::default(); BATCH_MAX],
            parts: Vec::with_capacity(BATCH_MAX),
            messages: Vec::with_capacity(BATCH_MAX),
            count: BATCH_MAX,
        };
        for room in batch.data.chunks_exact_mut(DATAGRAM_BYTES_MAX) {
            let base = room.as_mut_ptr().cast();
            batch.parts.push(libc::iovec { iov_base: base, iov_len: room.len() });
        }
        for part in &mut batch.parts {
            // SAFETY: all zeros is a valid msghdr: no name, no parts, no control.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (&raw mut *part, 1);
            batch.messages.push(libc::mmsghdr { msg_hdr: message, msg_len: 0 });
        }
        batch
    }

    /// Takes what has come, up to a batch; how many.
    ///
    /// # Errors
    /// There are none now, or an earlier send of ours was refused.
    pub(crate) fn receive(&mut self, fd: i32) -> io::Result<usize> {
        // The kernel has written over what it is told of the room for names and control data.
        for at in 0..std::mem::take(&mut self.count).max(1) {
            let message = &mut self.messages[at].msg_hdr;
            message.msg_name = (&raw mut self.names[at]).cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            let (place, bytes) = self.controls[at].room();
            (message.msg_control, message.msg_controllen) = (place, bytes as _);
        }
        let (messages, flags) = (self.messages.as_mut_ptr(), libc::MSG_DONTWAIT as _);
        // SAFETY: as many messages as we say, each with room of its own, valid for the call.
        let count =
            unsafe { libc::recvmmsg(fd, messages, BATCH_MAX as _, flags, std::ptr::null_mut()) };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// Gives what was taken to `take`, in order, up to [`TRAIN_MAX`] at a time.
    pub(crate) fn give(&self, mut take: impl FnMut(&[&[u8]])) {
        let mut burst = Burst::new();
        for at in 0..self.count {
            burst.add(self.datagrams(at, self.heard(at).step), &mut take);
        }
        burst.flush(&mut take);
    }

    /// The same of a socket that is everybody's: those that have the same ends together, with
    /// them. `bound` is the address that the socket is bound to.
    pub(crate) fn give_by_ends(&self, bound: &Address, mut take: impl FnMut(Ends, &[&[u8]])) {
        let mut all = [None; BATCH_MAX];
        for (at, one) in all[..self.count].iter_mut().enumerate() {
            let heard = self.heard(at);
            *one = self.ends(at, bound, heard).map(|ends| (ends, heard.step));
        }
        let mut burst = Burst::new();
        for at in 0..self.count {
            let Some((ends, _)) = all[at] else { continue };
            let mut take = |burst: &[&[u8]]| take(ends, burst);
            for (other, one) in all[..self.count].iter_mut().enumerate().skip(at) {
                if let Some((_, step)) = one.take_if(|(those, _)| *those == ends) {
                    burst.add(self.datagrams(other, step), &mut take);
                }
            }
            burst.flush(&mut take);
        }
    }

    fn heard(&self, at: usize) -> Heard {
        self.controls[at].heard(self.messages[at].msg_hdr.msg_controllen)
    }

    fn ends(&self, at: usize, bound: &Address, heard: Heard) -> Option<Ends> {
        let name = RawAddress::of(&self.names[at], self.messages[at].msg_hdr.msg_namelen);
        let (Address::Ip(peer), &Address::Ip(mut local)) = (name.to_address(), bound) else {
            return None;
        };
        if let Some(ip) = heard.local {
            local.set_ip(ip);
        }
        Some(Ends { peer, local })
    }

    /// A message as the datagrams that it is: one, unless it is a train.
    fn datagrams(&self, at: usize, step: Option<usize>) -> impl Iterator<Item = &[u8]> {
        let bytes = self.messages[at].msg_len as usize;
        taken_apart(&self.data[at * DATAGRAM_BYTES_MAX..][..bytes], step)
    }
}

/// What came as one, as the datagrams that it is: those of a train are `step` long.
pub(crate) fn taken_apart(all: &[u8], step: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let step = step.unwrap_or(all.len()).max(1);
    // One of no bytes is one, too.
    let empty = all.is_empty().then_some(all);
    empty.into_iter().chain(all.chunks(step))
}

/// Some datagrams that go on together.
pub(crate) struct Burst<'a> {
    list: [&'a [u8]; TRAIN_MAX],
    count: usize,
}

impl<'a> Burst<'a> {
    pub(crate) fn new() -> Burst<'a> {
        Burst { list: [&[]; TRAIN_MAX], count: 0 }
    }

    /// Adds them, and gives to `take` what is full.
    pub(crate) fn add(
        &mut self,
        more: impl Iterator<Item = &'a [u8]>,
        take: &mut impl FnMut(&[&[u8]]),
    ) {
        for one in more {
            self.list[self.count] = one;
            self.count += 1;
            if self.count == TRAIN_MAX {
                self.flush(take);
            }
        }
    }

    /// Gives what there is to `take`.
    pub(crate) fn flush(&mut self, take: &mut impl FnMut(&[&[u8]])) {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            take(&self.list[..count]);
        }
    }
}

/// Has the kernel give us trains as they come, where it knows them (udp(7): UDP_GRO, since 5.0).
pub(crate) const TRAINS_WANTED: i32 = 1;
/// Messages taken by one system call.
pub(crate) const BATCH_MAX: usize = 32;
/// The largest: what the length field of UDP can say.
const DATAGRAM_BYTES_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use penstock_env::Sent;

    use super::*;
    use crate::socket::set_option;
    use crate::train::{self, Way};

    /// Two of us, and a socket that takes trains.
    fn sockets(ip: &str) -> ([UdpSocket; 2], UdpSocket) {
        let [a, b, to] = [0; 3].map(|_| UdpSocket::bind((ip, 0)).expect("a port"));
        set_option(to.as_raw_fd(), libc::IPPROTO_UDP, libc::UDP_GRO, &TRAINS_WANTED);
        ([a, b], to)
    }

    #[test]
    fn datagrams_come_as_they_were_sent_with_their_ends_in_trains_or_not() {
        for ip in ["127.0.0.1", "::1"] {
            let (from, to) = sockets(ip);
            let bound = Address::Ip(to.local_addr().expect("bound"));
            let way =
                Way { to: &RawAddress::new(&bound).expect("fits"), control: Control::default() };
            let bytes: Vec<u8> = (0..9_000_u32).map(|at| (at % 251) as u8).collect();
            let first = [1_000, 1_000, 1_000, 10, 0, 9_000, 9_000, 1].map(|len| &bytes[..len]);
            let second = [7; 3].map(|len| &bytes[..len]);
            for (socket, burst) in [(&from[0], &first[..]), (&from[1], &second), (&from[0], &first)]
            {
                let (sent, failed) = train::send(socket.as_raw_fd(), Some(&way), burst);
                let bytes = burst.iter().map(|one| one.len()).sum();
                assert_eq!((sent, failed), (Sent { datagrams: burst.len(), bytes }, None));
            }
            let mut batch = Batch::new();
            let messages = batch.receive(to.as_raw_fd()).expect("they are here");
            assert!(messages < 2 * first.len() + second.len(), "none came as a train");
            let mut seen = Vec::new();
            batch.give_by_ends(&bound, |ends, burst| {
                assert_eq!(Address::Ip(ends.local), bound);
                seen.push((ends.peer, burst.iter().map(|one| one.to_vec()).collect::<Vec<_>>()));
            });
            let of = |socket: &UdpSocket, bursts: &[&[&[u8]]]| {
                let all = bursts.concat().iter().map(|one| one.to_vec()).collect::<Vec<_>>();
                (socket.local_addr().expect("bound"), all)
            };
            assert!(seen == [of(&from[0], &[&first, &first]), of(&from[1], &[&second])], "{ip}");
            let mut in_order = Vec::new();
            batch.give(|burst| in_order.extend(burst.iter().map(|one| one.len())));
            let lengths = [&first[..], &second, &first].concat();
            assert_eq!(in_order, lengths.iter().map(|one| one.len()).collect::<Vec<_>>());
            assert!(batch.receive(to.as_raw_fd()).is_err(), "there is nothing more");
        }
    }

    #[test]
    fn one_that_is_too_large_is_lost_for_itself() {
        let (from, to) = sockets("127.0.0.1");
        let bound = Address::Ip(to.local_addr().expect("bound"));
        let way = Way { to: &RawAddress::new(&bound).expect("fits"), control: Control::default() };
        let bytes = vec![7; 65_508];
        let burst = [&bytes[..5], &bytes, &bytes[..6]];
        let (sent, failed) = train::send(from[0].as_raw_fd(), Some(&way), &burst);
        assert_eq!((sent, failed), (Sent { datagrams: 2, bytes: 11 }, Some(libc::EMSGSIZE)));
    }
}
