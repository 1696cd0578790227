//! `nat`: out and back, states, ports, lost entries.

use super::Appliance;
use crate::conntrack::seen;
use crate::testing::{
    Carried, ETHERNET_BYTES, Spec, World, client_v4, client_v6, encaps, inside, reply_to, world,
};
use crate::value::{Address, Flow, role, state};
use crate::{Cause, Tenure, Tick, Verdict};

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;

fn vip(is_v4: bool) -> Address {
    encaps()[usize::from(!is_v4)].0
}

fn client(is_v4: bool) -> Address {
    if is_v4 { client_v4(1) } else { client_v6(1) }
}

fn segment(is_v4: bool, port: u16, flags: u8) -> Vec<u8> {
    Spec::tcp((client(is_v4), port), (vip(is_v4), 80), flags).frame()
}

/// All that a client may send to the VIP, in both families.
fn requests() -> Vec<Spec> {
    let mut all = Vec::new();
    for is_v4 in [true, false] {
        let (client, vip) = (client(is_v4), vip(is_v4));
        all.push(Spec::tcp((client, 40_000), (vip, 80), SYN));
        all.push(Spec::new((client, 40_000), (vip, 53), Carried::Udp));
        all.push(Spec::new((client, 77), (vip, 0), Carried::Echo { answer: false }));
    }
    all
}

impl Appliance {
    /// A connection after its handshake: the client's key leads to it.
    #[track_caller]
    fn connect(&mut self, is_v4: bool, port: u16) -> Vec<u8> {
        let out = self.sends(&segment(is_v4, port, SYN));
        self.sends(&reply_to(&out, SYN_ACK).expect("an answer"));
        self.sends(&segment(is_v4, port, ACK))
    }

    fn count(&self, tenure: Tenure) -> usize {
        self.tables.flows(tenure).count()
    }

    fn forward(&self, tenure: Tenure) -> Flow {
        let mut flows = self.tables.flows(tenure).map(|(_, flow)| flow);
        flows.find(|flow| flow.role == role::FORWARD).expect("a flow from a client")
    }
}

#[test]
fn what_goes_out_and_comes_back_is_what_the_vip_would_have_answered() {
    for request in requests() {
        let mut appliance = Appliance::of(&world());
        let frame = request.frame();
        let out = appliance.sends(&frame);
        let sent = inside(&out[ETHERNET_BYTES..]).expect("sound");
        let world = world();
        let pools = [world.settings.pool_v4.address, world.settings.pool_v6.address];
        assert!(pools.contains(&sent.source), "from the pool");
        assert!(world.backends.iter().any(|(_, backend)| backend.address == sent.destination));
        let back = appliance.sends(&reply_to(&out, SYN_ACK).expect("an answer"));
        let expected = reply_to(&frame, SYN_ACK).expect("an answer");
        // All of it but the hop taken away, and with it IPv4's header checksum.
        let mut expected = expected;
        let hop = ETHERNET_BYTES + if request.source.is_v4() { 8 } else { 7 };
        assert_eq!(back[hop], expected[hop] - 1);
        expected[hop] = back[hop];
        if request.source.is_v4() {
            let checksum = ETHERNET_BYTES + 10..ETHERNET_BYTES + 12;
            expected[checksum.clone()].copy_from_slice(&back[checksum]);
        }
        assert_eq!(back[ETHERNET_BYTES..], expected[ETHERNET_BYTES..], "{request:?}");
    }
}

