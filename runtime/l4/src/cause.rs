//! What becomes of a packet, and the one cause that is counted when it is not simply forwarded.
//!
//! The rules stand in the documentation of each [`Cause`]; the checks that apply them, in
//! `parse`, `handle` and beside the rewrites.

/// What to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Hand it to the kernel, as it came.
    Pass(Cause),
    /// Forget it.
    Drop(Cause),
    /// Send it, changed, by `interface`; 0 stands for the one that it came in on.
    Send {
        /// Index of the interface.
        interface: u32,
    },
    /// Send back by the interface it came in on: no longer the packet, but our answer to it.
    Answer(Cause),
}

/// Declares the causes once: number, name for the metric, the rule.
macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was passed to the kernel, dropped or answered by us.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Cause {
            $($(#[$doc])* $variant,)*
        }

        impl Cause {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Cause] = &[$(Cause::$variant,)*];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Cause::$variant => $name,)*
                }
            }
        }
    };
}

causes! {
    /// Passed: neither IPv4 nor IPv6 (ARP, LLDP), or too short to say.
    NotIp = "not_ip",
    /// Passed: a VLAN tag. Tagged traffic reaches a VIP by the VLAN's own interface.
    Vlan = "vlan",
    /// Passed: the frame is addressed to a group. Neighbour discovery and DHCP live there.
    GroupFrame = "group_frame",
    /// Passed: no VIP of ours and no flow through us. That is GRE from strangers, too.
    NotOurs = "not_ours",
    /// Passed: IPv6 with a routing header, or more extension headers than we look through.
    ExtensionHeaders = "extension_headers",
    /// Dropped: a header reaches beyond the end of the packet.
    HeaderTruncated = "header_truncated",
    /// Dropped: a header that contradicts itself (version, header length, data offset).
    HeaderMalformed = "header_malformed",
    /// Dropped: a length field says more than has arrived, or less than its own header.
    LengthLies = "length_lies",
    /// Dropped: the IPv4 header's checksum is wrong (RFC 1122 §3.2.1.2: MUST discard silently).
    HeaderChecksum = "header_checksum",
    /// Dropped: a fragment for an address of ours. It has no ports to choose a backend by, and
    /// what is put together on a backend must have gone to one.
    Fragment = "fragment",
    /// Dropped: from an address to itself (LAND).
    Land = "land",
    /// Dropped: from an address that nobody can have (RFC 6890).
    Martian = "martian",
    /// Dropped: TCP flags that no stack sends (SYN with FIN or RST, or none at all).
    TcpFlags = "tcp_flags",
    /// Dropped: the source is on the deny list.
    SourceDenied = "source_denied",
    /// Dropped: the source has spent its tokens.
    SourceRate = "source_rate",
    /// Dropped: the VIP has no backend, or its backend's address is of the other family.
    NoBackend = "no_backend",
    /// Dropped: no port of the pool was free towards this backend.
    PortsExhausted = "ports_exhausted",
    /// Dropped: the table took no new flow.
    TableFull = "table_full",
    /// Dropped: the packet has lived too long; it may be going in circles.
    HopLimit = "hop_limit",
    /// Answered: with its encapsulation it does not fit the way to the backend.
    TooBig = "too_big",
    /// Dropped: a checksum that the sender left to its hardware, and too long to do here.
    PartialChecksum = "partial_checksum",
    /// Dropped: no room in front of the packet for another header.
    Headroom = "headroom",
    /// Dropped: an ICMP error for an address of ours about no flow that we know.
    IcmpUnrelated = "icmp_unrelated",
}

/// How many causes there are.
pub const CAUSE_COUNT: usize = Cause::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_names_are_unique() {
        for (place, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, place);
            let same = Cause::ALL.iter().filter(|other| other.name() == cause.name());
            assert_eq!(same.count(), 1, "{}", cause.name());
        }
    }
}
