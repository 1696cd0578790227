//! How routers are called: an identifier, and an address with an autonomous system.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// A router's identifier: four octets, written as an IPv4 address, and not zero (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouterId(Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RouterId {
    type Err = BadText;

    fn from_str(text: &str) -> Result<RouterId, BadText> {
        match text.parse() {
            Ok(Ipv4Addr::UNSPECIFIED) => Err(BadText("0.0.0.0 names no router")),
            Ok(address) => Ok(RouterId(address)),
            Err(_) => Err(BadText("not an IPv4 address")),
        }
    }
}

/// What something is called in BIRD's configuration: a letter or `_`, then digits, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BirdName(Box<str>);

impl fmt::Display for BirdName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BirdName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<BirdName, BadText> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        match begins && text.len() <= 64 && text.bytes().all(fits) {
            true => Ok(BirdName(text.into())),
            false => Err(BadText("a name has letters, digits and _, no digit first")),
        }
    }
}

/// `"10.0.0.1"`, or `"10.0.0.1 as 65001"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BgpPeer {
    address: IpAddr,
    asn: Option<u32>,
}

impl BgpPeer {
    /// The router's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its autonomous system; any but ours if it was not said.
    pub fn asn(&self) -> Option<u32> {
        self.asn
    }
}

impl fmt::Display for BgpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asn {
            Some(asn) => write!(f, "{} as {asn}", self.address),
            None => self.address.fmt(f),
        }
    }
}

impl FromStr for BgpPeer {
    type Err = BadText;

    fn from_str(text: &str) -> Result<BgpPeer, BadText> {
        let (address, asn) = match text.split_once(" as ") {
            Some((address, asn)) => {
                let is_number = asn.bytes().all(|byte| byte.is_ascii_digit());
                let asn = asn.parse().ok().filter(|asn| is_number && (1..u32::MAX).contains(asn));
                (address, Some(asn.ok_or(BadText("an autonomous system is 1 to 4294967294"))?))
            }
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| BadText("a router is \"10.0.0.1\" or \"10.0.0.1 as 65001\""))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(BadText("a router has an address of its own"));
        }
        Ok(BgpPeer { address, asn })
    }
}

text_settings! {
    RouterId: "an IPv4 address";
    BirdName: "a name: letters, digits and _, no digit first";
    BgpPeer: "a router: \"10.0.0.1\" or \"10.0.0.1 as 65001\"";
}
