//! The keyed hash that places flows: SipHash-1-3 over a flow's key.
//!
//! With an unkeyed hash anybody can send flows that all land on one backend. SipHash (Aumasson and
//! Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012) needs additions, rotations and
//! xors only, which is what BPF has. It is calculated for a flow's first packet, never for the
//! others, so that a cheaper one would gain nothing. All appliances of a fleet have the same key.

use crate::value::FlowKey;

/// The hash of a key's 40 bytes, the same on every machine.
#[inline(never)]
pub fn flow_hash(key: &[u64; 2], flow: &FlowKey) -> u64 {
    let [s0, s1] = flow.source.words();
    let [d0, d1] = flow.destination.words();
    let ports = u64::from(u16::from_le(flow.source_port))
        | u64::from(u16::from_le(flow.destination_port)) << 16
        | u64::from(flow.protocol) << 32;
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    absorb(&mut state, u64::from_le(s0));
    absorb(&mut state, u64::from_le(s1));
    absorb(&mut state, u64::from_le(d0));
    absorb(&mut state, u64::from_le(d1));
    absorb(&mut state, ports);
    // The last word: how many bytes there were.
    absorb(&mut state, 40 << 56);
    state[2] ^= 0xff;
    round(&mut state);
    round(&mut state);
    round(&mut state);
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

/// One SipRound.
#[inline(always)]
fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32);
    c = c.wrapping_add(b);
    a = a.wrapping_add(d);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use super::*;
    use crate::value::Address;

    #[test]
    fn is_the_siphash_1_3_of_the_bytes_of_a_key() {
        let flow = FlowKey {
            source: Address::v4([192, 0, 2, 1]),
            destination: Address::v6(core::array::from_fn(|at| at as u8)),
            source_port: 40_000_u16.to_be(),
            destination_port: 443_u16.to_be(),
            protocol: 6,
            zero: [0; 3],
        };
        let mut bytes = Vec::new();
        bytes.extend(flow.source.octets());
        bytes.extend(flow.destination.octets());
        bytes.extend(40_000_u16.to_be_bytes());
        bytes.extend(443_u16.to_be_bytes());
        bytes.extend([6, 0, 0, 0]);
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(7, 1 << 60);
        hasher.write(&bytes);
        assert_eq!(flow_hash(&[7, 1 << 60], &flow), hasher.finish());
    }
}
