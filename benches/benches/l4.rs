//! What a packet costs in userland: nanoseconds of `handle` for each mode, over tables in memory.
//!
//! `cargo bench -p penstock-benches --bench l4`. The eBPF program runs the same code over the
//! kernel's maps; what it costs there is not measured here.

use std::hint::black_box;
use std::time::Instant;

use penstock_l4::testing::{
    Carried, ETHERNET_BYTES, Spec, World, client_v4, client_v6, encaps, reply_to, world,
};
use penstock_l4::value::{Address, encap, mode};
use penstock_l4::{Buffer, MemoryTables, Tick, Verdict, handle};

/// Flows that take turns, as in the measurements of the eBPF program.
const FLOWS: u16 = 1_024;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn main() {
    let world = world();
    for (vip, kind, encap, maglev) in encaps() {
        let name = match (kind, encap) {
            (mode::NAT, _) => "nat",
            (_, encap::GRE) => "dsr gre",
            (_, encap::IPIP) => "dsr ipip",
            _ => "dsr gue",
        };
        let family = |is_v4| if is_v4 { "IPv4" } else { "IPv6" };
        let name = format!("{name} {} over {}", family(vip.is_v4()), family(maglev == 0));
        known_flows(&world, &name, vip);
    }
    let vip = encaps()[0].0;
    first_packets(&world, "nat IPv4", vip);
    first_packets(&world, "dsr gre IPv4", encaps()[2].0);
    strangers(&world);
}

fn client(vip: &Address) -> Address {
    if vip.is_v4() { client_v4(1) } else { client_v6(1) }
}

/// Packets of flows that have their entries, from the client and, with `nat`, from the backend.
fn known_flows(world: &World, name: &str, vip: Address) {
    let tables = world.tables(0);
    let mut turn = Turn::new(&tables, world.start);
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for port in 0..FLOWS {
        let segment = |flags| Spec::tcp((client(&vip), port), (vip, 80), flags).frame();
        let Some(out) = turn.take(&segment(SYN)) else { continue };
        let reply = reply_to(&out, SYN_ACK).filter(|reply| turn.take(reply).is_some());
        replies.extend(reply);
        requests.push(segment(ACK));
        turn.take(&segment(ACK));
    }
    turn.measure(&format!("{name}: from the client"), &requests);
    if !replies.is_empty() {
        turn.measure(&format!("{name}: from the backend"), &replies);
    }
}

/// Packets that begin a flow: placed by hash, entered into the table.
fn first_packets(world: &World, name: &str, vip: Address) {
    let tables = world.tables(0);
    let frames: Vec<_> = (0..16_384_u32)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            let source = Address::v4([100, 64, high, low]);
            Spec::new((source, 9), (vip, 53), Carried::Udp).frame()
        })
        .collect();
    Turn::new(&tables, world.start).measure(&format!("{name}: first packets"), &frames);
}

/// What is dropped or passed.
fn strangers(world: &World) {
    let tables = world.tables(0);
    let mut turn = Turn::new(&tables, world.start);
    let vip = encaps()[0].0;
    let denied = Spec::tcp((client_v4(66), 9), (vip, 80), SYN).frame();
    turn.measure("a denied source", &[denied]);
    let other = Spec::tcp((client_v4(1), 9), (Address::v4([198, 51, 100, 7]), 22), ACK).frame();
    turn.measure("not ours", &[other]);
}

/// One lane and the packet at hand.
struct Turn<'a> {
    tables: &'a MemoryTables,
    now: Tick,
    packet: Buffer<ETHERNET_BYTES>,
}

impl<'a> Turn<'a> {
    fn new(tables: &'a MemoryTables, now: Tick) -> Self {
        Turn { tables, now, packet: Buffer::new(&[], 3) }
    }

    /// The frame as it is sent on, if it is.
    fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        self.packet.refill(frame);
        let verdict = handle(&mut self.packet, self.tables, self.now);
        matches!(verdict, Verdict::Send { .. }).then(|| self.packet.as_slice().to_vec())
    }

    /// The median of eleven rounds, less what copying the frame into the buffer takes.
    fn measure(&mut self, name: &str, frames: &[Vec<u8>]) {
        let mut rounds: Vec<_> = (0..11)
            .map(|_| {
                let copied = self.round(frames, |turn| {
                    black_box(&turn.packet);
                });
                let handled = self.round(frames, |turn| {
                    black_box(handle(&mut turn.packet, turn.tables, turn.now));
                });
                handled - copied
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!("{name:<40} {:>8.1} ns", rounds[5]);
    }

    /// Nanoseconds for one frame, over at least 100,000 of them.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
    fn round(&mut self, frames: &[Vec<u8>], mut each: impl FnMut(&mut Self)) -> f64 {
        let times = 100_000_usize.div_ceil(frames.len());
        let start = Instant::now();
        for _ in 0..times {
            for frame in frames {
                self.packet.refill(black_box(frame));
                each(self);
            }
        }
        start.elapsed().as_nanos() as f64 / (times * frames.len()) as f64
    }
}
