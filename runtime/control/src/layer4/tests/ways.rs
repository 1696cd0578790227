//! The ways to backends: known before the first packet, or soon, and kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use penstock_env::Time;
use penstock_l4::value::{Address, Link, state};

use super::super::assign::Assignment;
use super::super::plan::ip_of;
use super::super::running::Layer4;
use super::world::{FOUR, THREE, put, running, site, sound};

#[test]
fn ways_are_known_when_the_datapath_starts_and_kept_over_changes_and_restarts() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let first = links(&layer4);
    assert!(first.iter().all(|(ip, _, link)| *link == expected(ip)), "{first:?}");
    // One that drains is reached as before.
    put(&mut layer4, &site("\"10.1.0.1\", \"fd01::1\""));
    let drains = links(&layer4).into_iter().filter(|(_, state, _)| *state == state::DRAINING);
    let drains: Vec<_> = drains.collect();
    assert!(!drains.is_empty() && drains.iter().all(|(ip, _, link)| *link == expected(ip)));
    let adopted = Assignment::adopt(running(&layer4).datapath.kept().expect("they say"));
    assert_eq!(adopted.backends, running(&layer4).assignment.backends);
}

#[test]
fn the_way_to_a_new_backend_is_looked_for_until_it_is_known() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    layer4.find_ways(at(0));
    put(&mut layer4, &site(FOUR));
    let known = |layer4: &Layer4| links(layer4).iter().all(|(ip, _, link)| *link == expected(ip));
    // The kernel is made to ask, and its next hop answers.
    layer4.find_ways(at(100));
    assert!(!known(&layer4), "back by who they came from");
    let next = layer4.next_look();
    assert!(next <= at(110), "{next:?}");
    layer4.find_ways(next);
    assert!(known(&layer4));
    // Of the one over IPv6 none is ever known: it is looked for less and less often.
    let mut looks = 0;
    while layer4.next_look() < at(10_000) {
        layer4.find_ways(layer4.next_look());
        looks += 1;
    }
    assert!((10..20).contains(&looks), "{looks}");
}

fn links(layer4: &Layer4) -> Vec<(IpAddr, u8, Link)> {
    let kept = running(layer4).datapath.kept().expect("they say");
    kept.backends.iter().map(|(_, one)| (ip_of(one.address), one.state, one.link)).collect()
}

fn expected(ip: &IpAddr) -> Link {
    match ip {
        IpAddr::V4(ip) => way_to(ip.octets()[3]),
        IpAddr::V6(_) => Link::default(),
    }
}

fn at(millis: u64) -> Time {
    Time::default() + Duration::from_millis(millis)
}

/// The way that a datapath knows to 10.1.0.`host`.
fn way_to(host: u8) -> Link {
    Link { destination: [2, 0, 0, 0, 0, host], source: [2; 6], interface: 7 }
}

/// Those of 10.1.0.0/24, by host. Each is known once it was asked for.
#[derive(Clone)]
pub(super) struct Neighbours(Arc<[AtomicBool; 256]>);

impl Neighbours {
    pub(super) fn new() -> Neighbours {
        Neighbours(Arc::new([const { AtomicBool::new(false) }; 256]))
    }

    pub(super) fn ways(&self, addresses: &[Address], interfaces: &[String]) -> Vec<Link> {
        let known = |address: &Address| match address.octets() {
            [.., 10, 1, 0, host] if !interfaces.is_empty() => {
                let known = self.0[usize::from(host)].swap(true, Relaxed);
                if known { way_to(host) } else { Link::default() }
            }
            _ => Link::default(),
        };
        addresses.iter().map(known).collect()
    }
}
