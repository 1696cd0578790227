//! What must hold for any packet.

use std::sync::LazyLock;

use super::generate::{Dice, Generator, make_partial};
use super::spec::reply_to;
use super::verify::repair_v4_header;
use super::world::{World, world};
use super::{ETHERNET_BYTES, verify};
use crate::{Buffer, MemoryTables, Subject, Tick, Verdict, handle};

/// Frames of a fuzzer's input, each after three bytes: what to do with it, and its length. Bit 0
/// puts an IPv4 header's checksum right, so that a fuzzer gets behind it; bit 1 sends an answer
/// to the last frame that was sent on instead, bit 2 takes the Ethernet header away.
///
/// # Panics
/// When something does not hold.
pub fn check_bytes(mut input: &[u8]) {
    // Small tables, so that a short input can fill a set of them.
    static WORLD: LazyLock<World> = LazyLock::new(|| World { flows_max: 64, ..world() });
    let mut run = Run::of(&WORLD);
    while let [how, high, low, rest @ ..] = input {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, others) = rest.split_at(length);
        input = others;
        run.now = Tick(run.now.0.wrapping_add(length as u32));
        let mut frame = frame.to_vec();
        if how & 1 != 0 {
            repair_v4_header(&mut frame);
        }
        if how & 2 != 0
            && let Some(reply) = reply_to(&run.last_sent, frame.first().copied().unwrap_or(0))
        {
            frame = reply;
        }
        if how & 4 != 0 {
            run.feed_bare(frame.get(ETHERNET_BYTES..).unwrap_or_default());
        } else {
            run.feed(&frame);
        }
    }
    run.check_counters();
}

/// Generated frames one after another. Gives how many were passed, dropped, sent and answered, so
/// that a caller can see that none of these was missed.
///
/// # Panics
/// When something does not hold; the message names the frame's number.
pub fn check_sequence(seed: u64, frames: usize) -> [usize; 4] {
    let world = world();
    let mut run = Run::of(&world);
    let mut generator = Generator::new(seed, &world);
    let mut dice = Dice::new(!seed);
    let mut counts = [0; 4];
    for _ in 0..frames {
        let frame = generator.frame();
        run.now = Tick(run.now.0.wrapping_add(dice.below(500) as u32));
        match run.feed(&frame) {
            Verdict::Pass(_) => counts[0] += 1,
            Verdict::Drop(_) => counts[1] += 1,
            verdict => {
                counts[2 + usize::from(matches!(verdict, Verdict::Answer(_)))] += 1;
                generator.learn(&run.last_sent);
            }
        }
    }
    run.check_counters();
    counts
}

/// One lane that gets frames.
struct Run {
    tables: MemoryTables,
    now: Tick,
    packet: Buffer<ETHERNET_BYTES>,
    bare: Buffer<0>,
    /// How many frames there were.
    frames: u64,
    /// The last one that was sent on or answered, as it went out.
    last_sent: Vec<u8>,
}

impl Run {
    fn of(world: &World) -> Self {
        Run {
            tables: world.tables(0),
            now: world.start,
            packet: Buffer::new(&[], 3),
            bare: Buffer::new(&[], 3),
            frames: 0,
            last_sent: Vec::new(),
        }
    }

    /// One frame. What is passed is as it came; what is sent has all checksums right if it came
    /// with right ones, or with one that was left to the hardware.
    fn feed(&mut self, frame: &[u8]) -> Verdict {
        self.packet.refill(frame);
        let verdict = handle(&mut self.packet, &self.tables, self.now);
        let after = self.packet.as_slice();
        match verdict {
            Verdict::Pass(_) => assert_eq!(after, frame, "frame {}: changed", self.frames),
            Verdict::Drop(_) => {}
            Verdict::Send { .. } | Verdict::Answer(_) => {
                let sound = verify(frame).is_ok() || is_partial(frame);
                let must_verify = sound || matches!(verdict, Verdict::Answer(_));
                let result = verify(after);
                assert!(
                    !must_verify || result.is_ok(),
                    "frame {}: {result:?}\n in {:02x?}\nout {:02x?}",
                    self.frames,
                    &frame[..frame.len().min(120)],
                    &after[..after.len().min(120)],
                );
                self.last_sent.clear();
                self.last_sent.extend_from_slice(after);
            }
        }
        self.frames += 1;
        verdict
    }

    /// One packet without a link header.
    fn feed_bare(&mut self, packet: &[u8]) {
        self.bare.refill(packet);
        if let Verdict::Pass(_) = handle(&mut self.bare, &self.tables, self.now) {
            assert_eq!(self.bare.as_slice(), packet, "frame {}: changed", self.frames);
        }
        self.frames += 1;
    }

    /// Each packet was counted once.
    fn check_counters(&self) {
        let vips = (0..u16::MAX).map_while(|number| self.tables.counters(Subject::Vip(number)));
        let counted =
            vips.map(|vip| vip.packets + vip.return_packets + vip.causes.iter().sum::<u64>());
        assert_eq!(counted.sum::<u64>(), self.frames);
    }
}

/// Whether all that is wrong with a frame is that its checksum was left to the hardware.
fn is_partial(frame: &[u8]) -> bool {
    let mut again = frame.to_vec();
    make_partial(&mut again) && again == frame
}
