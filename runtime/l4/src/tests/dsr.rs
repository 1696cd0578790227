//! `dsr`: every encapsulation, what does not fit, the client's half of a connection.

use super::Appliance;
use crate::conntrack::seen;
use crate::testing::{
    Carried, ETHERNET_BYTES, Outer, Spec, client_v4, client_v6, encaps, inside, make_partial,
    repair_v4_header, reply_to, transport_checksum_holds, world,
};
use crate::value::{Address, Backend, Vip, encap, mode, state};
use crate::{Cause, Tenure, Verdict};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;

fn client(vip: &Address) -> Address {
    if vip.is_v4() { client_v4(1) } else { client_v6(1) }
}

fn segment(vip: Address, port: u16, flags: u8) -> Spec {
    Spec::tcp((client(&vip), port), (vip, 80), flags)
}

/// VIPs with their encapsulation, and the bytes it adds.
fn tunnels() -> Vec<(Address, u8, usize)> {
    let dsr = encaps().into_iter().filter(|(_, mode, ..)| *mode == mode::DSR);
    dsr.map(|(vip, _, kind, maglev)| {
        let shim = match kind {
            encap::GRE => 4,
            encap::IPIP => 0,
            _ => 12,
        };
        (vip, kind, shim + if maglev == 0 { 20 } else { 40 })
    })
    .collect()
}

const GRE_V4: Address = Address::v4([203, 0, 113, 2]);

#[test]
fn every_encapsulation_carries_the_packet_as_the_client_sent_it() {
    for (vip, kind, overhead) in tunnels() {
        let mut appliance = Appliance::of(&world());
        let requests = [
            segment(vip, 40_000, SYN),
            Spec::new((client(&vip), 40_000), (vip, 53), Carried::Udp),
            Spec::new((client(&vip), 5), (vip, 0), Carried::Echo { answer: false }),
        ];
        for request in requests {
            let frame = request.frame();
            let out = appliance.sends(&frame);
            assert_eq!(out.len(), frame.len() + overhead);
            let outer = inside(&out[ETHERNET_BYTES..]).expect("sound");
            assert_eq!(outer.carried, frame[ETHERNET_BYTES..]);
            let world = world();
            let tunnels = [world.settings.tunnel_v4, world.settings.tunnel_v6];
            assert!(tunnels.contains(&outer.source));
            assert!(world.backends.iter().any(|(_, one)| one.address == outer.destination));
            let expected = match (kind, vip.is_v4()) {
                (encap::GRE, _) => 47,
                (encap::GUE, _) => 17,
                (_, true) => 4,
                (_, false) => 41,
            };
            assert_eq!(outer.protocol, expected);
        }
    }
}

#[test]
fn the_largest_that_fits_is_sent_and_one_byte_more_is_answered() {
    for (vip, _, overhead) in tunnels() {
        let headers = if vip.is_v4() { 40 } else { 60 };
        let mut appliance = Appliance::of(&world());
        for (bytes, fits) in [(1_500 - overhead, true), (1_501 - overhead, false)] {
            for fragment in [0x4000, 0] {
                let mut request = segment(vip, 40_000, ACK);
                request.payload = vec![7; bytes - headers];
                request.fragment = fragment;
                let frame = request.frame();
                let (verdict, after) = appliance.takes(&frame);
                if fits {
                    assert_eq!(after.len(), ETHERNET_BYTES + 1_500);
                    continue;
                }
                assert_eq!(verdict, Verdict::Answer(Cause::TooBig));
                let answer = inside(&after[ETHERNET_BYTES..]).expect("sound");
                assert_eq!((answer.source, answer.destination), (vip, client(&vip)));
                assert_eq!(after[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], "back");
                // RFC 1191 §4, RFC 4443 §3.2: type, code, and the size that fits.
                let kind: [u8; 2] = if vip.is_v4() { [3, 4] } else { [2, 0] };
                assert_eq!(answer.carried[..2], kind);
                let mtu = u16::from_be_bytes([answer.carried[6], answer.carried[7]]);
                assert_eq!(usize::from(mtu), 1_500 - overhead);
                let quoted = &answer.carried[8..];
                assert_eq!(quoted, &frame[ETHERNET_BYTES..][..quoted.len()]);
                assert!(quoted.len() >= 68);
            }
        }
    }
}

#[test]
fn an_error_is_never_answered_with_an_error() {
    let mut appliance = Appliance::of(&world());
    let out = segment(GRE_V4, 40_000, SYN);
    appliance.sends(&out.frame());
    let answer = reply_to(&out.frame(), ACK).expect("an answer");
    let icmp = Carried::Icmp { icmp_type: 3, code: 1 };
    let mut error = Spec::new((client_v4(250), 0), (GRE_V4, 0), icmp);
    error.payload = [&answer[ETHERNET_BYTES..], &[0; 1_440]].concat();
    assert_eq!(appliance.takes(&error.frame()).0, Verdict::Drop(Cause::TooBig));
}

