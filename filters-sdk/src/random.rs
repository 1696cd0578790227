//! Random numbers, from the host.

use crate::sys;

/// Fills `bytes` with random ones. A host without randomness traps the filter: going on with known
/// bytes would be worse.
pub fn fill(bytes: &mut [u8]) {
    assert!(sys::random(bytes), "the host has no random bytes");
}

/// A random number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
