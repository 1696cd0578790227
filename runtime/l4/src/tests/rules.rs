//! Which packets are passed, dropped and counted, and why.

use super::Appliance;
use crate::testing::{
    Carried, ETHERNET_BYTES, Spec, client_v4, client_v6, encaps, repair_v4_header, world,
};
use crate::value::{Address, action};
use crate::{Buffer, Cause, Subject, Tick, Verdict, handle};

const SYN: u8 = 0x02;
const NAT_V4: Address = Address::v4([203, 0, 113, 1]);
const STRANGER: Address = Address::v4([198, 51, 100, 77]);

fn syn(source: Address, destination: Address) -> Spec {
    Spec::tcp((source, 40_000), (destination, 80), SYN)
}

fn nat_v6() -> Address {
    encaps()[1].0
}

#[track_caller]
fn check(frame: &[u8], expected: Verdict) {
    let mut appliance = Appliance::of(&world());
    assert_eq!(appliance.takes(frame).0, expected);
}

/// A frame with one byte of its IP header changed and the checksum made right again.
fn with(spec: &Spec, at: usize, byte: u8) -> Vec<u8> {
    let mut frame = spec.frame();
    frame[ETHERNET_BYTES + at] = byte;
    if at != 0 {
        repair_v4_header(&mut frame);
    }
    frame
}

#[test]
fn what_is_not_ours_is_passed() {
    let ours = syn(client_v4(1), NAT_V4);
    let mut vlan = ours.frame();
    vlan.splice(12..12, [0x81, 0x00, 0, 5]);
    check(&vlan, Verdict::Pass(Cause::Vlan));
    let mut arp = ours.frame();
    arp[12..14].copy_from_slice(&[8, 6]);
    check(&arp, Verdict::Pass(Cause::NotIp));
    check(&[], Verdict::Pass(Cause::NotIp));
    check(&ours.frame()[..13], Verdict::Pass(Cause::NotIp));
    let mut group = ours.frame();
    group[0] |= 1;
    check(&group, Verdict::Pass(Cause::GroupFrame));
    let not_ours = Verdict::Pass(Cause::NotOurs);
    check(&syn(client_v4(1), STRANGER).frame(), not_ours);
    check(&Spec::tcp((client_v4(1), 9), (NAT_V4, 81), SYN).frame(), not_ours);
    check(&Spec::new((client_v4(1), 9), (NAT_V4, 80), Carried::Udp).frame(), not_ours);
    check(&Spec::new((client_v4(1), 0), (NAT_V4, 0), Carried::Other(47)).frame(), not_ours);
    let answer = Carried::Echo { answer: true };
    check(&Spec::new((client_v4(1), 0), (NAT_V4, 9), answer).frame(), not_ours);
    let redirect = Carried::Icmp { icmp_type: 5, code: 0 };
    check(&Spec::new((client_v4(1), 0), (NAT_V4, 0), redirect).frame(), not_ours);
    // To a port of the pool that nobody has.
    check(&syn(client_v4(1), world().settings.pool_v4.address).frame(), not_ours);
}

#[test]
fn malformed_headers_are_dropped() {
    let (v4, v6) = (syn(client_v4(1), NAT_V4), syn(client_v6(1), nat_v6()));
    let malformed = Verdict::Drop(Cause::HeaderMalformed);
    let lies = Verdict::Drop(Cause::LengthLies);
    // RFC 791 §3.1: version 4, at least five words.
    check(&with(&v4, 0, 0x55), malformed);
    check(&with(&v4, 0, 0x44), malformed);
    check(&with(&v6, 0, 0x50), malformed);
    // Total length: more than there is, less than the header.
    check(&with(&v4, 2, 0xff), lies);
    check(&with(&v4, 3, 19), lies);
    check(&with(&v6, 4, 0xff), lies);
    // RFC 1122 §3.2.1.2: a wrong checksum.
    let mut frame = v4.frame();
    frame[ETHERNET_BYTES + 11] ^= 1;
    check(&frame, Verdict::Drop(Cause::HeaderChecksum));
    // RFC 9293 §3.1: a data offset of at least five words, within the packet.
    let mut frame = v4.frame();
    frame[ETHERNET_BYTES + 20 + 12] = 0x40;
    check(&frame, malformed);
    frame[ETHERNET_BYTES + 20 + 12] = 0xf0;
    check(&frame, Verdict::Drop(Cause::HeaderTruncated));
    // RFC 768: the length includes the header, and is there.
    let udp = Spec::new((client_v4(1), 9), (NAT_V4, 53), Carried::Udp);
    for length in [7, 200] {
        let mut frame = udp.frame();
        frame[ETHERNET_BYTES + 20 + 5] = length;
        check(&frame, lies);
    }
}

