//! What both sides of the seam to a datapath call by one name, beside what tables hold: whoever
//! decides what tables say, and whoever has them.
//!
//! Not for packets: nothing of it is in the eBPF program.

use std::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use crate::value::{Address, Backend, Vip, VipKey};

/// What tables say, as an earlier process left them.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Services and addresses of ours, each with the number of its VIP.
    pub services: Vec<(VipKey, u16)>,
    /// VIPs by number: all that have ever been one.
    pub vips: Vec<(u16, Vip)>,
    /// Backends by index: all that have ever been one.
    pub backends: Vec<(u32, Backend)>,
    /// Prefixes of sources that have a rule, in bits of IPv6.
    pub sources: Vec<(Address, u8)>,
}

/// From where to where a check of a VIP on one backend goes, and in what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckWay {
    /// Whom clients connect to.
    pub vip: SocketAddr,
    /// Who of the backends is meant.
    pub backend: IpAddr,
    /// The address that packets to it are from; of its family.
    pub outer: IpAddr,
    /// What they are put into: one of [`crate::value::encap`].
    pub encap: u8,
}
