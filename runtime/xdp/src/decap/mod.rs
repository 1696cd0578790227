//! The backend's side of `dsr`: takes off the header that an appliance has put on, and hands the
//! packet to the backend's own kernel, which has the VIP on its loopback.
//!
//! In place of a tunnel device, for kernels that have none. Answers don't come this way: the
//! backend sends them to the client directly.

mod inlet;
mod inner;
mod partial;

use std::convert::Infallible;
use std::fs;
use std::net::IpAddr;

pub(crate) use partial::Open;

use crate::decap::inlet::Inlet;
use crate::tun::Tun;
use crate::{Capability, XdpError};

/// Takes packets of appliances out of their encapsulation: GRE, IP in IP and GUE, over IPv4 and
/// IPv6.
pub struct Decap {
    tun: Tun,
    inlets: Vec<Inlet>,
    from: Vec<IpAddr>,
}

impl Decap {
    /// Makes the TUN device and listens; packets that come from no address of `from` are dropped.
    /// Or anybody could reach this machine with any address on the packet inside.
    ///
    /// # Errors
    /// CAP_NET_ADMIN or CAP_NET_RAW is missing, the device is there already, or the kernel drops
    /// what comes by a way that it would not answer by (`rp_filter`).
    pub fn open(device: &str, from: &[IpAddr]) -> Result<Self, XdpError> {
        let needed = [Capability::NetAdmin, Capability::NetRaw];
        if let Some(missing) = Capability::missing(&needed) {
            return Err(XdpError::DecapCapability(missing));
        }
        if fs::read_to_string(RP_FILTER_ALL).is_ok_and(|value| value.trim() == "1") {
            return Err(XdpError::ReversePathFilter);
        }
        let tun = Tun::open(device)?;
        // Ours alone, so that nobody else's rule changes. It is there, or IPv4 is not.
        let _ = fs::write(RP_FILTER_ALL.replace("/all/", &format!("/{}/", tun.name())), "0");
        Ok(Decap { tun, inlets: inlet::all()?, from: from.to_owned() })
    }

    /// Goes on until the kernel refuses to be asked.
    ///
    /// # Errors
    /// The sockets can't be waited for.
    pub fn run(&mut self) -> Result<Infallible, XdpError> {
        let mut memory = vec![0; PACKET_BYTES_MAX];
        loop {
            inlet::wait(&self.inlets)?;
            for inlet in &self.inlets {
                while let Some((bytes, source)) = inlet.next(&mut memory) {
                    let known = self.from.contains(&source);
                    if let Some(packet) = inlet.kind.inner(bytes).filter(|_| known) {
                        // What the kernel takes for no packet, or has no memory for, is lost like
                        // on any other way.
                        let _ = self.tun.put(packet, partial::open(packet));
                    }
                }
            }
        }
    }
}

/// The largest packet that an interface hands up.
const PACKET_BYTES_MAX: usize = 65_536;
const RP_FILTER_ALL: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";