#[test]
fn a_packet_cut_at_any_byte_is_never_sent() {
    for (vip, ..) in encaps() {
        let client = if vip.is_v4() { client_v4(1) } else { client_v6(1) };
        let mut specs = vec![
            syn(client, vip),
            Spec::new((client, 9), (vip, 53), Carried::Udp),
            Spec::new((client, 9), (vip, 0), Carried::Echo { answer: false }),
        ];
        for spec in &mut specs {
            spec.payload = vec![1; 9];
            if vip.is_v4() {
                spec.options = vec![1; 8];
            } else {
                spec.extensions = vec![(0, vec![0; 6]), (60, vec![0; 14])];
            }
            let frame = spec.frame();
            for length in 0..frame.len() {
                let (verdict, _) = Appliance::of(&world()).takes(&frame[..length]);
                let refused = matches!(verdict, Verdict::Pass(Cause::NotIp))
                    || matches!(verdict, Verdict::Drop(Cause::HeaderTruncated | Cause::LengthLies));
                assert!(refused, "{length}: {verdict:?}");
            }
            Appliance::of(&world()).sends(&frame);
            // Ethernet pads short frames.
            let padded = [&frame[..], &[0xaa; 9]].concat();
            Appliance::of(&world()).sends(&padded);
        }
    }
}

#[test]
fn options_and_extension_headers_are_looked_through_up_to_a_bound() {
    let mut v4 = syn(client_v4(1), NAT_V4);
    for words in 0..=10 {
        v4.options = vec![1; 4 * words];
        Appliance::of(&world()).sends(&v4.frame());
        // Each word of the options is under the checksum.
        let mut frame = v4.frame();
        if let Some(last) = 4_usize.checked_mul(words).filter(|&bytes| bytes > 0) {
            frame[ETHERNET_BYTES + 20 + last - 1] ^= 1;
            check(&frame, Verdict::Drop(Cause::HeaderChecksum));
        }
    }
    let mut v6 = syn(client_v6(1), nat_v6());
    for count in 0..=4 {
        v6.extensions = vec![(60, vec![0; 6]); count];
        Appliance::of(&world()).sends(&v6.frame());
    }
    v6.extensions = vec![(60, vec![0; 6]); 5];
    check(&v6.frame(), Verdict::Pass(Cause::ExtensionHeaders));
    v6.extensions = vec![(43, vec![0; 6])];
    check(&v6.frame(), Verdict::Pass(Cause::ExtensionHeaders));
}

