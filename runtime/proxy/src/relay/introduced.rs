//! Datagrams with a header of the PROXY protocol in front: who they are from, said by a proxy
//! before us, and by us to endpoints.
//!
//! Every datagram has one, not only a flow's first: a first one may be lost, or come late. So do
//! those who send datagrams this way for DNS, and so do servers that take them.

use penstock_config::Service;
use penstock_env::{Datagrams, Ends, Sent};
use penstock_wire::proxy_protocol::{Addresses, Parsed, parse, write_v2_for_datagrams};

use crate::failure::Cause;

/// Takes the header off: the ends that it names, if it names some, and what is behind it.
///
/// # Errors
/// There is no whole header.
pub(super) fn read(datagram: &[u8]) -> Result<(Option<Ends>, &[u8]), Cause> {
    let Ok(Parsed::Complete(header)) = parse(datagram) else {
        return Err(Cause::ProxyHeaderInvalid);
    };
    let ends = |Addresses { source, destination }| Ends { peer: source, local: destination };
    Ok((header.addresses.map(ends), &datagram[header.bytes..]))
}

/// What stands in front of each datagram to an endpoint of a flow with these ends.
pub(super) fn header(service: &Service, ends: Ends) -> Box<[u8]> {
    let mut header = Vec::new();
    // Version 1 knows no datagrams: the config says version 2, or nothing.
    if service.send_proxy_protocol.is_some() {
        let Ends { peer: source, local: destination } = ends;
        write_v2_for_datagrams(Addresses { source, destination }, &mut header);
    }
    header.into()
}

/// Sends datagrams, each with the header in front; what is counted is behind it.
pub(super) fn send<D: Datagrams>(up: &D, header: &[u8], datagrams: &[&[u8]]) -> Sent {
    if header.is_empty() {
        return up.send(datagrams);
    }
    let whole: Vec<Vec<u8>> = datagrams.iter().map(|one| [header, one].concat()).collect();
    let parts: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
    let Sent { datagrams, bytes } = up.send(&parts);
    Sent { datagrams, bytes: bytes - datagrams * header.len() }
}
