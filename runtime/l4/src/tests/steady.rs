//! The short way decides as the long one does, and is taken.

use crate::handle::{Account, decide};
use crate::testing::{
    Dice, ETHERNET_BYTES, Generator, Spec, client_v4, client_v6, encaps, reply_to, world,
};
use crate::value::mode;
use crate::{Buffer, MemoryTables, Packet, Subject, Tenure, Tick, Verdict, steady};

#[test]
fn both_ways_give_the_same_packets_flows_and_counts() {
    let mut short = 0;
    for seed in 0..10 {
        let world = world();
        let [quick, long] = [world.tables(0), world.tables(0)];
        let mut generator = Generator::new(seed, &world);
        let mut dice = Dice::new(!seed);
        let mut now = world.start;
        for number in 0..1_200 {
            let frame = generator.frame();
            // Some flows go on: the same frame again, a little later.
            for _ in 0..1 + 3 * usize::from(dice.once_in(3)) {
                now = Tick(now.0.wrapping_add(dice.below(500) as u32));
                let (verdict, after, is_short) = take(&quick, &frame, now, true);
                let expected = take(&long, &frame, now, false);
                assert_eq!((verdict, &after), (expected.0, &expected.1), "{seed}, {number}");
                short += u32::from(is_short);
                if matches!(verdict, Verdict::Send { .. }) {
                    generator.learn(&after);
                }
            }
        }
        for vip in 0..=8 {
            let vip = Subject::Vip(vip);
            assert_eq!(quick.counters(vip), long.counters(vip), "seed {seed}, {vip:?}");
        }
        for tenure in [Tenure::New, Tenure::Proven] {
            let [quick, long] = [&quick, &long].map(|tables| tables.flows(tenure));
            assert!(quick.eq(long), "seed {seed}, {tenure:?}");
        }
    }
    // Else this has shown nothing.
    assert!(short > 50, "{short}");
}

#[test]
fn a_flow_that_goes_on_takes_the_short_way() {
    let [syn, syn_ack, ack] = [0x02, 0x12, 0x10];
    for (address, mode, encap, _) in encaps() {
        let translated = mode == mode::NAT;
        let world = world();
        let tables = world.tables(0);
        let mut now = world.start;
        let from = if address.is_v4() { client_v4(1) } else { client_v6(1) };
        let ends = ((from, 40_000), (address, 80));
        let client = |flags| Spec::tcp(ends.0, ends.1, flags).frame();
        let sent = take(&tables, &client(syn), now, true).1;
        let answer = |flags| reply_to(&sent, flags).expect("TCP has answers");
        if translated {
            take(&tables, &answer(syn_ack), now, true);
        }
        take(&tables, &client(ack), now, true);
        let mut short = 0;
        for _ in 0..100 {
            now = Tick(now.0 + 50);
            let (verdict, _, is_short) = take(&tables, &client(ack), now, true);
            assert!(matches!(verdict, Verdict::Send { .. }), "{verdict:?}");
            short += u32::from(is_short);
            if translated {
                let (verdict, _, is_short) = take(&tables, &answer(ack), now, true);
                assert!(matches!(verdict, Verdict::Send { .. }), "{verdict:?}");
                short += u32::from(is_short);
            }
        }
        // About once in a second the other direction's entry is looked at.
        assert_eq!(short, if translated { 190 } else { 100 }, "{address:?}, {mode}, {encap}");
    }
}

/// What becomes of a frame, its bytes after, and whether it went the short way.
fn take(
    tables: &MemoryTables,
    frame: &[u8],
    now: Tick,
    may_be_short: bool,
) -> (Verdict, Vec<u8>, bool) {
    let mut packet = Buffer::<ETHERNET_BYTES>::new(frame, 3);
    let bytes = packet.length() as u64;
    let short = match may_be_short {
        true => steady::pass(&mut packet, tables, now, bytes),
        false => None,
    };
    let verdict = short.unwrap_or_else(|| {
        let mut account = Account::NOBODY;
        let verdict = decide(&mut packet, tables, now, &mut account);
        account.settle(tables, verdict, bytes);
        verdict
    });
    (verdict, packet.as_slice().to_vec(), short.is_some())
}
