//! What a driver says that it can do with XDP programs (Linux 6.3 and newer, by `netdev` of generic
//! netlink). No capability is needed to ask.

use crate::XdpError;
use crate::netlink::{Body, Netlink, attribute};

/// Whether the driver of an interface runs XDP programs as it is set now; nothing where the kernel
/// does not say.
pub(crate) fn runs_programs(index: u32) -> Result<Option<bool>, XdpError> {
    let mut netlink = Netlink::open_for(libc::NETLINK_GENERIC)?;
    let family = Body::generic(GET_FAMILY).with(FAMILY_NAME, b"netdev\0");
    let Ok(answer) = netlink.ask(CONTROL, 0, &family) else { return Ok(None) };
    let Some(number) =
        attribute(&answer, GENERIC_BYTES, FAMILY_ID).and_then(|value| value.first_chunk())
    else {
        return Ok(None);
    };
    let device = Body::generic(GET_DEVICE).with(DEVICE_INDEX, &index.to_ne_bytes());
    let Ok(answer) = netlink.ask(u16::from_ne_bytes(*number), 0, &device) else { return Ok(None) };
    let features =
        attribute(&answer, GENERIC_BYTES, XDP_FEATURES).and_then(|value| value.first_chunk());
    Ok(features.map(|bytes| u64::from_ne_bytes(*bytes) & BASIC != 0))
}

/// `linux/genetlink.h`: the part that knows the others, and what it is asked.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/netdev.h`.
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
const BASIC: u64 = 1;
/// Of `struct genlmsghdr`.
const GENERIC_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_runs_no_programs_in_its_driver() {
        let lo = crate::Interface::named("lo").expect("every machine has one");
        let said = runs_programs(lo.index()).expect("the kernel can be asked");
        assert_ne!(said, Some(true));
    }
}
