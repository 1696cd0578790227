//! Whole packets through [`handle`](crate::handle), over the world of `testing`.

mod dsr;
mod nat;
mod rules;

use crate::testing::{ETHERNET_BYTES, World, verify};
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
    for seed in 0..20 {
        let counts = crate::testing::check_sequence(seed, 2_000);
        for (sum, count) in all.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    // Passed, dropped, sent, answered: none of them a rare case.
    assert!(all.iter().all(|&count| count > 500), "{all:?}");
}