#[test]
fn fragments_for_our_addresses_are_dropped_and_others_passed() {
    for (fragment, dropped) in
        [(0x2000, true), (0x0001, true), (0x2010, true), (0x4000, false), (0x8000, false)]
    {
        let mut spec = syn(client_v4(1), NAT_V4);
        spec.fragment = fragment;
        if dropped {
            check(&spec.frame(), Verdict::Drop(Cause::Fragment));
            spec.destination = world().settings.pool_v4.address;
            check(&spec.frame(), Verdict::Drop(Cause::Fragment));
            spec.destination = STRANGER;
            check(&spec.frame(), Verdict::Pass(Cause::NotOurs));
        } else {
            Appliance::of(&world()).sends(&spec.frame());
        }
    }
    // RFC 6946: an atomic fragment is a whole packet.
    // The two bits before the last are reserved and ignored (RFC 8200 §4.5).
    for (offset, dropped) in [([0, 0], false), ([0, 6], false), ([0, 1], true), ([0, 8], true)] {
        let mut spec = syn(client_v6(1), nat_v6());
        spec.extensions = vec![(44, [&offset[..], &[0, 0, 0, 9]].concat())];
        if dropped {
            check(&spec.frame(), Verdict::Drop(Cause::Fragment));
        } else {
            Appliance::of(&world()).sends(&spec.frame());
        }
    }
}

#[test]
fn sources_that_nobody_has_begin_no_flow() {
    check(&syn(NAT_V4, NAT_V4).frame(), Verdict::Drop(Cause::Land));
    check(&syn(nat_v6(), nat_v6()).frame(), Verdict::Drop(Cause::Land));
    let martian = Verdict::Drop(Cause::Martian);
    for source in [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        check(&syn(Address::v4(source), NAT_V4).frame(), martian);
    }
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let mut group = client_v6(1).octets();
    group[0] = 0xff;
    for source in [[0; 16], loopback, group] {
        check(&syn(Address::v6(source), nat_v6()).frame(), martian);
    }
    // An IPv4 address in an IPv6 packet would be taken for that of an IPv4 packet.
    let mut frame = syn(client_v6(1), nat_v6()).frame();
    frame[ETHERNET_BYTES + 8..][..16].copy_from_slice(&client_v4(1).octets());
    check(&frame, martian);
    let mut frame = syn(client_v6(1), nat_v6()).frame();
    frame[ETHERNET_BYTES + 24..][..16].copy_from_slice(&NAT_V4.octets());
    check(&frame, martian);
}

#[test]
fn flags_that_no_stack_sends_begin_no_flow() {
    for flags in [0x03, 0x06, 0x07, 0x00, 0x28] {
        let spec = Spec::tcp((client_v4(1), 9), (NAT_V4, 80), flags);
        check(&spec.frame(), Verdict::Drop(Cause::TcpFlags));
    }
}

#[test]
fn a_packet_that_has_lived_too_long_ends_here() {
    for (hops, ends) in [(0, true), (1, true), (2, false)] {
        for mut spec in [syn(client_v4(1), NAT_V4), syn(client_v6(1), nat_v6())] {
            spec.hops = hops;
            let (verdict, _) = Appliance::of(&world()).takes(&spec.frame());
            assert_eq!(verdict == Verdict::Drop(Cause::HopLimit), ends, "{hops}: {verdict:?}");
        }
    }
}

#[test]
fn denied_sources_are_dropped_ahead_of_everything() {
    let denied = Verdict::Drop(Cause::SourceDenied);
    check(&syn(client_v4(66), NAT_V4).frame(), denied);
    check(&syn(client_v4(66), STRANGER).frame(), denied);
    let mut inside_prefix = client_v6(1).octets();
    inside_prefix[4..6].copy_from_slice(&[0x0b, 0xad]);
    check(&syn(Address::v6(inside_prefix), nat_v6()).frame(), denied);
    // The same rules, switched off.
    let mut world = world();
    world.settings.sources = 0;
    Appliance::of(&world).sends(&syn(client_v4(66), NAT_V4).frame());
}

