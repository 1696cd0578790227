//! Heads that unpack to far more than was sent: what a connection, a source and a shard hold of
//! them is bounded, and what is refused can be asked again.

use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, check_few_seeds};

use super::abuse::{ENHANCE_YOUR_CALM, HANG, REFUSED_STREAM, Told, hear, hear_and_reach};
use super::raw::{END_HEADERS, END_STREAM, HEADERS, fields, frame};

/// A MiB for each source.
const RUNTIME: &str = "[runtime]\nlarge_heads = \"4MiB\"\n";

/// `count` requests whose heads have 36,100 bytes each, the first 4,000 more: a field of 4,000
/// bytes that is remembered once (RFC 7541 §6.2.1), and then named nine times with a byte each.
fn amplified(count: u32) -> Vec<u8> {
    const LENGTH: usize = 4_000;
    let mut sent = Vec::new();
    for number in 0..count {
        let mut block = fields(HANG);
        if number == 0 {
            // RFC 7541 §5.1: 127, and the rest in groups of seven bits.
            let rest = LENGTH - 127;
            block.extend([0x40, 1, b'x', 127, (rest % 128) as u8 | 128, (rest / 128) as u8]);
            block.extend([b'y'; LENGTH]);
        }
        block.extend([0xbe; 9]);
        sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block));
    }
    sent
}

/// How many of `count` streams were refused, on connections that go on.
fn refused(all: &[Told], count: u32) -> usize {
    assert!(all.iter().all(|(_, ended)| !ended), "{all:?}");
    let streams = |_| (0..count).map(|number| 2 * number + 1);
    let is_refused = |(told, stream): &(&Told, u32)| told.0.reset(*stream) == Some(REFUSED_STREAM);
    let every = all.iter().flat_map(|told| streams(told).map(move |stream| (told, stream)));
    every.filter(is_refused).count()
}

#[test]
fn a_connection_holds_no_more_of_large_heads_than_it_may() {
    check_few_seeds("h2 large heads", Faults::CALM, |world| {
        let (all, failures) = hear(world, vec![amplified(20)]);
        // Fourteen are less than 512 KiB, fifteen more.
        assert_eq!(refused(&all, 20), 6, "{all:?}");
        assert!(failures.contains(&(Cause::StreamHeadsMax, 6)), "{failures:?}");
    });
}

#[test]
fn a_source_holds_no_more_of_large_heads_than_its_part() {
    check_few_seeds("h2 large heads, a source", Faults::CALM, |world| {
        let (all, failures, _) = hear_and_reach(world, RUNTIME, vec![amplified(14); 4]);
        let refused = refused(&all, 14);
        // A MiB has room for 29; where heads came in two pieces, they took some of it meanwhile.
        assert!((56 - 29..56 - 14).contains(&refused), "{refused}");
        assert!(failures.contains(&(Cause::LargeHeadsMax, refused as u64)), "{failures:?}");
    });
}

/// What has not ended is unpacked already, to whatever it may have: 128 KiB. Those that there is no
/// room for may have come in two pieces, and get half a second.
#[test]
fn heads_that_do_not_end_hold_no_more_than_they_may() {
    check_few_seeds("h2 large heads, open", Faults::CALM, |world| {
        let begun = frame(HEADERS, END_STREAM, 1, &fields(HANG));
        let (all, failures, _) = hear_and_reach(world, RUNTIME, vec![begun; 10]);
        let calm = all.iter().filter(|(told, _)| told.goaway() == Some(ENHANCE_YOUR_CALM));
        assert_eq!(calm.count(), 10);
        for counted in [(Cause::LargeHeadsMax, 2), (Cause::RequestHeadTimeout, 8)] {
            assert!(failures.contains(&counted), "{failures:?}");
        }
    });
}
