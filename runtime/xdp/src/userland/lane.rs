//! One lane: a thread with a queue of the device and tables of its own.
//!
//! What comes to a lane by the kernel's choice is nearly always its own: the kernel remembers by
//! which queue a flow's packets were written, both ways of `nat` included. Where it does not (it
//! remembers 4,096 flows) the answer of a backend is handed to the lane that took its port, and an
//! ICMP error goes from lane to lane until one knows its flow.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use penstock_l4::memory::{Home, home};
use penstock_l4::value::Address;
use penstock_l4::{Buffer, MemoryTables, Packet, Tick, Verdict, handle};

use crate::now;
use crate::userland::post::{Foreign, Mailbox, Order, Post};

/// A lane, from the time when its thread begins.
pub(super) struct Lane<Q> {
    number: u32,
    /// Where packets come from and go to, a packet for each call.
    queue: Q,
    packet: Buffer<0>,
    tables: MemoryTables,
    mailbox: Mailbox,
    /// Of all lanes, this one included.
    lanes: Vec<Post>,
    /// Addresses that the machine has itself: what of theirs is not ours is for it.
    own: Arc<[Address]>,
    /// Packets that went to the lane of their flow, and those that it had no room for.
    handed: u64,
    refused: u64,
}

/// Whether a lane goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// There was something to do.
    Busy,
    /// There was nothing.
    Idle,
    /// It was told to end, or its queue is no more.
    Over,
}

impl Lane<File> {
    /// Goes on until it is told to end, or the device is gone.
    pub(super) fn run(mut self, processor: Option<u32>) {
        if let Some(processor) = processor {
            pin(processor);
        }
        loop {
            let packets = self.read_some();
            let mail = self.open_mail();
            if packets == Life::Over || mail == Life::Over {
                return;
            }
            if packets == Life::Idle && mail == Life::Idle {
                self.mailbox.lie_down();
                let mail = self.open_mail();
                if mail == Life::Idle {
                    self.wait();
                }
                self.mailbox.stand_up();
                if mail == Life::Over {
                    return;
                }
            }
        }
    }

    /// Until there is a packet or mail. That it is interrupted costs one round.
    fn wait(&self) {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polls = [poll(self.queue.as_raw_fd()), poll(self.mailbox.raw_fd())];
        // SAFETY: two of them, for as long as the call takes.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) };
    }
}

impl<Q: Read + Write> Lane<Q> {
    /// A lane that begins. `interface` is the device's index.
    pub(super) fn new(
        number: u32,
        queue: Q,
        interface: u32,
        tables: MemoryTables,
        mailbox: Mailbox,
        lanes: Vec<Post>,
    ) -> Self {
        let packet = Buffer::new(&[], interface);
        let own = Arc::new([]);
        Lane { number, queue, packet, tables, mailbox, lanes, own, handed: 0, refused: 0 }
    }

    /// Packets until there are none, but not so many that mail has to wait.
    fn read_some(&mut self) -> Life {
        for count in 0..PACKETS_AT_ONCE {
            let queue = &mut self.queue;
            match self.packet.refill_from(PACKET_BYTES_MAX, |room| queue.read(room)) {
                Ok(()) => self.take(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if count == 0 { Life::Idle } else { Life::Busy };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The device was removed.
                Err(_) => return Life::Over,
            }
        }
        Life::Busy
    }

    /// Orders and packets that are there.
    fn open_mail(&mut self) -> Life {
        let mut life = Life::Idle;
        while let Ok(order) = self.mailbox.orders.try_recv() {
            if let Order::Stop = order {
                return Life::Over;
            }
            self.obey(order);
            life = Life::Busy;
        }
        for _ in 0..PACKETS_AT_ONCE {
            let Ok(foreign) = self.mailbox.packets.try_recv() else { break };
            self.packet.refill(&foreign.bytes);
            self.take(foreign.hops);
            life = Life::Busy;
        }
        life
    }

    /// Decides over the packet in the buffer, that so many other lanes have had.
    fn take(&mut self, hops: u32) {
        let now = now();
        if self.lanes.len() > 1
            && let Some(other) = self.elsewhere(hops, now)
        {
            let bytes = self.packet.as_slice().to_vec();
            if self.lanes[other].hand(Foreign { bytes, hops: hops + 1 }) {
                self.handed += 1;
                return;
            }
            // Here it finds no flow, and is dropped by that cause.
            self.refused += 1;
        }
        match handle(&mut self.packet, &self.tables, now) {
            Verdict::Send { .. } | Verdict::Answer(_) => self.send(),
            Verdict::Pass(_) if self.is_for_the_machine() => self.send(),
            // What is handed to the kernel would come back: its route leads here.
            Verdict::Pass(_) | Verdict::Drop(_) => {}
        }
    }

    /// Hands the packet to the kernel. What it has no memory for is lost like on any other way.
    fn send(&mut self) {
        let _ = self.queue.write(self.packet.as_slice());
    }

    /// Whether the packet is for an address of the machine: the rules that lead here are not for
    /// what comes from us.
    fn is_for_the_machine(&self) -> bool {
        let is_to = |address: &Address| match self.packet.bytes::<1>(0) {
            Some([first]) if first >> 4 == 4 => {
                address.is_v4()
                    && self.packet.bytes::<4>(16).map(|word| u32::from_ne_bytes(*word))
                        == Some(address.v4_word())
            }
            _ => self.packet.bytes::<16>(24) == Some(&address.octets()),
        };
        self.own.iter().any(is_to)
    }

    /// The lane that has the packet's flow, if that is another one.
    fn elsewhere(&self, hops: u32, now: Tick) -> Option<usize> {
        let count = self.lanes.len() as u32;
        let other = match home(&self.packet, &self.tables, now) {
            Home::Here => return None,
            Home::Lane(number) => number,
            // All the others have had it: nobody knows its flow.
            Home::Elsewhere if hops + 1 >= count => return None,
            Home::Elsewhere => (self.number + 1) % count,
        };
        (other != self.number && other < count).then_some(other as usize)
    }

    fn obey(&mut self, order: Order) {
        let tables = &mut self.tables;
        // Who gives orders has looked whether the tables have room.
        match order {
            Order::Settings(settings) => tables.set_settings(settings),
            Order::Service(key, number) => tables.set_service(key, number),
            Order::Vip(number, vip) => {
                tables.set_vip(number, Some(vip));
            }
            Order::Maglev(maglev, slots) => {
                tables.set_maglev(maglev, slots);
            }
            Order::Backend(index, backend) => {
                tables.set_backend(index, backend);
            }
            Order::Source(address, bits, rule) => tables.set_source(address, bits, rule),
            Order::Own(addresses) => self.own = addresses,
            Order::Flows { tenure, first, count, answer } => {
                let (flows, more) = tables.flows_in(tenure, first, count);
                // Who asked may have lost patience.
                let _ = answer.try_send((flows.collect(), more));
            }
            Order::Settle(answer) => {
                let _ = answer.try_send(());
            }
            // Whoever opens the mail has ended.
            Order::Stop => {}
        }
    }
}

/// Keeps the calling thread on a processor. Where there is none of that number, it runs anywhere.
fn pin(processor: u32) {
    // SAFETY: a set of bits; none set is one of its values.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if processor < libc::CPU_SETSIZE as u32 {
        // SAFETY: the bit is in the set.
        unsafe { libc::CPU_SET(processor as usize, &mut set) };
        // SAFETY: a set, with its size.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    }
}

/// Packets between two looks at the mail.
const PACKETS_AT_ONCE: usize = 64;
/// The longest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;

#[cfg(test)]
mod tests;
