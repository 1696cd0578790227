//! Properties as filters read them: how values are written, and those that filters set themselves.
//!
//! Names and forms are Envoy's. Which properties there are is said where they are known: for
//! exchanges in `http1`, for raw connections in `relay`.

use std::net::SocketAddr;

use penstock_env::Address;

/// Properties that the filters of an exchange or a connection set, and find again.
#[derive(Default)]
pub(crate) struct Properties {
    all: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Properties {
    /// Appends the value of one; whether there is one.
    pub(crate) fn find(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let name = path.join(&0);
        let known = self.all.iter().find(|(known, _)| *known == name);
        text(known.map(|(_, value)| &**value), out)
    }

    /// Sets one; false where they would take too much.
    pub(crate) fn set(&mut self, path: &[&[u8]], value: &[u8]) -> bool {
        let name = path.join(&0);
        let taken = |(known, value): &(Vec<u8>, Vec<u8>)| {
            if *known == name { 0 } else { known.len() + value.len() }
        };
        let bytes: usize = self.all.iter().map(taken).sum();
        if bytes + name.len() + value.len() > BYTES_MAX {
            return false;
        }
        match self.all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value.to_vec(),
            None => self.all.push((name, value.to_vec())),
        }
        true
    }
}

/// Writes text; whether there is some.
pub(crate) fn text(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    value.map(|value| out.extend_from_slice(value)).is_some()
}

/// Writes a number.
pub(crate) fn integer(value: u64, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&value.to_le_bytes());
    true
}

/// Writes `address` or `port` of an address, if it is known and has one.
pub(crate) fn address(name: &[u8], address: Option<&Address>, out: &mut Vec<u8>) -> bool {
    let Some(address) = address else { return false };
    match (name, address) {
        (b"address", address) => text(Some(address.to_string().as_bytes()), out),
        (b"port", Address::Ip(ip)) => integer(u64::from(SocketAddr::port(ip)), out),
        _ => false,
    }
}

/// Bytes that those of one exchange or connection may take, names and values together.
const BYTES_MAX: usize = 64 * 1024;
