//! Where listeners listen, endpoints are, and trusted peers come from.
//!
//! No host names: those need discovery, and nothing here looks a name up.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader};
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;
use crate::values::text::{BadText, text_settings};

/// An address that a listener binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `":443"`: the port on every interface, IPv6 and IPv4 by one dual-stack socket.
    AllInterfaces(u16),
    /// `"127.0.0.1:80"` or `"[::1]:80"`.
    Ip(SocketAddr),
    /// `"unix:/run/penstock/web.sock"`: an absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The socket address to bind; `[::]` stands for all interfaces. None for a unix socket.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            ListenAddress::AllInterfaces(port) => {
                Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port))
            }
            ListenAddress::Ip(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// True where only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::AllInterfaces(_) => false,
            ListenAddress::Ip(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }

    /// True where binding both would fail, or worse, share the port without a word
    /// (SO_REUSEPORT). Port 0 is a new port each time and never overlaps.
    pub(crate) fn overlaps(&self, other: &ListenAddress) -> bool {
        let (mine, theirs) = match (self.socket_address(), other.socket_address()) {
            (Some(mine), Some(theirs)) => (mine, theirs),
            (None, None) => return self == other,
            _ => return false,
        };
        let any =
            |ip: IpAddr, other: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || other.is_ipv4());
        let (ip, other_ip) = (mine.ip().to_canonical(), theirs.ip().to_canonical());
        mine.port() == theirs.port()
            && mine.port() != 0
            && (ip == other_ip || any(ip, other_ip) || any(other_ip, ip))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::AllInterfaces(port) => write!(f, ":{port}"),
            ListenAddress::Ip(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = BadText;

    fn from_str(text: &str) -> Result<ListenAddress, BadText> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(ListenAddress::Unix);
        }
        if let Some(port) = text.strip_prefix(':') {
            return port_number(port).map(ListenAddress::AllInterfaces);
        }
        if text.parse::<SocketAddr>().is_err() && is_host_name(text) {
            return Err(BadText(
                "listened on are addresses, no names: \":80\" (all), \"127.0.0.1:80\" or \
                 \"[::1]:80\"",
            ));
        }
        ip_and_port(text).map(ListenAddress::Ip)
    }
}

/// An address that we connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// `"10.0.0.11:8080"` or `"[2001:db8::1]:8080"`. Of clusters that packets are passed on to
    /// also `"10.0.0.11"`: the port is then 0, and stands for the one that the client sent to.
    Ip(SocketAddr),
    /// `"unix:/run/app.sock"`: an absolute path.
    Unix(PathBuf),
}

impl EndpointAddress {
    /// Whether it is a host alone.
    pub fn is_portless(&self) -> bool {
        matches!(self, EndpointAddress::Ip(address) if address.port() == 0)
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Ip(address) if address.port() == 0 => address.ip().fmt(f),
            EndpointAddress::Ip(address) => address.fmt(f),
            EndpointAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for EndpointAddress {
    type Err = BadText;

    fn from_str(text: &str) -> Result<EndpointAddress, BadText> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(EndpointAddress::Unix);
        }
        let address = ip_and_port(text)?;
        if address.port() == 0 {
            return Err(BadText("an endpoint's port cannot be 0"));
        }
        if address.ip().is_unspecified() {
            return Err(BadText("an endpoint is one host, not \"all interfaces\""));
        }
        Ok(EndpointAddress::Ip(address))
    }
}

/// Read where it stands: who takes packets as they were sent needs no port.
impl Setting for EndpointAddress {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<EndpointAddress> {
        let text = reader.text(node, ENDPOINT)?;
        if let (true, Ok(ip)) = (reader.is_passed_to(), text.parse::<IpAddr>()) {
            if ip.is_unspecified() || ip.is_multicast() || ip != ip.to_canonical() {
                return reader.refuse(node, "an endpoint is one host, written in its own family");
            }
            return Some(EndpointAddress::Ip((ip, 0).into()));
        }
        match text.parse() {
            Ok(address) => Some(address),
            Err(BadText(problem)) => reader.refuse(node, problem),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        Tree::text(self)
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "type": "string", "description": ENDPOINT })
    }
}

const ENDPOINT: &str = "an endpoint: \"10.0.0.1:80\", \"[::1]:80\" or \"unix:/PATH\"; for services \
    in `nat` and `dsr` also without a port";

