//! Whole packets through [`handle`](crate::handle), over the world of `testing`.

mod dsr;
mod home;
mod nat;
mod rules;
mod steady;

use crate::testing::{
    Dice, ETHERNET_BYTES, Generator, World, check_bytes, check_sequence, verify, world,
};
use crate::{Buffer, MemoryTables, Tick, Verdict, handle};

/// One lane of an appliance and its clock.
struct Appliance {
    tables: MemoryTables,
    now: Tick,
}

impl Appliance {
    fn of(world: &World) -> Self {
        Appliance { tables: world.tables(0), now: world.start }
    }

    /// What becomes of a frame, and its bytes after.
    #[track_caller]
    fn takes(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut packet = Buffer::<ETHERNET_BYTES>::new(frame, 3);
        let verdict = handle(&mut packet, &self.tables, self.now);
        if !matches!(verdict, Verdict::Drop(_) | Verdict::Pass(_)) {
            verify(packet.as_slice()).expect("what is sent is right");
        }
        (verdict, packet.as_slice().to_vec())
    }

    /// A frame that is sent on, as it is sent.
    #[track_caller]
    fn sends(&mut self, frame: &[u8]) -> Vec<u8> {
        let (verdict, after) = self.takes(frame);
        assert!(matches!(verdict, Verdict::Send { .. }), "{verdict:?}");
        after
    }

    fn wait(&mut self, ticks: u32) {
        self.now = Tick(self.now.0.wrapping_add(ticks));
    }
}

#[test]
fn generated_packets_of_all_kinds_keep_what_must_hold() {
    let mut all = [0; 4];
    for seed in 0..10 {
        let counts = check_sequence(seed, 1_200);
        for (sum, count) in all.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    // Passed, dropped, sent, answered: none of them a rare case.
    assert!(all.iter().all(|&count| count > 150), "{all:?}");
}

#[test]
fn frames_as_a_fuzzer_gives_them_keep_what_must_hold() {
    let mut dice = Dice::new(7);
    let mut generator = Generator::new(7, &world());
    for _ in 0..100 {
        let mut input = Vec::new();
        for _ in 0..dice.below(20) {
            let mut frame = generator.frame();
            if !frame.is_empty() && dice.once_in(2) {
                let at = dice.below(frame.len().min(100));
                frame[at] = dice.bits() as u8;
            }
            input.push(dice.bits() as u8);
            input.extend((frame.len() as u16).to_be_bytes());
            input.extend(frame);
        }
        input.truncate(input.len() - dice.below(2).min(input.len()));
        check_bytes(&input);
    }
}
