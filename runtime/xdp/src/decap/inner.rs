//! What is inside an encapsulated packet.

/// What stands in front of the packet inside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    /// GRE; with `outer`, behind an IPv4 header.
    Gre { outer: bool },
    /// Nothing more: IP in IP.
    Bare { outer: bool },
    /// GUE, as the content of a UDP datagram.
    Gue,
}

impl Kind {
    /// The packet inside, without what is behind its end; none if it is not whole.
    pub(super) fn inner(self, bytes: &[u8]) -> Option<&[u8]> {
        match self {
            // RFC 2784 §2.1: version 0 without checksum, which is how an appliance sends it.
            Kind::Gre { outer } => match behind(bytes, outer)? {
                [0, 0, 0x08, 0x00, packet @ ..] => whole(packet, 4),
                [0, 0, 0x86, 0xdd, packet @ ..] => whole(packet, 6),
                _ => None,
            },
            Kind::Bare { outer } => match behind(bytes, outer)? {
                packet @ [first, ..] => whole(packet, first >> 4),
                [] => None,
            },
            // draft-ietf-intarea-gue-09 §3.1: variant 0, data, no extension.
            Kind::Gue => match bytes {
                [0, 4, 0, 0, packet @ ..] => whole(packet, 4),
                [0, 41, 0, 0, packet @ ..] => whole(packet, 6),
                _ => None,
            },
        }
    }
}

/// What is behind the outer IPv4 header, if it is there.
fn behind(bytes: &[u8], outer: bool) -> Option<&[u8]> {
    if !outer {
        return Some(bytes);
    }
    bytes.get(usize::from(bytes.first()? & 15) * 4..)
}

/// A packet of this version up to the end that it says it has.
fn whole(packet: &[u8], version: u8) -> Option<&[u8]> {
    let length = match (version, packet) {
        (4, [0x45..=0x4f, _, high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
        (6, [0x60..=0x6f, _, _, _, high, low, ..]) => {
            usize::from(u16::from_be_bytes([*high, *low])) + 40
        }
        _ => return None,
    };
    // A header at least; the kernel looks at it closer.
    packet.get(..length).filter(|packet| packet.len() >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn v6() -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet
    }

    #[track_caller]
    fn check(kind: Kind, parts: &[&[u8]], expected: Option<&[u8]>) {
        assert_eq!(kind.inner(&parts.concat()), expected);
    }

    #[test]
    fn every_encapsulation_gives_the_packet_without_what_is_behind_its_end() {
        let v6 = v6();
        let outer: &[u8] = &[0x46; 24];
        check(Kind::Gre { outer: true }, &[outer, &[0, 0, 8, 0], &V4, &[7; 9]], Some(&V4));
        check(Kind::Gre { outer: false }, &[&[0, 0, 0x86, 0xdd], &v6, &[7]], Some(&v6));
        check(Kind::Bare { outer: true }, &[outer, &v6], Some(&v6));
        check(Kind::Bare { outer: false }, &[&V4], Some(&V4));
        check(Kind::Gue, &[&[0, 4, 0, 0], &V4], Some(&V4));
        check(Kind::Gue, &[&[0, 41, 0, 0], &v6], Some(&v6));
    }

    #[test]
    fn what_an_appliance_does_not_send_is_dropped() {
        let gre = Kind::Gre { outer: false };
        // With a checksum; of another version; Ethernet inside; another version than it says.
        check(gre, &[&[0x80, 0, 8, 0], &V4], None);
        check(gre, &[&[0, 1, 8, 0], &V4], None);
        check(gre, &[&[0, 0, 0x65, 0x58], &V4], None);
        check(gre, &[&[0, 0, 0x86, 0xdd], &V4], None);
        // A control message; with an extension.
        check(Kind::Gue, &[&[0x20, 4, 0, 0], &V4], None);
        check(Kind::Gue, &[&[1, 4, 0, 0], &V4], None);
    }

    #[test]
    fn what_ends_early_is_dropped_wherever_it_ends() {
        let outer: &[u8] = &[0x45; 20];
        let whole = [outer, &[0, 0, 8, 0], &V4].concat();
        for end in 0..whole.len() {
            check(Kind::Gre { outer: true }, &[&whole[..end]], None);
            check(Kind::Bare { outer: true }, &[outer, &V4[..end.min(19)]], None);
        }
    }
}
