//! The way to a backend: what the machine's routes and neighbours say, as a frame's addresses.
//!
//! Asked for by the control side, now and again, and never while a packet waits: the program has
//! the answers in its map. Not for sending anything: a neighbour that is not known is asked for by
//! the kernel, as it does for its own packets.

use penstock_l4::value::{Address, Link};

use crate::Interface;
use crate::netlink::{Body, HEADER_BYTES, Netlink, attribute, wire};

/// The way to each address that goes by one of these interfaces and whose next hop is known; all
/// zeros for the others.
pub(crate) fn ways(addresses: &[Address], interfaces: &[Interface]) -> Vec<Link> {
    let doors = interfaces.iter().filter_map(|one| Some((one.index(), one.station()?)));
    let doors: Vec<(u32, [u8; 6])> = doors.collect();
    let Ok(mut netlink) = Netlink::open() else { return vec![Link::default(); addresses.len()] };
    let ways = addresses.iter().map(|address| way(&mut netlink, address, &doors));
    ways.map(Option::unwrap_or_default).collect()
}

/// Has the kernel ask for the next hop on the way to each of these addresses that goes by one of
/// these interfaces, where it is not known: for the next look at them.
pub fn seek_ways(addresses: &[Address], interfaces: &[Interface]) {
    ways(addresses, interfaces);
}

fn way(netlink: &mut Netlink, address: &Address, doors: &[(u32, [u8; 6])]) -> Option<Link> {
    let (interface, hop) = next_hop(netlink, address)?;
    // By others frames might be lost: their drivers need not take what is redirected.
    let (_, source) = *doors.iter().find(|(door, _)| *door == interface)?;
    let destination = station(netlink, interface, &hop)?;
    Some(Link { destination, source, interface })
}

/// The interface and the next address on the way, as for a packet of this machine.
fn next_hop(netlink: &mut Netlink, address: &Address) -> Option<(u32, Address)> {
    let (family, octets) = wire(address);
    let header = [family, octets.len() as u8 * 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = Body::new(&header).with(libc::RTA_DST, &octets);
    let answer = netlink.ask(libc::RTM_GETROUTE, 0, &body).ok()?;
    // Nothing is sent to what is here, or nowhere.
    if answer.get(ROUTE_KIND_AT) != Some(&libc::RTN_UNICAST) {
        return None;
    }
    let interface = attribute(&answer, ROUTE_BYTES, libc::RTA_OIF)?;
    let interface = u32::from_ne_bytes(*interface.first_chunk()?);
    let router = attribute(&answer, ROUTE_BYTES, libc::RTA_GATEWAY);
    // A router of the other family stands behind that family's number.
    let router = router.or_else(|| attribute(&answer, ROUTE_BYTES, libc::RTA_VIA)?.get(2..));
    Some((interface, router.map_or(Some(*address), address_of)?))
}

/// The station of a neighbour, if it is known. Where that was not confirmed lately, the kernel is
/// told to ask: for the next time.
fn station(netlink: &mut Netlink, interface: u32, hop: &Address) -> Option<[u8; 6]> {
    let (family, octets) = wire(hop);
    let about = |flags: u8| {
        let [a, b, c, d] = interface.to_ne_bytes();
        // `struct ndmsg` of `linux/neighbour.h`.
        Body::new(&[family, 0, 0, 0, a, b, c, d, 0, 0, flags, 0]).with(libc::NDA_DST, &octets)
    };
    let answer = netlink.ask(libc::RTM_GETNEIGH, 0, &about(0)).unwrap_or_default();
    let state = answer.get(NEIGHBOUR_STATE_AT..).and_then(|rest| rest.first_chunk());
    let state = state.map_or(libc::NUD_NONE, |word| u16::from_ne_bytes(*word));
    if state & CONFIRMED == 0 {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE;
        // That it can't ask now is what the next look finds, too.
        let _ = netlink.ask(libc::RTM_NEWNEIGH, flags, &about(libc::NTF_USE));
    }
    if state & (CONFIRMED | HEARD) == 0 {
        return None;
    }
    attribute(&answer, NEIGHBOUR_BYTES, libc::NDA_LLADDR)?.try_into().ok()
}

fn address_of(octets: &[u8]) -> Option<Address> {
    match octets.len() {
        4 => Some(Address::v4(octets.try_into().ok()?)),
        _ => Some(Address::v6(octets.try_into().ok()?)),
    }
}

/// Of `struct rtmsg`, and where the type of a route stands.
const ROUTE_BYTES: usize = 12;
const ROUTE_KIND_AT: usize = HEADER_BYTES + 7;
/// Of `struct ndmsg`, and where the state stands.
const NEIGHBOUR_BYTES: usize = 12;
const NEIGHBOUR_STATE_AT: usize = HEADER_BYTES + 8;
const CONFIRMED: u16 = libc::NUD_REACHABLE | libc::NUD_PERMANENT | libc::NUD_NOARP;
/// What is good until asking has failed.
const HEARD: u16 = libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE;