#[test]
fn the_mss_of_a_syn_is_lowered_wherever_it_stands() {
    let mss = |value: u16| [[2, 4], value.to_be_bytes()].concat();
    // Options before it, its value, what it becomes (1,500 - 24 - 40).
    for (before, value, expected) in [
        (vec![], 1_460, 1_436),
        (vec![1], 1_460, 1_436),
        (vec![1, 1], 1_460, 1_436),
        (vec![1, 1, 1], 0xffff, 1_436),
        (vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8], 1_460, 1_436),
        (vec![3, 3, 7], 1_460, 1_436),
        (vec![], 1_436, 1_436),
        (vec![], 536, 536),
        // The end of the list; an option that claims less than itself; another length than 4.
        (vec![0], 1_460, 1_460),
        (vec![9, 1], 1_460, 1_460),
        (vec![2, 3, 0], 1_460, 1_436),
        (vec![1; 10], 1_460, 1_460),
    ] {
        let mut request = segment(GRE_V4, 40_000, SYN);
        let options = [before.clone(), mss(value)].concat();
        request.carried = Carried::Tcp { flags: SYN, options };
        let mut appliance = Appliance::of(&world());
        let out = appliance.sends(&request.frame());
        let at = ETHERNET_BYTES + 24 + 20 + 20 + before.len() + 2;
        let after = u16::from_be_bytes([out[at], out[at + 1]]);
        assert_eq!(after, expected, "{before:?} {value}");
    }
}

#[test]
fn what_follows_the_options_is_not_taken_for_one() {
    let mut request = segment(GRE_V4, 40_000, SYN);
    request.carried = Carried::Tcp { flags: SYN, options: vec![1, 1, 1, 1] };
    request.payload = vec![2, 4, 0xff, 0xff];
    let frame = request.frame();
    let out = Appliance::of(&world()).sends(&frame);
    assert_eq!(inside(&out[ETHERNET_BYTES..]).expect("sound").carried, frame[ETHERNET_BYTES..]);
}

#[test]
fn the_outer_packet_has_the_class_of_the_inner() {
    for (vip, ..) in tunnels() {
        let mut frame = segment(vip, 40_000, SYN).frame();
        // RFC 6040: a congestion mark must come through.
        let class = 0xb9;
        if vip.is_v4() {
            frame[ETHERNET_BYTES + 1] = class;
            repair_v4_header(&mut frame);
        } else {
            frame[ETHERNET_BYTES..][..2].copy_from_slice(&[0x60 | class >> 4, class << 4]);
        }
        let out = Appliance::of(&world()).sends(&frame);
        let outer = &out[ETHERNET_BYTES..];
        let found = if outer[0] >> 4 == 4 { outer[1] } else { outer[0] << 4 | outer[1] >> 4 };
        assert_eq!(found, class);
    }
}

#[test]
fn the_state_is_inferred_from_the_clients_half() {
    let mut appliance = Appliance::of(&world());
    let state = |appliance: &Appliance, tenure| {
        appliance.tables.flows(tenure).map(|(_, flow)| flow.state).collect::<Vec<_>>()
    };
    appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
    appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
    assert_eq!(state(&appliance, Tenure::New), [seen::SYN]);
    appliance.sends(&segment(GRE_V4, 40_000, ACK).frame());
    assert_eq!(state(&appliance, Tenure::New), []);
    assert_eq!(state(&appliance, Tenure::Proven), [seen::SYN | seen::PROVEN]);
    appliance.sends(&segment(GRE_V4, 40_000, FIN).frame());
    let done = seen::SYN | seen::PROVEN | seen::FIN_CLIENT;
    assert_eq!(state(&appliance, Tenure::Proven), [done]);
    // The backend's half may go on for long; only a SYN begins anew.
    appliance.sends(&segment(GRE_V4, 40_000, ACK).frame());
    assert_eq!(state(&appliance, Tenure::Proven), [done]);
    appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
    assert_eq!(state(&appliance, Tenure::Proven), []);
    assert_eq!(state(&appliance, Tenure::New), [seen::SYN]);
}

#[test]
fn another_appliance_goes_on_with_the_same_backend() {
    let world = world();
    for (vip, ..) in tunnels() {
        for port in 40_000..40_050 {
            let mut first = Appliance::of(&world);
            let mut second = Appliance { tables: world.tables(5), now: world.start };
            let out = first.sends(&segment(vip, port, SYN).frame());
            let taken_over = second.sends(&segment(vip, port, ACK).frame());
            let to = |frame: &[u8]| inside(&frame[ETHERNET_BYTES..]).expect("sound").destination;
            assert_eq!(to(&out), to(&taken_over));
            assert_eq!(second.tables.flows(Tenure::New).count(), 1, "and it is remembered");
        }
    }
}

