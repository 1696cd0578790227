//! What must hold for any packet.

use super::generate::{Dice, Generator};
use super::world::world;
use super::{ETHERNET_BYTES, verify};
use crate::{Buffer, Tick, Verdict, handle};

/// Frames of a fuzzer's input: each after two bytes with its length. For each: no panic, and what
/// is not sent has not been changed.
pub fn check_bytes(mut input: &[u8]) {
    let world = world();
    let tables = world.tables(0);
    let mut now = world.start.0;
    while let [high, low, rest @ ..] = input {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, others) = rest.split_at(length);
        input = others;
        now = now.wrapping_add(length as u32);
        let mut ethernet = Buffer::<ETHERNET_BYTES>::new(frame, 3);
        let verdict = handle(&mut ethernet, &tables, Tick(now));
        if let Verdict::Pass(_) = verdict {
            assert_eq!(ethernet.as_slice(), frame, "what is passed on must be as it came");
        }
        let mut bare = Buffer::<0>::new(frame, 3);
        if let Verdict::Pass(_) = handle(&mut bare, &tables, Tick(now)) {
            assert_eq!(bare.as_slice(), frame, "what is passed on must be as it came");
        }
    }
}

/// Generated frames one after another: what is passed is unchanged, what is sent has all
/// checksums right if it came with right ones. Gives how many were passed, dropped, sent and
/// answered, so that a caller can see that none of these was missed.
///
/// # Panics
/// When something does not hold; the message names the frame's number.
pub fn check_sequence(seed: u64, frames: usize) -> [usize; 4] {
    let world = world();
    let tables = world.tables(0);
    let mut generator = Generator::new(seed, &world);
    let mut dice = Dice::new(!seed);
    let (mut now, mut counts) = (world.start.0, [0; 4]);
    for number in 0..frames {
        let frame = generator.frame();
        now = now.wrapping_add(dice.below(500) as u32);
        let mut packet = Buffer::<ETHERNET_BYTES>::new(&frame, 3);
        let verdict = handle(&mut packet, &tables, Tick(now));
        let after = packet.as_slice();
        match verdict {
            Verdict::Pass(_) => {
                assert_eq!(after, frame, "seed {seed}, frame {number}: passed, and changed");
                counts[0] += 1;
            }
            Verdict::Drop(_) => counts[1] += 1,
            Verdict::Send { .. } | Verdict::Answer(_) => {
                let answered = matches!(verdict, Verdict::Answer(_));
                counts[2 + usize::from(answered)] += 1;
                let sound = verify(&frame).is_ok() || is_partial(&frame);
                let result = verify(after);
                assert!(
                    !(sound || answered) || result.is_ok(),
                    "seed {seed}, frame {number}: {result:?}\n in {:02x?}\nout {:02x?}",
                    &frame[..frame.len().min(120)],
                    &after[..after.len().min(120)],
                );
                generator.learn(after);
            }
        }
    }
    counts
}

/// Whether all that is wrong with a frame is that its checksum was left to the hardware.
fn is_partial(frame: &[u8]) -> bool {
    let mut again = frame.to_vec();
    super::generate::make_partial(&mut again) && again == frame
}