/// A network: every address whose first `prefix_bits` equal the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    /// The network that has this address alone.
    pub fn host(address: IpAddr) -> Cidr {
        let network = address.to_canonical();
        Cidr { network, prefix_bits: if network.is_ipv4() { 32 } else { 128 } }
    }

    /// The network's first address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits count.
    pub fn prefix_bits(&self) -> u8 {
        self.prefix_bits
    }

    /// True if `address` is in the network. An IPv4 address that came mapped into IPv6, as a
    /// dual-stack socket reports it, is taken as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let mask = u32::from(self.prefix_bits);
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(32 - mask).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128 - mask).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

impl FromStr for Cidr {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Cidr, BadText> {
        const EXPECTED: BadText = BadText("a network such as \"10.0.0.0/8\" or \"fd00::/8\"");
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| EXPECTED)?;
        if network != network.to_canonical() {
            return Err(BadText("write a mapped IPv4 network as IPv4"));
        }
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) => bits.parse().map_err(|_| EXPECTED)?,
            None => bits_max,
        };
        if prefix_bits > bits_max {
            return Err(BadText("at most 32 bits for IPv4, 128 for IPv6"));
        }
        let cidr = Cidr { network, prefix_bits };
        if !cidr.is_aligned() {
            return Err(BadText("has address bits set behind the prefix"));
        }
        Ok(cidr)
    }
}

impl Cidr {
    /// True where no bit behind the prefix is set: `10.0.0.1/8` is more likely a slip than meant.
    fn is_aligned(&self) -> bool {
        let bits = u32::from(self.prefix_bits);
        match self.network {
            IpAddr::V4(network) => network.to_bits().checked_shl(bits).unwrap_or(0) == 0,
            IpAddr::V6(network) => network.to_bits().checked_shl(bits).unwrap_or(0) == 0,
        }
    }
}

/// Peers that are believed what they say of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trusted {
    /// Those in a network.
    Network(Cidr),
    /// `"unix"`: those that come over a unix socket, whose file says who may.
    Unix,
}

impl Trusted {
    /// Whether a peer is one of them; it has no address over a unix socket.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match self {
            Trusted::Network(network) => peer.is_some_and(|peer| network.contains(peer)),
            Trusted::Unix => peer.is_none(),
        }
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trusted::Network(network) => network.fmt(f),
            Trusted::Unix => f.write_str("unix"),
        }
    }
}

impl FromStr for Trusted {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Trusted, BadText> {
        match text {
            "unix" => Ok(Trusted::Unix),
            network => network.parse().map(Trusted::Network),
        }
    }
}

fn unix_path(path: &str) -> Result<PathBuf, BadText> {
    if !Path::new(path).is_absolute() {
        return Err(BadText("a unix socket's path is absolute: \"unix:/run/app.sock\""));
    }
    // unix(7): `sun_path` holds 108 bytes with its NUL.
    if path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') {
        return Err(BadText("a unix socket's path has at most 107 bytes and no NUL"));
    }
    Ok(PathBuf::from(path))
}

fn port_number(text: &str) -> Result<u16, BadText> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(BadText("the port is a number up to 65535"))
}

/// Whether `text` is a name with a port, or without.
fn is_host_name(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or("", |(host, _)| host);
    host.bytes().any(|byte| byte.is_ascii_alphabetic()) && !host.contains([':', '/', '['])
}

fn ip_and_port(text: &str) -> Result<SocketAddr, BadText> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(BadText("the port is missing, as in \"10.0.0.1:80\" or \"[::1]:80\""));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) || host.starts_with('[') {
        return port_number(port).and(Err(EXPECTED));
    }
    if is_host_name(text) {
        return Err(BadText("host names need discovery, which is not in this version"));
    }
    Err(EXPECTED)
}

text_settings! {
    ListenAddress: "an address to listen on: \":443\", \"127.0.0.1:80\", \"[::1]:80\" \
        or \"unix:/PATH\"";
    Cidr: "a network such as \"10.0.0.0/8\", or one address";
    Trusted: "a network such as \"10.0.0.0/8\", one address, or \"unix\" for all who come over \
        a unix socket";
}

const EXPECTED: BadText =
    BadText("an address is IP:PORT, as \"10.0.0.1:80\" or \"[::1]:80\", or \"unix:/PATH\"");

const UNIX_PATH_BYTES_MAX: usize = 107;
