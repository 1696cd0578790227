//! Where a socket goes or comes from: an IP address and port, or a unix socket's path.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The address of a listener, an endpoint or a peer. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip(SocketAddr),
    /// A unix stream socket.
    Unix(Arc<PathBuf>),
}

impl Address {
    /// The IP address, if it has one.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Address::Ip(address) => Some(address.ip()),
            Address::Unix(_) => None,
        }
    }
}

/// `10.0.0.1:80`, `[::1]:80`, or `unix:/run/app.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is neither `IP:PORT` nor `unix:/PATH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAddress;

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither IP:PORT nor unix:/PATH")
    }
}

impl std::error::Error for NotAnAddress {}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Address::Unix(Arc::new(path.into()))),
            Some(_) => Err(NotAnAddress),
            None => text.parse().map(Address::Ip).map_err(|_| NotAnAddress),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address)
    }
}
