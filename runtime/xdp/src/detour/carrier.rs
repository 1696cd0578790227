//! The thread of a detour: takes packets out of the device and sends them to backends.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;

use penstock_l4::{Buffer, Verdict, handle};

use crate::detour::one_way::OneWay;
use crate::{XdpError, now, raw};

/// What a carrier is told.
pub(super) enum Order {
    /// Packets from there go that way.
    Lead { number: u64, from: SocketAddr, way: Box<OneWay> },
    /// Whoever was led under this number needs it no more, or soon.
    Forget(u64),
}

pub(super) struct Carrier {
    queue: File,
    packet: Buffer<0>,
    orders: Receiver<Order>,
    /// Ends when its other end is closed.
    stopped: UnixStream,
    /// Sockets for whole packets, IPv4 and IPv6, which receive nothing.
    out_v4: UdpSocket,
    out_v6: Option<UdpSocket>,
    ways: Ways,
}

impl Carrier {
    /// # Errors
    /// There is no socket for what is to be sent.
    pub(super) fn new(
        queue: File,
        interface: u32,
        orders: Receiver<Order>,
        stopped: UnixStream,
    ) -> Result<Self, XdpError> {
        let out = |family| raw::open(family, libc::IPPROTO_RAW);
        Ok(Carrier {
            queue,
            packet: Buffer::new(&[], interface),
            orders,
            stopped,
            out_v4: out(libc::AF_INET).map_err(XdpError::Socket)?,
            // A kernel without IPv6 has no backends with it.
            out_v6: out(libc::AF_INET6).ok(),
            ways: Ways::default(),
        })
    }

    /// Goes on until it is stopped, or the device is gone.
    pub(super) fn run(mut self) {
        while self.wait() {
            loop {
                let queue = &mut self.queue;
                match self.packet.refill_from(PACKET_BYTES_MAX, |room| queue.read(room)) {
                    Ok(()) => self.carry(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        }
    }

    /// Until there is a packet; false when it is time to end.
    fn wait(&self) -> bool {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polls = [poll(self.queue.as_raw_fd()), poll(self.stopped.as_raw_fd())];
        // SAFETY: two of them, for as long as the call takes. That it is interrupted costs a round.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) };
        polls[1].revents == 0
    }

    /// Sends the packet in the buffer its way, if it has one. What the kernel does not take is
    /// lost like on any other way.
    fn carry(&mut self) {
        // Whoever is led has said so before his first packet.
        while let Ok(order) = self.orders.try_recv() {
            self.ways.obey(order);
        }
        let way = source_of(self.packet.as_slice()).and_then(|from| self.ways.by_source.get(&from));
        let Some((_, way)) = way else { return };
        if let Verdict::Send { .. } = handle(&mut self.packet, &**way, now()) {
            let out = if way.to.is_ipv4() { Some(&self.out_v4) } else { self.out_v6.as_ref() };
            let _ = out.map(|out| out.send_to(self.packet.as_slice(), (way.to, 0)));
        }
    }
}

/// Who is led where.
#[derive(Default)]
struct Ways {
    by_source: BTreeMap<SocketAddr, (u64, Box<OneWay>)>,
    sources: BTreeMap<u64, SocketAddr>,
    /// Those that are needed no more, oldest first.
    leaving: VecDeque<u64>,
}

impl Ways {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Lead { number, from, way } => {
                if let Some((before, _)) = self.by_source.insert(from, (number, way)) {
                    self.sources.remove(&before);
                }
                self.sources.insert(number, from);
            }
            Order::Forget(number) => self.leaving.push_back(number),
        }
        while self.leaving.len() > LEAVING_MAX
            && let Some(number) = self.leaving.pop_front()
        {
            // The port may be another's by now: then it has another number.
            if let Some(from) = self.sources.remove(&number) {
                self.by_source.remove(&from);
            }
        }
    }
}

/// From where a packet of TCP is, as the kernel sends it.
fn source_of(packet: &[u8]) -> Option<SocketAddr> {
    let (ip, at) = match packet.first()? >> 4 {
        4 if *packet.get(9)? == TCP => {
            let octets: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            (IpAddr::from(octets), usize::from(packet[0] & 15) * 4)
        }
        6 if *packet.get(6)? == TCP => {
            let octets: [u8; 16] = *packet.get(8..)?.first_chunk()?;
            (IpAddr::from(octets), 40)
        }
        _ => return None,
    };
    let port = packet.get(at..)?.first_chunk()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Its number (IANA).
const TCP: u8 = 6;
/// The longest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// Checks that have ended, and whose connections may still say so to their backends: 4 s of them
/// at 1,000 a second.
const LEAVING_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use penstock_l4::value::encap;

    use super::*;
    use penstock_l4::CheckWay;

    fn lead(number: u64, port: u16) -> Order {
        let vip = "10.9.0.10:80".parse().expect("an address");
        let backend = IpAddr::from([10, 5, 0, 2]);
        let way = CheckWay { vip, backend, outer: IpAddr::from([10, 2, 0, 2]), encap: encap::GRE };
        Order::Lead { number, from: from(port), way: Box::new(OneWay::new(&way)) }
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 2, 0, 2], port))
    }

    #[test]
    fn whoever_is_led_stays_led_for_a_while_and_then_is_forgotten() {
        let mut ways = Ways::default();
        for number in 0..LEAVING_MAX as u64 + 2 {
            ways.obey(lead(number, number as u16));
            ways.obey(Order::Forget(number));
        }
        assert_eq!((ways.by_source.len(), ways.sources.len()), (LEAVING_MAX, LEAVING_MAX));
        assert!(!ways.by_source.contains_key(&from(1)) && ways.by_source.contains_key(&from(2)));
    }

    #[test]
    fn a_port_that_is_used_again_is_not_forgotten_for_the_one_before() {
        let mut ways = Ways::default();
        ways.obey(lead(1, 7));
        ways.obey(Order::Forget(1));
        ways.obey(lead(2, 7));
        for number in 3..LEAVING_MAX as u64 + 10 {
            ways.obey(Order::Forget(number));
        }
        assert_eq!(ways.by_source.get(&from(7)).map(|(number, _)| *number), Some(2));
        assert_eq!(ways.sources.len(), 1);
    }

    #[test]
    fn the_source_is_read_of_tcp_alone_and_of_what_is_whole() {
        let mut v4 = vec![0; 28];
        (v4[0], v4[9]) = (0x46, TCP);
        v4[12..16].copy_from_slice(&[10, 2, 0, 2]);
        v4[24..26].copy_from_slice(&9_u16.to_be_bytes());
        assert_eq!(source_of(&v4), Some(from(9)));
        let mut v6 = vec![0; 60];
        (v6[0], v6[6], v6[8], v6[41]) = (0x60, TCP, 0xfd, 80);
        assert_eq!(source_of(&v6), "[fd00::]:80".parse().ok());
        for end in 0..26 {
            assert_eq!(source_of(&v4[..end]), None);
            assert_eq!(source_of(&v6[..end]), None);
        }
        v4[9] = 58;
        assert_eq!(source_of(&v4), None);
    }
}
