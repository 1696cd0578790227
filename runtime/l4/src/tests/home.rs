//! Lanes that share no table: whose packet it is.

use crate::memory::{Home, home};
use crate::testing::{
    Carried, ETHERNET_BYTES, Spec, client_v4, client_v6, encaps, reply_to, world,
};
use crate::value::Address;
use crate::{Buffer, MemoryTables, Verdict, handle};

const SYN: u8 = 0x02;

/// Two lanes of one appliance.
fn lanes() -> [MemoryTables; 2] {
    [world().tables(0), world().tables(1)]
}

#[track_caller]
fn check(lanes: &[MemoryTables; 2], frame: &[u8], expected: [Home; 2]) {
    let packet = Buffer::<0>::new(&frame[ETHERNET_BYTES..], 3);
    let now = world().start;
    assert_eq!(lanes.each_ref().map(|tables| home(&packet, tables, now)), expected);
}

/// Client, VIP and what they send to it, for each family and mode.
fn requests() -> Vec<Spec> {
    let mut all = Vec::new();
    for (vip, ..) in encaps() {
        let client = if vip.is_v4() { client_v4(1) } else { client_v6(1) };
        all.push(Spec::tcp((client, 40_000), (vip, 80), SYN));
        all.push(Spec::new((client, 40_000), (vip, 53), Carried::Udp));
        all.push(Spec::new((client, 77), (vip, 0), Carried::Echo { answer: false }));
    }
    all
}

/// Somebody on the way complains to `to` about a packet without its link header.
fn complaint(to: Address, quoted: &[u8]) -> Vec<u8> {
    let (from, icmp_type, code) =
        if to.is_v4() { (client_v4(9), 3, 4) } else { (client_v6(9), 2, 0) };
    let mut spec = Spec::new((from, 0), (to, 0), Carried::Icmp { icmp_type, code });
    spec.payload = quoted.to_vec();
    spec.frame()
}

#[test]
fn what_clients_send_belongs_where_it_came() {
    for request in requests() {
        check(&lanes(), &request.frame(), [Home::Here, Home::Here]);
    }
    check(&lanes(), &[0; ETHERNET_BYTES], [Home::Here, Home::Here]);
}

#[test]
fn an_answer_to_a_translated_packet_belongs_to_the_lane_that_took_its_port() {
    for (taker, request) in requests().iter().flat_map(|one| [(0, one), (1, one)]) {
        let lanes = lanes();
        let mut packet = Buffer::<ETHERNET_BYTES>::new(&request.frame(), 3);
        let verdict = handle(&mut packet, &lanes[taker], world().start);
        assert!(matches!(verdict, Verdict::Send { .. }), "{request:?}: {verdict:?}");
        let out = packet.as_slice();
        let nat = encaps()[..2].iter().any(|(vip, ..)| *vip == request.destination);
        if !nat {
            continue;
        }
        let lane = Home::Lane(taker as u32);
        let answer = reply_to(out, SYN).expect("it has one");
        check(&lanes, &answer, [lane, lane]);
        // So does an error about what went to the backend.
        let pool = if request.source.is_v4() {
            world().settings.pool_v4
        } else {
            world().settings.pool_v6
        };
        check(&lanes, &complaint(pool.address, &out[ETHERNET_BYTES..]), [lane, lane]);
    }
}

#[test]
fn an_error_about_what_went_to_a_client_belongs_to_the_lane_that_knows_its_flow() {
    for request in requests() {
        let lanes = lanes();
        let frame = request.frame();
        let mut packet = Buffer::<ETHERNET_BYTES>::new(&frame, 3);
        handle(&mut packet, &lanes[1], world().start);
        let answer = reply_to(&frame, SYN).expect("it has one");
        let complaint = complaint(request.destination, &answer[ETHERNET_BYTES..]);
        check(&lanes, &complaint, [Home::Elsewhere, Home::Here]);
    }
}

#[test]
fn a_port_that_no_lane_has_belongs_nowhere_else() {
    let pool = world().settings.pool_v4;
    for port in [pool.port_first - 1, 0] {
        let stray = Spec::tcp((client_v4(1), 80), (pool.address, port), SYN);
        check(&lanes(), &stray.frame(), [Home::Here, Home::Here]);
    }
    // Who asks has to see whether there is such a lane.
    let beyond = Spec::tcp((client_v4(1), 80), (pool.address, u16::MAX), SYN);
    let lane = u32::from((u16::MAX - pool.port_first) / pool.lane_ports);
    check(&lanes(), &beyond.frame(), [Home::Lane(lane), Home::Lane(lane)]);
}
