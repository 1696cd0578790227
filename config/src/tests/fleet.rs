//! `[fleet]` and what BIRD is told.

use crate::tests::mistakes::check;
use crate::tests::parse;

#[test]
fn one_peer_need_not_stand_in_a_list_and_the_rest_has_defaults() {
    let text = "[fleet]\nbgp = { asn = 65010, router_id = \"10.0.0.2\", peers = \"10.0.0.1\" }";
    let bgp = parse(text).expect("it is whole").fleet.bgp.expect("it is there");
    assert_eq!((bgp.peers.len(), bgp.peers[0].asn()), (1, None));
    assert!(bgp.announce.is_empty() && bgp.bfd);
    assert_eq!(bgp.socket.to_str(), Some("/run/bird/bird.ctl"));
}

#[test]
fn what_no_router_would_take_is_refused() {
    let bgp = |rest: &str| format!("[fleet.bgp]\nasn = 1\nrouter_id = \"10.0.0.2\"\n{rest}\n");
    check(
        "[fleet.bgp]\nasn = 0\nrouter_id = \"0.0.0.0\"\npeers = []\n",
        &[
            "2:7 value fleet.bgp.asn: at least 1",
            "3:13 value fleet.bgp.router_id: 0.0.0.0 names no router",
            "4:9 value fleet.bgp.peers: at least 1 needed",
        ],
    );
    check(
        &bgp("peers = [\"10.0.0.1\", \"10.0.0.1 as 3\"]"),
        &["4:9 reference fleet.bgp.peers: 10.0.0.1 is listed twice"],
    );
    check(
        &bgp("peers = [\"10.0.0.1 as 0\", \"224.0.0.1\", \"router\"]"),
        &[
            "4:10 value fleet.bgp.peers[0]: an autonomous system is 1 to 4294967294",
            "4:27 value fleet.bgp.peers[1]: a router has an address of its own",
            "4:40 value fleet.bgp.peers[2]: a router is \"10.0.0.1\" or \"10.0.0.1 as 65001\"",
        ],
    );
    check(
        &bgp("peers = \"10.0.0.1\"\ntemplate = \"2nd\""),
        &["5:12 value fleet.bgp.template: a name has letters, digits and _, no digit first"],
    );
    check(
        &bgp("peers = \"10.0.0.1\"\nsocket = \"bird.ctl\""),
        &["5:10 reference fleet.bgp.socket: not a path from the root"],
    );
}
