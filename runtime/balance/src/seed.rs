//! The fleet's seed: hashing that all appliances agree on and nobody else can foresee.
//!
//! An unkeyed hash lets a peer choose keys that all land on one endpoint. SipHash (Aumasson and
//! Bernstein, 2012) with a secret key does not; with one round per word and three at the end it
//! is still believed to resist that, and it is what Rust's own maps use. The standard library's
//! does not promise to stay the same from one release to the next, so it can't be used for what
//! appliances of different versions must agree on.

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

use penstock_env::Address;

/// A 128-bit key for every hash that appliances of a fleet must agree on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FleetSeed {
    key: [u64; 2],
}

/// The key is a secret.
impl std::fmt::Debug for FleetSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetSeed")
    }
}

impl FleetSeed {
    /// The key made of the config's text, as secret as that is.
    pub fn new(text: &str) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        FleetSeed { key: [hash.h1, hash.h2] }
    }

    /// The hash of a request's key (a header's value, a path, a source address), for
    /// [`crate::Pick::key`].
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(key)
    }

    /// The key of the hash that packets are placed by at layer 4; no other hash has it.
    pub fn packet_key(&self) -> [u64; 2] {
        [self.key[0], self.key[1] ^ 3]
    }

    /// Two independent hashes of an endpoint's address.
    pub(crate) fn hash_address(&self, address: &Address) -> [u64; 2] {
        let bytes = address_bytes(address);
        // Another key than that of `hash`: requests may carry an endpoint's address as theirs.
        let hasher = |last: u64| SipHasher13::new_with_keys(self.key[0], self.key[1] ^ last);
        [hasher(1).hash(&bytes), hasher(2).hash(&bytes)]
    }
}

/// An address in bytes that no release of anything will change, and no two addresses share.
fn address_bytes(address: &Address) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut bytes = Vec::with_capacity(24);
    match address {
        Address::Ip(std::net::SocketAddr::V4(address)) => {
            bytes.push(4);
            bytes.extend_from_slice(&address.ip().octets());
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        Address::Ip(std::net::SocketAddr::V6(address)) => {
            bytes.push(6);
            bytes.extend_from_slice(&address.ip().octets());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&address.scope_id().to_be_bytes());
        }
        Address::Unix(path) => {
            bytes.push(1);
            bytes.extend_from_slice(path.as_os_str().as_bytes());
        }
    }
    bytes
}
