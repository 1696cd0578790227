//! Properties: what the proxy knows about a request, its connections and its route.

use core::net::{IpAddr, SocketAddr};

use crate::sys;

/// The property at `path`, for instance `["source", "address"]`.
pub(crate) fn read(path: &[&str]) -> Option<&'static [u8]> {
    sys::property(path.join("\0").as_bytes()).ok()
}

/// Sets the property at `path`. A refusal is logged.
pub(crate) fn write(path: &[&str], value: &[u8]) {
    if let Err(status) = sys::set_property(path.join("\0").as_bytes(), value) {
        crate::error!("property {}: {}", path.join("."), sys::words(status));
    }
}

/// The address in the property at `path`, which is text with or without a port.
pub(crate) fn ip(path: &[&str]) -> Option<IpAddr> {
    match address(path) {
        Some(address) => Some(address.ip()),
        None => core::str::from_utf8(read(path)?).ok()?.parse().ok(),
    }
}

/// The address and port in the property at `path`.
pub(crate) fn address(path: &[&str]) -> Option<SocketAddr> {
    core::str::from_utf8(read(path)?).ok()?.parse().ok()
}