#[test]
fn answers_go_to_the_router_that_the_client_came_from() {
    let mut appliance = Appliance::of(&world());
    for port in 40_000..40_032 {
        let frame = segment(true, port, SYN);
        let (verdict, out) = appliance.takes(&frame);
        // Backend 2 has a next hop of its own, the others are where the packet came from.
        let own = out[ETHERNET_BYTES + 19] == 2;
        let interface = if own { 7 } else { 0 };
        assert_eq!(verdict, Verdict::Send { interface });
        let next = if own { [2, 0, 0, 0, 1, 2] } else { [2, 0, 0, 0, 0, 2] };
        assert_eq!(out[..6], next);
        let mut reply = reply_to(&out, SYN_ACK).expect("an answer");
        reply[..12].copy_from_slice(&[6; 12]);
        reply[0] = 4;
        let (verdict, back) = appliance.takes(&reply);
        assert_eq!(verdict, Verdict::Send { interface: 3 });
        assert_eq!(back[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    }
}

#[test]
fn a_flow_is_proven_when_the_client_goes_on_after_an_answer() {
    for is_v4 in [true, false] {
        let mut appliance = Appliance::of(&world());
        appliance.sends(&segment(is_v4, 40_000, SYN));
        appliance.sends(&segment(is_v4, 40_000, ACK));
        assert_eq!((appliance.count(Tenure::New), appliance.count(Tenure::Proven)), (2, 0));
        appliance.connect(is_v4, 40_000);
        assert_eq!((appliance.count(Tenure::New), appliance.count(Tenure::Proven)), (0, 2));
    }
}

#[test]
fn timeouts_follow_the_state_of_the_connection() {
    // The flags that the client and the backend send, and how long the flow then lives.
    for (from_client, from_backend, ticks) in [
        (ACK, ACK, 600_000),
        (FIN, ACK, 120_000),
        (ACK, FIN, 120_000),
        (FIN, FIN, 10_000),
        (RST, ACK, 10_000),
        (ACK, RST, 10_000),
    ] {
        for (waited, kept) in [(ticks, true), (ticks + 1, false)] {
            let mut appliance = Appliance::of(&world());
            let out = appliance.connect(true, 40_000);
            appliance.sends(&reply_to(&out, from_backend).expect("an answer"));
            if from_client != ACK {
                appliance.sends(&segment(true, 40_000, from_client));
            }
            appliance.wait(waited);
            let (verdict, _) = appliance.takes(&reply_to(&out, ACK).expect("an answer"));
            let sent = matches!(verdict, Verdict::Send { .. });
            assert_eq!(sent, kept, "{from_client:#x} {from_backend:#x} {waited}");
        }
    }
}

#[test]
fn data_after_a_reset_takes_the_reset_back() {
    let mut appliance = Appliance::of(&world());
    appliance.connect(true, 40_000);
    appliance.sends(&segment(true, 40_000, RST));
    assert_ne!(appliance.forward(Tenure::Proven).state & seen::RESET, 0);
    appliance.sends(&segment(true, 40_000, ACK));
    for (_, flow) in appliance.tables.flows(Tenure::Proven) {
        assert_eq!(flow.state & seen::RESET, 0, "in both directions");
    }
}

#[test]
fn a_syn_after_the_end_begins_a_new_flow_and_one_before_does_not() {
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    appliance.sends(&segment(true, 40_000, SYN));
    assert_eq!(appliance.count(Tenure::New), 0, "it belongs to the flow");
    appliance.sends(&segment(true, 40_000, FIN));
    appliance.sends(&reply_to(&out, FIN).expect("an answer"));
    appliance.sends(&segment(true, 40_000, SYN));
    assert_eq!((appliance.count(Tenure::New), appliance.count(Tenure::Proven)), (2, 0));
    assert_eq!(appliance.forward(Tenure::New).state, seen::SYN);
}

#[test]
fn either_entry_is_made_anew_of_the_other() {
    for lost in [role::FORWARD, role::RETURN] {
        for is_v4 in [true, false] {
            let mut appliance = Appliance::of(&world());
            let out = appliance.connect(is_v4, 40_000);
            let reply = reply_to(&out, ACK).expect("an answer");
            let before = appliance.sends(&reply);
            let entry = appliance.tables.flows(Tenure::Proven).find(|(_, flow)| flow.role == lost);
            let (key, flow) = entry.expect("both directions");
            crate::Tables::remove_flow(&appliance.tables, Tenure::Proven, &key);
            appliance.wait(2_000);
            // A packet of the other direction brings it back.
            if lost == role::FORWARD {
                appliance.sends(&reply);
            } else {
                appliance.sends(&segment(is_v4, 40_000, ACK));
            }
            let again = appliance.tables.flows(Tenure::Proven).find(|(_, flow)| flow.role == lost);
            let (key_again, flow_again) = again.expect("it is back");
            assert_eq!(key_again, key);
            let told = |flow: Flow| Flow { bytes: 0, seen: 0, paired: 0, ..flow };
            if lost == role::RETURN {
                assert_eq!(told(flow_again), told(flow));
                assert_eq!(appliance.sends(&reply), before);
            }
            assert_eq!(appliance.sends(&segment(is_v4, 40_000, ACK)), out);
        }
    }
}

#[test]
fn no_two_flows_share_a_port_towards_a_backend() {
    let mut world = world();
    world.settings.pool_v4.lane_ports = 40;
    // So many that none is pushed out.
    world.flows_max = 8_192;
    let mut appliance = Appliance::of(&world);
    let mut seen_ports = std::collections::BTreeSet::new();
    let mut exhausted = 0;
    for port in 0..200 {
        let (verdict, out) = appliance.takes(&segment(true, 30_000 + port, SYN));
        if verdict == Verdict::Drop(Cause::PortsExhausted) {
            exhausted += 1;
            continue;
        }
        let tuple = out[ETHERNET_BYTES + 12..ETHERNET_BYTES + 24].to_vec();
        assert!(seen_ports.insert(tuple), "two flows with one tuple");
    }
    // Three backends with 40 ports each: 120 of 200 at most, and not many fewer.
    assert!((100..=120).contains(&seen_ports.len()), "{}", seen_ports.len());
    assert_eq!(exhausted + seen_ports.len(), 200);
    // Idle ones are taken over, and their answers go nowhere any more.
    appliance.wait(60_001);
    appliance.sends(&segment(true, 50_000, SYN));
}

#[test]
fn lanes_have_ports_of_their_own() {
    let world = world();
    let mut lanes = Vec::new();
    for lane in 0..2 {
        let mut appliance = Appliance { tables: world.tables(lane), now: world.start };
        let ports = (0..50_u16).map(|port| {
            let out = appliance.sends(&segment(true, 30_000 + port, SYN));
            u16::from_be_bytes([out[ETHERNET_BYTES + 20], out[ETHERNET_BYTES + 21]])
        });
        lanes.push(ports.collect::<Vec<_>>());
    }
    assert!(lanes[0].iter().all(|port| (20_000..20_200).contains(port)));
    assert!(lanes[1].iter().all(|port| (20_200..20_400).contains(port)));
}

#[test]
fn draining_keeps_flows_and_death_places_them_anew() {
    let change = |appliance: &mut Appliance, index: u32, state| {
        let world = world();
        let (_, backend) = world.backends[index as usize];
        let changed = crate::value::Backend { state, ..backend };
        assert!(appliance.tables.set_backend(index, Some(changed)));
    };
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    let index = appliance.forward(Tenure::Proven).backend;
    change(&mut appliance, index, state::DRAINING);
    // The control side has built a table without it.
    let other = (index + 1) % 3;
    appliance.tables.set_maglev(0, vec![other; 65_537].into());
    assert_eq!(appliance.sends(&segment(true, 40_000, ACK)), out);
    appliance.sends(&segment(true, 40_001, SYN));
    assert_eq!(appliance.forward(Tenure::New).backend, other);
    change(&mut appliance, index, state::DOWN);
    let after = appliance.sends(&segment(true, 40_000, ACK));
    let host = |frame: &[u8]| frame[ETHERNET_BYTES + 19];
    assert_ne!(host(&after), host(&out));
    change(&mut appliance, other, state::DOWN);
    let (verdict, _) = appliance.takes(&segment(true, 40_002, SYN));
    assert_eq!(verdict, Verdict::Drop(Cause::NoBackend));
}

#[test]
fn errors_about_a_flow_go_where_it_goes_and_quote_what_was_sent_there() {
    for request in requests() {
        let is_v4 = request.source.is_v4();
        let icmp = |from: Address, about: &[u8], kept: usize| {
            let packet = &about[ETHERNET_BYTES..];
            let to = inside(packet).expect("sound").source;
            let (icmp_type, code) = if is_v4 { (3, 4) } else { (2, 0) };
            let mut spec = Spec::new((from, 0), (to, 0), Carried::Icmp { icmp_type, code });
            spec.payload = packet[..kept.min(packet.len())].to_vec();
            spec
        };
        let mut appliance = Appliance::of(&world());
        let frame = request.frame();
        let out = appliance.sends(&frame);
        let back = appliance.sends(&reply_to(&out, ACK).expect("an answer"));
        let router = if is_v4 { client_v4(250) } else { client_v6(250) };
        // The shortest quote there may be, and the whole packet.
        for kept in [if is_v4 { 28 } else { 48 }, 1_000] {
            // A router before the client, about the answer; one before the backend, the request.
            for (about, original) in [(&back, reply_to(&out, ACK)), (&out, Some(frame.clone()))] {
                let error = appliance.sends(&icmp(router, about, kept).frame());
                let carried = inside(&error[ETHERNET_BYTES..]).expect("sound").carried;
                let original = original.expect("an answer");
                let quoted = inside_cut(&carried[8..]);
                let expected = inside_cut(&original[ETHERNET_BYTES..]);
                assert_eq!(quoted.0, expected.0, "addresses");
                let bytes = quoted.1.len().min(expected.1.len());
                assert_eq!(quoted.1[..bytes], expected.1[..bytes], "{request:?}, {kept}");
                assert!(bytes >= 8);
            }
        }
    }
}

/// Addresses and carried bytes of a packet that may be cut.
fn inside_cut(packet: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if packet[0] >> 4 == 4 {
        (packet[12..20].to_vec(), packet[20..].to_vec())
    } else {
        (packet[8..40].to_vec(), packet[40..].to_vec())
    }
}

#[test]
fn a_flood_of_first_packets_cuts_no_proven_flow() {
    let mut appliance = Appliance::of(&world());
    let kept: Vec<_> = (0..100).map(|port| appliance.connect(true, 20_000 + port)).collect();
    for number in 0..100_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let source = Address::v4([100, 64, high, low]);
        let flood = Spec::tcp((source, 1_000), (vip(true), 80), SYN);
        appliance.takes(&flood.frame());
    }
    for (port, out) in kept.iter().enumerate() {
        assert_eq!(appliance.sends(&segment(true, 20_000 + port as u16, ACK)), *out);
        appliance.sends(&reply_to(out, ACK).expect("an answer"));
    }
    assert_eq!(appliance.count(Tenure::Proven), 200);
}

#[test]
fn another_family_than_the_vips_has_no_backend() {
    let mut other = world();
    other.vips[0].1.maglev = 1;
    let mut appliance = Appliance::of(&other);
    let (verdict, _) = appliance.takes(&segment(true, 40_000, SYN));
    assert_eq!(verdict, Verdict::Drop(Cause::NoBackend));
    let no_pool = |world: &mut World| world.settings.pool_v4.lane_ports = 0;
    let mut other = world();
    no_pool(&mut other);
    let mut appliance = Appliance::of(&other);
    let (verdict, _) = appliance.takes(&segment(true, 40_000, SYN));
    assert_eq!(verdict, Verdict::Drop(Cause::PortsExhausted));
}

#[test]
fn a_flow_whose_port_another_one_has_begins_anew() {
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    // Pushed out, and taken by another client since.
    let flows = appliance.tables.flows(Tenure::Proven);
    let (key, flow) = { flows }.find(|(_, flow)| flow.role == role::RETURN).expect("one");
    let other = Flow { destination: client_v4(2), ..flow };
    crate::Tables::put_flow(&appliance.tables, Tenure::Proven, &key, &other);
    appliance.wait(2_000);
    let again = appliance.sends(&segment(true, 40_000, ACK));
    let tuple = ETHERNET_BYTES + 12..ETHERNET_BYTES + 24;
    assert_ne!(again[tuple.clone()], out[tuple], "another port");
    let kept = crate::Tables::flow(&appliance.tables, Tenure::Proven, &key).expect("still there");
    assert_eq!(kept.get().destination, client_v4(2));
    // The other way round: an answer for a flow that goes elsewhere now is for nobody.
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    let flows = appliance.tables.flows(Tenure::Proven);
    let (key, flow) = { flows }.find(|(_, flow)| flow.role == role::FORWARD).expect("one");
    let elsewhere = Flow { source_port: 1, ..flow };
    crate::Tables::put_flow(&appliance.tables, Tenure::Proven, &key, &elsewhere);
    appliance.wait(2_000);
    let (verdict, _) = appliance.takes(&reply_to(&out, ACK).expect("an answer"));
    assert_eq!(verdict, Verdict::Pass(Cause::NotOurs));
}

#[test]
fn packets_of_one_direction_keep_both_alive_and_the_way_back_up_to_date() {
    let mut appliance = Appliance::of(&world());
    let request = Spec::new((client(true), 40_000), (vip(true), 53), Carried::Udp);
    let out = appliance.sends(&request.frame());
    let mut from_elsewhere = request.frame();
    from_elsewhere[6..12].copy_from_slice(&[4, 0, 0, 0, 0, 4]);
    for _ in 0..10 {
        appliance.wait(10_000);
        assert_eq!(appliance.sends(&from_elsewhere)[ETHERNET_BYTES..], out[ETHERNET_BYTES..]);
    }
    let back = appliance.sends(&reply_to(&out, 0).expect("an answer"));
    assert_eq!(back[..6], [4, 0, 0, 0, 0, 4], "by the router that the client now comes from");
}

#[test]
fn flows_of_a_vip_that_is_another_one_now_are_no_flows() {
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    let (number, vip) = world().vips[0];
    appliance.tables.set_vip(number, Some(crate::value::Vip { generation: 2, ..vip }));
    let (verdict, _) = appliance.takes(&reply_to(&out, ACK).expect("an answer"));
    assert_eq!(verdict, Verdict::Pass(Cause::NotOurs));
    appliance.sends(&segment(true, 40_000, ACK));
    assert_eq!((appliance.count(Tenure::New), appliance.count(Tenure::Proven)), (2, 0));
}

#[test]
fn an_entry_from_a_clock_a_moment_ahead_is_young() {
    let now = Tick(5);
    assert_eq!(now.since(3), 2);
    assert_eq!(now.since(u32::MAX), 6, "over the wrap");
    assert_eq!(now.since(6), 0);
    assert_eq!(now.since(1_000), 0);
    assert!(now.since(2_000) > 1 << 31, "that is no moment");
}

#[test]
fn an_error_keeps_no_flow_alive_and_costs_no_token() {
    let mut appliance = Appliance::of(&world());
    let from = client_v4(130);
    let request = Spec::new((from, 40_000), (vip(true), 53), Carried::Udp).frame();
    let out = appliance.sends(&request);
    let back = appliance.sends(&reply_to(&out, 0).expect("an answer"));
    let icmp = Carried::Icmp { icmp_type: 3, code: 3 };
    let mut error = Spec::new((from, 0), (vip(true), 0), icmp);
    error.payload = back[ETHERNET_BYTES..].to_vec();
    for _ in 0..40 {
        appliance.sends(&error.frame());
    }
    appliance.wait(29_000);
    appliance.sends(&error.frame());
    appliance.wait(1_001);
    assert_eq!(appliance.takes(&error.frame()).0, Verdict::Drop(Cause::IcmpUnrelated));
}

#[test]
fn an_error_for_another_than_who_sent_the_packet_is_not_ours() {
    let mut appliance = Appliance::of(&world());
    let out = appliance.connect(true, 40_000);
    let back = appliance.sends(&reply_to(&out, ACK).expect("an answer"));
    let icmp = Carried::Icmp { icmp_type: 3, code: 4 };
    let mut error = Spec::new((client_v4(250), 0), (encaps()[2].0, 0), icmp);
    error.payload = back[ETHERNET_BYTES..].to_vec();
    assert_eq!(appliance.takes(&error.frame()).0, Verdict::Pass(Cause::NotOurs));
}

#[test]
fn no_udp_checksum_stays_none_and_none_becomes_none() {
    let mut appliance = Appliance::of(&world());
    let request = Spec::new((client(true), 40_000), (vip(true), 53), Carried::Udp);
    let checksum = ETHERNET_BYTES + 20 + 6;
    let mut frame = request.frame();
    frame[checksum..][..2].fill(0);
    // RFC 768: all zero means that the sender made none.
    assert_eq!(appliance.sends(&frame)[checksum..][..2], [0, 0]);
    // Two bytes of payload that make the translated checksum zero, which is sent as all ones.
    let mut zeros = 0;
    for word in 0..=u16::MAX {
        let mut request = request.clone();
        request.payload = word.to_be_bytes().to_vec();
        let out = appliance.sends(&request.frame());
        assert_ne!(out[checksum..][..2], [0, 0]);
        zeros += usize::from(out[checksum..][..2] == [0xff, 0xff]);
    }
    assert_eq!(zeros, 1);
}
