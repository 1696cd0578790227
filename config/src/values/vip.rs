//! What clients of a layer 4 service send to: an address, and a port with its transport.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::values::text::{BadText, text_settings};

/// `"203.0.113.10"` or `"2001:db8::10"`; `"0.0.0.0"` and `"::"` are every address of the machine,
/// the latter IPv4 and IPv6 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VipAddress(IpAddr);

impl VipAddress {
    /// The address.
    pub fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for VipAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VipAddress {
    type Err = BadText;

    fn from_str(text: &str) -> Result<VipAddress, BadText> {
        let Ok(ip) = text.parse::<IpAddr>() else {
            return Err(match text.contains('/') || text.parse::<std::net::SocketAddr>().is_ok() {
                true => BadText("an address alone: ports stand in `ports`"),
                false => BadText("not an IP address"),
            });
        };
        if ip.is_multicast() {
            return Err(BadText("a multicast address has no connections"));
        }
        if ip != ip.to_canonical() {
            return Err(BadText("write a mapped IPv4 address as IPv4"));
        }
        Ok(VipAddress(ip))
    }
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// `"tcp/443"` or `"udp/53"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Before the slash.
    pub transport: Transport,
    /// Behind it; 0 is one that the kernel chooses.
    pub number: u16,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => write!(f, "tcp/{}", self.number),
            Transport::Udp => write!(f, "udp/{}", self.number),
        }
    }
}

impl FromStr for ServicePort {
    type Err = BadText;

    fn from_str(text: &str) -> Result<ServicePort, BadText> {
        const EXPECTED: BadText = BadText("a port is written \"tcp/443\" or \"udp/53\"");
        let (transport, number) = match text.split_once('/') {
            Some(("tcp", number)) => (Transport::Tcp, number),
            Some(("udp", number)) => (Transport::Udp, number),
            _ => return Err(EXPECTED),
        };
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number);
        Ok(ServicePort { transport, number: number.ok_or(EXPECTED)? })
    }
}

text_settings! {
    VipAddress: "an IP address";
    ServicePort: "a port: \"tcp/443\" or \"udp/53\"";
}