#[test]
fn another_seed_places_flows_otherwise() {
    let mut other = world();
    other.settings.hash_key[1] ^= 1;
    let (mut one, mut two) = (Appliance::of(&world()), Appliance::of(&other));
    let moved = (0..300).filter(|port| {
        let frame = segment(GRE_V4, 40_000 + port, SYN).frame();
        one.sends(&frame) != two.sends(&frame)
    });
    // Two thirds of 300, give or take five standard deviations.
    assert!((159..=241).contains(&moved.count()));
}

#[test]
fn draining_keeps_flows_and_death_places_them_anew() {
    let mut appliance = Appliance::of(&world());
    let out = appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
    let (_, flow) = appliance.tables.flows(Tenure::New).next().expect("one flow");
    let (_, backend) = world().backends[flow.backend as usize];
    let other = (flow.backend + 1) % 3;
    appliance.tables.set_maglev(0, vec![other; 65_537].into());
    for (state, keeps) in [(state::DRAINING, true), (state::DOWN, false)] {
        appliance.tables.set_backend(flow.backend, Some(Backend { state, ..backend }));
        let after = appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
        assert_eq!(after == out, keeps);
    }
    // One that is found down keeps its flows, unless its VIP says that they move.
    for (moves, keeps) in [(0, true), (1, false)] {
        let mut appliance = Appliance::of(&world());
        appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
        appliance.sends(&segment(GRE_V4, 40_000, ACK).frame());
        appliance.tables.set_maglev(0, vec![other; 65_537].into());
        let failed = Backend { state: state::FAILED, ..backend };
        appliance.tables.set_backend(flow.backend, Some(failed));
        let (_, vip) = world().vips[usize::from(flow.vip) - 1];
        appliance.tables.set_vip(flow.vip, Some(Vip { moves, ..vip }));
        let after = appliance.sends(&segment(GRE_V4, 40_000, ACK).frame());
        let host = |frame: &[u8]| frame[ETHERNET_BYTES + 19];
        assert_eq!(host(&after) == host(&out), keeps);
    }
    // The same index for another backend: no flow of the old one goes there.
    let mut appliance = Appliance::of(&world());
    appliance.sends(&segment(GRE_V4, 40_000, SYN).frame());
    appliance.tables.set_maglev(0, vec![other; 65_537].into());
    let renamed = Backend { generation: 2, ..backend };
    appliance.tables.set_backend(flow.backend, Some(renamed));
    let after = appliance.sends(&segment(GRE_V4, 40_000, ACK).frame());
    assert_ne!(after[ETHERNET_BYTES + 16..][..4], out[ETHERNET_BYTES + 16..][..4]);
}

#[test]
fn errors_go_to_the_backend_of_the_flow_known_or_not() {
    for (vip, _, overhead) in tunnels() {
        let world = world();
        let is_v4 = vip.is_v4();
        let mut appliance = Appliance::of(&world);
        let request = segment(vip, 40_000, SYN).frame();
        let out = appliance.sends(&request);
        let answer = reply_to(&request, ACK).expect("an answer");
        let (router, icmp_type) = if is_v4 { (client_v4(250), 3) } else { (client_v6(250), 2) };
        let icmp = Carried::Icmp { icmp_type, code: if is_v4 { 4 } else { 0 } };
        let mut error = Spec::new((router, 0), (vip, 0), icmp);
        error.payload = answer[ETHERNET_BYTES..][..if is_v4 { 28 } else { 48 }].to_vec();
        let frame = error.frame();
        let mut stranger = Appliance::of(&world);
        let known = appliance.sends(&frame);
        assert_eq!(known, stranger.sends(&frame));
        assert_eq!(known.len(), frame.len() + overhead);
        let outer = inside(&known[ETHERNET_BYTES..]).expect("sound");
        assert_eq!(outer.carried, frame[ETHERNET_BYTES..]);
        assert_eq!(outer.destination, inside(&out[ETHERNET_BYTES..]).expect("sound").destination);
    }
}

#[test]
fn a_partial_checksum_is_completed_before_it_goes_on() {
    for (vip, ..) in tunnels() {
        for carried in [Carried::Udp, Carried::Tcp { flags: SYN, options: vec![2, 4, 5, 180] }] {
            let port = if carried == Carried::Udp { 53 } else { 80 };
            let mut request = Spec::new((client(&vip), 9), (vip, port), carried);
            request.payload = vec![3; 333];
            let mut frame = request.frame();
            let whole = Appliance::of(&world()).sends(&frame);
            assert!(make_partial(&mut frame));
            let before = inside(&frame[ETHERNET_BYTES..]).expect("sound");
            let Outer { source, destination, protocol, carried } = &before;
            assert!(!transport_checksum_holds(carried, source, destination, *protocol));
            assert_eq!(Appliance::of(&world()).sends(&frame), whole);
        }
    }
}
