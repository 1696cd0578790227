//! Lanes without a device: packets in, packets out, packets from lane to lane.

use std::collections::VecDeque;

use penstock_l4::memory::Limits;
use penstock_l4::testing::{
    Carried, ETHERNET_BYTES, Generator, Spec, World, client_v4, client_v6, encaps, reply_to, world,
};
use penstock_l4::value::Timeouts;
use penstock_l4::{Cause, Subject, Tenure};

use super::*;
use crate::userland::post::mailboxes;

/// A queue of a device that is none.
#[derive(Default)]
struct Queue {
    to_read: VecDeque<Vec<u8>>,
    written: Vec<Vec<u8>>,
}

impl Read for Queue {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let packet = self.to_read.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        room[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }
}

impl Write for Queue {
    fn write(&mut self, packet: &[u8]) -> io::Result<usize> {
        self.written.push(packet.to_vec());
        Ok(packet.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lanes that know this world.
fn lanes(count: usize, world: &World) -> Vec<Lane<Queue>> {
    let (posts, boxes) = mailboxes(count).expect("there are descriptors");
    let boxes = boxes.into_iter().zip(0..);
    let lanes = boxes.map(|(mailbox, number)| {
        let posts = posts.clone();
        let tables = filled(world, number);
        Lane::new(number, Queue::default(), DEVICE, tables, mailbox, posts)
    });
    lanes.collect()
}

fn filled(world: &World, lane: u32) -> MemoryTables {
    let mut tables = MemoryTables::new(world.settings, &LIMITS, lane);
    for (maglev, slots) in (0..).zip(&world.maglevs) {
        tables.set_maglev(maglev, slots.clone());
    }
    for (index, backend) in &world.backends {
        tables.set_backend(*index, Some(*backend));
    }
    for (address, bits, rule) in &world.sources {
        tables.set_source(*address, *bits, Some(*rule));
    }
    for (number, vip) in &world.vips {
        // As in the kernel's test: no flow ends while two clocks are read one after the other.
        let timeouts =
            Timeouts { opening: DAY, established: DAY, closing: DAY, closed: DAY, datagram: DAY };
        tables.set_vip(*number, Some(penstock_l4::value::Vip { timeouts, ..*vip }));
    }
    for (key, number) in &world.services {
        tables.set_service(*key, Some(*number));
    }
    tables
}

/// What a lane sends of one packet; with mail read by all lanes, in turns, what any sends.
fn sent(lanes: &mut [Lane<Queue>], to: usize, packet: &[u8]) -> Option<(usize, Vec<u8>)> {
    lanes[to].queue.to_read.push_back(packet.to_vec());
    assert_eq!(lanes[to].read_some(), Life::Busy);
    let mut busy = true;
    while busy {
        busy = lanes.iter_mut().fold(false, |busy, lane| busy | (lane.open_mail() == Life::Busy));
    }
    let mut all = (0..).zip(lanes).flat_map(|(number, lane)| {
        lane.queue.written.drain(..).map(move |packet| (number, packet)).collect::<Vec<_>>()
    });
    let first = all.next();
    assert!(all.next().is_none(), "one packet, one answer");
    first
}

#[test]
fn a_lane_sends_the_bytes_that_a_frame_would_carry() {
    let mut world = world();
    for (_, _, rule) in &mut world.sources {
        rule.rate = 0;
    }
    let frames = filled(&world, 0);
    let mut lanes = lanes(1, &world);
    let mut generator = Generator::new(7, &world);
    let (mut compared, mut passed_on) = (0, 0);
    for number in 0..20_000 {
        let frame = generator.frame();
        let mut packet = Buffer::<ETHERNET_BYTES>::new(&frame, DEVICE);
        // What the frame says of the packet that is in it, or a TUN device would not have it.
        let agrees = match (frame.get(12..14), frame.get(14).map(|first| first >> 4)) {
            (Some([8, 0]), Some(4)) | (Some([0x86, 0xdd]), Some(6)) => frame[0] & 1 == 0,
            _ => false,
        };
        if !agrees {
            continue;
        }
        let verdict = handle(&mut packet, &frames, now());
        let expected = match verdict {
            Verdict::Send { .. } | Verdict::Answer(_) => {
                generator.learn(packet.as_slice());
                passed_on += 1;
                Some((0, packet.as_slice()[ETHERNET_BYTES..].to_vec()))
            }
            Verdict::Pass(_) | Verdict::Drop(_) => None,
        };
        // What follows a packet in its frame is cut off on the way to a TUN device.
        let bare = without_padding(&frame[ETHERNET_BYTES..]);
        let mut expected = expected;
        if let Some((_, bytes)) = &mut expected {
            let length = without_padding(bytes).len();
            bytes.truncate(length);
        }
        let out = sent(&mut lanes, 0, bare);
        let what = || format!("frame {number}: {verdict:?}\n{frame:02x?}");
        assert_eq!(out, expected, "{}", what());
        compared += 1;
    }
    assert!(compared > 15_000 && passed_on > 4_000, "{compared} compared, {passed_on} sent");
}

/// The packet up to the end that it says it has, if it has that much.
fn without_padding(packet: &[u8]) -> &[u8] {
    let word = |at: usize| packet.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
    let length = match packet.first().map(|first| first >> 4) {
        Some(4) => word(2).map(usize::from),
        _ => word(4).map(|length| usize::from(length) + 40),
    };
    length.and_then(|length| packet.get(..length)).unwrap_or(packet)
}

/// A client's packet to a VIP of `nat`, and the answer to what comes out of it.
fn requests() -> Vec<Spec> {
    let mut all = Vec::new();
    for (vip, ..) in &encaps()[..2] {
        let client = if vip.is_v4() { client_v4(1) } else { client_v6(1) };
        all.push(Spec::tcp((client, 40_000), (*vip, 80), SYN));
        all.push(Spec::new((client, 40_000), (*vip, 53), Carried::Udp));
        all.push(Spec::new((client, 77), (*vip, 0), Carried::Echo { answer: false }));
    }
    all
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&[0; ETHERNET_BYTES], packet].concat()
}

#[test]
fn an_answer_at_another_lane_is_sent_by_the_lane_of_its_flow() {
    let world = world();
    for request in requests() {
        for (taker, reader) in [(0, 1), (1, 2), (2, 0), (1, 1)] {
            let mut lanes = lanes(3, &world);
            let (_, out) = sent(&mut lanes, taker, &request.ip_packet()).expect("it is sent");
            let answer = reply_to(&framed(&out), SYN_ACK).expect("it has an answer");
            let (by, back) =
                sent(&mut lanes, reader, &answer[ETHERNET_BYTES..]).expect("it is sent back");
            assert_eq!(by, taker, "{request:?}");
            let client = reply_to(&framed(&back), SYN).map(|frame| frame.len());
            assert!(client.is_some() || matches!(request.carried, Carried::Echo { .. }));
            let handed = lanes[reader].handed;
            assert_eq!(handed, u64::from(taker != reader));
        }
    }
}

#[test]
fn an_error_for_a_client_goes_round_to_the_lane_that_knows_its_flow() {
    let world = world();
    for request in requests() {
        let mut lanes = lanes(3, &world);
        sent(&mut lanes, 1, &request.ip_packet()).expect("it is sent");
        let answer = reply_to(&request.frame(), SYN_ACK).expect("it has an answer");
        let vip = request.destination;
        let (from, icmp_type, code) =
            if vip.is_v4() { (client_v4(9), 3, 4) } else { (client_v6(9), 2, 0) };
        let mut error = Spec::new((from, 0), (vip, 0), Carried::Icmp { icmp_type, code });
        error.payload = answer[ETHERNET_BYTES..].to_vec();
        // Lane 2 hands it to 0, and that one to 1.
        let (by, _) = sent(&mut lanes, 2, &error.ip_packet()).expect("it is sent on");
        assert_eq!(by, 1, "{request:?}");
        // About a flow that nobody has, it goes round once and is dropped once.
        error.payload[if vip.is_v4() { 20 } else { 40 }] ^= 1;
        error.payload[if vip.is_v4() { 22 } else { 42 }] ^= 1;
        error.payload[if vip.is_v4() { 24 } else { 44 }] ^= 1;
        assert_eq!(sent(&mut lanes, 0, &error.ip_packet()), None);
        let number = if vip.is_v4() { 1 } else { 2 };
        let drops = |lane: &Lane<Queue>| {
            let all = [0, number].map(|vip| lane.tables.counters(Subject::Vip(vip)));
            let all = all.into_iter().flatten();
            all.map(|one| {
                one.causes[Cause::IcmpUnrelated as usize] + one.causes[Cause::NotOurs as usize]
            })
            .sum::<u64>()
        };
        assert_eq!(lanes.iter().map(drops).sum::<u64>(), 1, "{request:?}");
    }
}

#[test]
fn more_than_a_lane_can_take_is_refused_and_counted() {
    let world = world();
    let mut lanes = lanes(2, &world);
    let request = &requests()[1];
    let (_, out) = sent(&mut lanes, 0, &request.ip_packet()).expect("it is sent");
    let answer = reply_to(&framed(&out), SYN_ACK).expect("it has an answer");
    for _ in 0..1_500 {
        lanes[1].queue.to_read.push_back(answer[ETHERNET_BYTES..].to_vec());
        lanes[1].read_some();
    }
    assert_eq!((lanes[1].handed, lanes[1].refused), (1_024, 1_500 - 1_024));
    let mut sent = 0;
    while lanes[0].open_mail() == Life::Busy {
        sent += lanes[0].queue.written.drain(..).count();
    }
    assert_eq!(sent, 1_024);
}

#[test]
fn orders_are_obeyed_between_two_packets_and_the_last_one_ends_a_lane() {
    let world = world();
    let mut lanes = lanes(1, &world);
    let request = requests()[0].ip_packet();
    assert!(sent(&mut lanes, 0, &request).is_some());
    let (answer, parts) = std::sync::mpsc::sync_channel(1);
    let post = lanes[0].lanes[0].clone();
    post.order(Order::Flows { tenure: Tenure::New, first: 0, count: usize::MAX, answer });
    for (key, _) in &world.services {
        post.order(Order::Service(*key, None));
    }
    assert_eq!(lanes[0].open_mail(), Life::Busy);
    let (flows, more) = parts.recv().expect("it answers");
    assert_eq!((flows.len(), more), (2, false));
    let other = Spec::tcp((client_v4(2), 1_024), (encaps()[0].0, 80), SYN).ip_packet();
    assert!(sent(&mut lanes, 0, &other).is_none(), "there is no such service any more");
    post.order(Order::Stop);
    assert_eq!(lanes[0].open_mail(), Life::Over);
}

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const DEVICE: u32 = 5;
/// In ticks.
const DAY: u32 = 86_400_000;
const LIMITS: Limits = Limits {
    new_flows_max: 65_536,
    proven_flows_max: 65_536,
    buckets_max: 1_024,
    vips_max: 64,
    backends_max: 64,
};
