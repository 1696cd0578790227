//! Networks, and which of them an address is in: the longest prefix wins.
//!
//! IPv4 addresses are kept as IPv4-mapped IPv6 ones (RFC 4291 §2.5.5.2), so there is one table and
//! a mapped address finds the same network as the plain one. Per prefix length there is a sorted
//! list; a look-up asks the lengths that occur, longest first. Ten lengths of ten thousand
//! networks each are 10 x 14 comparisons.

use std::fmt;
use std::net::IpAddr;

/// An address and how many bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network {
    /// Of the 128.
    length: u8,
    bits: u128,
}

/// What belongs to which network.
pub(crate) struct Networks {
    /// By length, longest first; the addresses of each in order.
    lengths: Vec<(u8, Vec<(u128, usize)>)>,
}

impl Network {
    /// Reads `ADDRESS/LENGTH`; an address alone is a network of one.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "not an address")?;
        let (all, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            None => all,
            Some(length) => length.parse().map_err(|_| "the length after / is not a number")?,
        };
        if length > all {
            return Err("the length is more than the address has bits");
        }
        let network = Self { length: before + length, bits: mapped(address) };
        // A typing mistake more often than a wish: 10.1.2.3/8.
        if network.bits & mask(network.length) != network.bits {
            return Err("the address has bits beyond the length");
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = std::net::Ipv6Addr::from(self.bits);
        match (address.to_ipv4_mapped(), self.length.checked_sub(96)) {
            (Some(address), Some(length)) => write!(f, "{address}/{length}"),
            _ => write!(f, "{address}/{}", self.length),
        }
    }
}

impl Networks {
    /// The table of `networks`. Two entries for one network are an error that names them.
    pub(crate) fn new(
        mut networks: Vec<(Network, usize)>,
    ) -> Result<Self, (Network, usize, usize)> {
        networks.sort_unstable();
        let mut lengths: Vec<(u8, Vec<(u128, usize)>)> = Vec::new();
        for pair in networks.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err((pair[0].0, pair[0].1, pair[1].1));
            }
        }
        for (network, entry) in networks {
            match lengths.last_mut() {
                Some((length, list)) if *length == network.length => {
                    list.push((network.bits, entry));
                }
                _ => lengths.push((network.length, vec![(network.bits, entry)])),
            }
        }
        lengths.reverse();
        Ok(Self { lengths })
    }

    /// The entry of the smallest network that `ip` is in.
    pub(crate) fn find(&self, ip: IpAddr) -> Option<usize> {
        let bits = mapped(ip);
        self.lengths.iter().find_map(|(length, list)| {
            let wanted = bits & mask(*length);
            let place = list.binary_search_by_key(&wanted, |(bits, _)| *bits).ok()?;
            Some(list[place].1)
        })
    }
}

fn mapped(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The first `length` bits of an address.
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0)
}