#[test]
fn a_source_has_its_burst_and_then_its_rate() {
    let frames: Vec<_> = (0..40_u16)
        .map(|port| Spec::tcp((client_v4(130), port), (NAT_V4, 80), SYN).frame())
        .collect();
    let admitted = |appliance: &mut Appliance| {
        let sent = |frame: &&Vec<u8>| matches!(appliance.takes(frame).0, Verdict::Send { .. });
        frames.iter().filter(sent).count()
    };
    let mut appliance = Appliance::of(&world());
    assert_eq!(admitted(&mut appliance), 10, "the burst");
    assert_eq!(admitted(&mut appliance), 0);
    appliance.wait(32);
    assert_eq!(admitted(&mut appliance), 2, "1/16 in a tick");
    appliance.wait(1_000_000);
    assert_eq!(admitted(&mut appliance), 10, "no more than the burst");
    // Another source has its own.
    let other = Spec::tcp((client_v4(131), 9), (NAT_V4, 80), SYN);
    appliance.sends(&other.frame());
    let counts = appliance.tables.counters(Subject::Vip(1)).expect("the VIP");
    assert_eq!(counts.causes[Cause::SourceRate as usize], 40 * 4 - 22);
    // An exception within the prefix.
    let mut world = world();
    let allowed = crate::value::SourceRule { action: action::ALLOW, ..world.sources[2].2 };
    world.sources.push((client_v4(130), 128, allowed));
    assert_eq!(admitted(&mut Appliance::of(&world)), 40);
}

#[test]
fn a_slash_64_is_one_source() {
    let mut world = world();
    let rule = world.sources[2].2;
    world.sources = vec![(client_v6(0), 32, rule)];
    let mut appliance = Appliance::of(&world);
    let mut admitted = |net: u8| {
        let from = |host: u8| {
            let mut octets = client_v6(host).octets();
            octets[7] = net;
            syn(Address::v6(octets), nat_v6()).frame()
        };
        let sent = |frame: &Vec<u8>| matches!(appliance.takes(frame).0, Verdict::Send { .. });
        (0..40).map(from).filter(sent).count()
    };
    assert_eq!(admitted(1), 10, "the burst of all of its addresses");
    assert_eq!(admitted(1), 0);
    assert_eq!(admitted(2), 10, "another one has its own");
}

#[test]
fn every_packet_is_counted_once_where_it_belongs() {
    let mut appliance = Appliance::of(&world());
    let frame = syn(client_v4(1), NAT_V4).frame();
    let out = appliance.sends(&frame);
    let back = crate::testing::reply_to(&out, 0x12).expect("an answer");
    appliance.sends(&back);
    appliance.takes(&syn(client_v4(66), NAT_V4).frame());
    let mut fragment = syn(client_v4(1), NAT_V4);
    fragment.fragment = 0x2000;
    appliance.takes(&fragment.frame());
    let vip = appliance.tables.counters(Subject::Vip(1)).expect("the VIP");
    assert_eq!((vip.packets, vip.bytes), (1, frame.len() as u64));
    assert_eq!((vip.return_packets, vip.return_bytes), (1, back.len() as u64));
    assert_eq!(vip.causes[Cause::Fragment as usize], 1);
    assert_eq!(vip.causes.iter().sum::<u64>(), 1);
    let none = appliance.tables.counters(Subject::Vip(0)).expect("nobody's");
    assert_eq!(none.causes[Cause::SourceDenied as usize], 1);
    assert_eq!(none.causes.iter().sum::<u64>(), 1);
    let index = u32::from(out[ETHERNET_BYTES + 19]) - 1;
    let backend = appliance.tables.counters(Subject::Backend(index)).expect("the backend");
    assert_eq!((backend.packets, backend.return_packets), (1, 1));
}

#[test]
fn without_a_link_header_the_packet_is_the_same() {
    for (vip, ..) in encaps() {
        let client = if vip.is_v4() { client_v4(1) } else { client_v6(1) };
        let spec = syn(client, vip);
        let world = world();
        let framed = Appliance::of(&world).sends(&spec.frame());
        let mut bare = Buffer::<0>::new(&spec.ip_packet(), 3);
        let verdict = handle(&mut bare, &world.tables(0), Tick(world.start.0));
        assert!(matches!(verdict, Verdict::Send { .. }));
        assert_eq!(bare.as_slice(), &framed[ETHERNET_BYTES..]);
    }
}
