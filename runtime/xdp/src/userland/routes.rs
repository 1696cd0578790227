//! Routes to single addresses into the device.

use std::io;
use std::net::IpAddr;

use penstock_l4::value::Address;

use crate::XdpError;
use crate::netlink::{Body, HEADER_BYTES, Netlink, wire};

/// The routes into the device of one index.
pub(super) struct Routes {
    netlink: Netlink,
    device: u32,
}

impl Routes {
    /// For routes into the device of that index.
    pub(super) fn open(device: u32) -> Result<Self, XdpError> {
        Ok(Routes { netlink: Netlink::open()?, device })
    }

    /// Routes an address into the device.
    pub(super) fn add(&mut self, address: &Address) -> Result<(), XdpError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let body = route(address).with(libc::RTA_OIF, &self.device.to_ne_bytes());
        let answer = self.netlink.ask(libc::RTM_NEWROUTE, flags, &body);
        answer.map(drop).map_err(|error| failed(address, error))
    }

    /// Takes that back. That there is none is all right.
    pub(super) fn remove(&mut self, address: &Address) -> Result<(), XdpError> {
        let body = route(address).with(libc::RTA_OIF, &self.device.to_ne_bytes());
        match self.netlink.ask(libc::RTM_DELROUTE, libc::NLM_F_ACK, &body) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(failed(address, error)),
            _ => Ok(()),
        }
    }

    /// Whether the machine has the address itself: what is for it is taken before any route.
    pub(super) fn is_local(&mut self, address: &Address) -> Result<bool, XdpError> {
        match self.netlink.ask(libc::RTM_GETROUTE, 0, &route(address)) {
            Ok(answer) => Ok(answer.get(KIND_AT) == Some(&libc::RTN_LOCAL)),
            // There is no way to it yet, or one that says so.
            Err(error) => match error.raw_os_error() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES) => {
                    Ok(false)
                }
                _ => Err(failed(address, error)),
            },
        }
    }
}

/// `struct rtmsg` of `linux/rtnetlink.h`: to one address, in the main table.
fn route(address: &Address) -> Body {
    let (family, octets) = wire(address);
    let scope = if address.is_v4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let (table, protocol, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST);
    let bits = octets.len() as u8 * 8;
    let header = [family, bits, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    Body::new(&header).with(libc::RTA_DST, &octets)
}

/// What became of a route or rule for an address.
pub(super) fn failed(address: &Address, error: io::Error) -> XdpError {
    XdpError::Route { address: IpAddr::from(address.octets()).to_canonical(), error }
}

/// Where the type of a route stands, behind the header: the eighth byte of `struct rtmsg`.
const KIND_AT: usize = HEADER_BYTES + 7;
