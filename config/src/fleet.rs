//! `[fleet]`: the appliances that answer for the same addresses, and how routers hear of them.

use std::path::PathBuf;
use std::time::Duration;

use crate::grammar::reader::TableReader;
use crate::grammar::section::section;
use crate::grammar::setting::ListOf;
use crate::values::address::Cidr;
use crate::values::bgp::{BgpPeer, BirdName, RouterId};
use crate::values::server_name::ServerName;

section! {
    /// The appliances that answer for the same addresses.
    pub struct Fleet("fleet") = default {
        /// What hash tables are seeded with. The same on every appliance of a fleet, and kept
        /// from those who could aim at one endpoint with it.
        hash_seed: String = "penstock".to_owned(), in 1..=256;
        /// All appliances, as they are shown to operators. Nothing is ever sent to them.
        members: Vec<ServerName> = Vec::new(), in MEMBERS;
        /// Announces our addresses to routers, by BIRD on this machine.
        bgp: Option<Bgp> = None;
    }
}

section! {
    /// What BIRD is told to announce, and to whom: while we serve, and no longer.
    pub struct Bgp("bgp", check = check_bgp) {
        /// Our autonomous system (RFC 6793).
        asn: u32, in 1..=4_294_967_294;
        /// Our name among routers: an IPv4 address that no other appliance has.
        router_id: RouterId;
        /// The routers, as "10.0.0.1", or "10.0.0.1 as 65001" where no other system may answer.
        peers: Vec<BgpPeer>, in PEERS;
        /// The networks that are announced; unless set, the VIPs of all services.
        announce: Vec<Cidr> = Vec::new(), in NETWORKS;
        /// Has BIRD watch each session by BFD too (RFC 5880).
        bfd: bool = true;
        /// A `template bgp` of BIRD's own configuration that sessions are made from: passwords,
        /// `multihop`, timers.
        template: Option<BirdName> = None;
        /// Takes back a network while none of the services whose VIPs lie in it has an endpoint
        /// that health checks find up: another site is to have its clients.
        withdraw_when_down: bool = false;
        /// How long before a drain begins the routes are taken back, for routers to hear of it.
        withdraw_wait: Duration = Duration::from_secs(2), in Duration::ZERO..=MINUTE;
        /// The file that BIRD's own configuration includes; we write it.
        include: PathBuf = PathBuf::from("/run/penstock/bird.conf");
        /// BIRD's control socket.
        socket: PathBuf = PathBuf::from("/run/bird/bird.ctl");
    }
}

fn check_bgp(bgp: &Bgp, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    for (index, peer) in bgp.peers.iter().enumerate() {
        if bgp.peers[..index].iter().any(|earlier| earlier.address() == peer.address()) {
            return table.contradict("peers", &format!("{} is listed twice", peer.address()));
        }
    }
    for (key, path) in [("include", &bgp.include), ("socket", &bgp.socket)] {
        if !path.is_absolute() {
            return table.contradict(key, "not a path from the root");
        }
    }
    Some(())
}

const MEMBERS: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 256, bare: false };
const PEERS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 16, bare: true };
const NETWORKS: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 1_000, bare: true };
const MINUTE: Duration = Duration::from_secs(60);
