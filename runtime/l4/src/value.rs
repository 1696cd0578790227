//! The values that tables hold: of fixed layout, the same in a BPF map and in userland.
//!
//! Addresses, ports and MACs are as on the wire; all other numbers are in the machine's order.
//! No type has padding between or behind its fields, so that every byte of a key is known (the
//! verifier insists) and equal values are equal bytes. Nothing here decides anything.

use crate::tables::Count;

/// Made of bytes alone, without padding: may be a key or a value of a BPF map.
///
/// # Safety
/// `repr(C)`, no padding, no pointer, and any bytes are a value.
pub unsafe trait Plain: Copy + 'static {}

/// An IPv6 address, or an IPv4 one as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Address {
    words: [u64; 2],
}

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Address { words: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])] }
    }

    /// An IPv6 address.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        let words = [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]];
        Address { words: [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])] }
    }

    /// From two words as on the wire.
    #[inline(always)]
    pub(crate) const fn from_words(words: [u64; 2]) -> Self {
        Address { words }
    }

    /// The address in two words, as on the wire.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        self.words
    }

    /// All 16 octets.
    pub const fn octets(&self) -> [u8; 16] {
        // SAFETY: sixteen bytes without padding; any bytes are octets.
        unsafe { core::mem::transmute(self.words) }
    }

    /// Whether this stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] & V4_MASK == V4_PREFIX
    }

    /// The IPv4 address, as on the wire; for an IPv6 one, its last four octets.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        if cfg!(target_endian = "little") {
            (self.words[1] >> 32) as u32
        } else {
            self.words[1] as u32
        }
    }

    /// Whom the address belongs to: itself for IPv4, its /64 for IPv6, of which a host has as
    /// many as it likes (RFC 4291 §2.5.1, RFC 6177).
    #[inline(always)]
    pub const fn owner(&self) -> &u64 {
        // What begins with zeros is IPv4 in IPv6's form; no /64 looks like the word behind them.
        if self.words[0] == 0 { &self.words[1] } else { &self.words[0] }
    }

    /// No address at all.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0
    }
}

/// `::ffff` in the second word, and where it stands.
const V4_PREFIX: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const V4_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/// What tells a flow's packets from all others, in one direction.
///
/// An ICMP echo has its identifier as the port of who asks, and 0 as that of who answers.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowKey {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Port of who sends, as on the wire.
    pub source_port: u16,
    /// Port of the destination, as on the wire.
    pub destination_port: u16,
    /// Number of the protocol.
    pub protocol: u8,
    /// Zero.
    pub zero: [u8; 3],
}

impl FlowKey {
    /// The key of a packet whose two ports are `ports`, as they stand in it.
    #[inline(always)]
    pub(crate) const fn of_packet(
        source: Address,
        destination: Address,
        ports: u32,
        protocol: u8,
    ) -> Self {
        let ([a, b], [c, d], [e, f, g, h]) = (source.words, destination.words, ports.to_ne_bytes());
        let rest = u64::from_ne_bytes([e, f, g, h, protocol, 0, 0, 0]);
        // SAFETY: both are forty bytes of integers, without padding. In words it is put together
        // where it is needed, in the kernel's program too.
        unsafe { core::mem::transmute([a, b, c, d, rest]) }
    }

    /// The key of what comes back.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }
}

/// What a VIP is found by.
///
/// Besides its services, each VIP's address and each address of a NAT pool has an entry with port
/// and protocol 0: it says that the address is ours, for packets that have no port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VipKey {
    /// The VIP's address.
    pub address: Address,
    /// Its port, as on the wire; 0 with ICMP, where the service is the answer to an echo.
    pub port: u16,
    /// TCP, UDP, ICMP or ICMPv6 by number.
    pub protocol: u8,
    /// Zero.
    pub zero: [u8; 5],
}

impl VipKey {
    /// The key of a service.
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        VipKey { address, port, protocol, zero: [0; 5] }
    }

    /// The key that says that an address is ours.
    #[inline(always)]
    pub const fn address(address: Address) -> Self {
        VipKey::new(address, 0, 0)
    }
}

/// Idle timeouts in ticks, by what is known of a flow.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP: no handshake seen to its end yet.
    pub opening: u32,
    /// TCP: under way.
    pub established: u32,
    /// TCP: one side has said that it is done.
    pub closing: u32,
    /// TCP: both have, or one has reset.
    pub closed: u32,
    /// UDP and ICMP echo (DNS: 5 s).
    pub datagram: u32,
}

/// How a VIP's packets reach its backends; [`Vip::mode`].
pub mod mode {
    /// Addresses and ports are translated, both ways pass through the appliance.
    pub const NAT: u8 = 1;
    /// Packets are encapsulated, the backend answers directly.
    pub const DSR: u8 = 2;
}

/// What a packet of a `dsr` VIP is put into; [`Vip::encap`].
pub mod encap {
    /// GRE (RFC 2784), without key or checksum.
    pub const GRE: u8 = 1;
    /// IP in IP (RFC 2003, RFC 2473).
    pub const IPIP: u8 = 2;
    /// Generic UDP encapsulation, variant 0 without extensions (draft-ietf-intarea-gue-09).
    pub const GUE: u8 = 3;
}

/// A service: an address, a port and a protocol that clients connect to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// Moves on when the number is given to another VIP, or the mode changes: flows of the old
    /// one are then no flows.
    pub generation: u16,
    /// One of [`mode`].
    pub mode: u8,
    /// One of [`encap`], for `dsr`.
    pub encap: u8,
    /// Which Maglev table.
    pub maglev: u32,
    /// The largest IP packet on the way to the backends, the encapsulation included.
    pub mtu: u16,
    /// Not 0 when flows of a backend that is found down are placed anew.
    pub moves: u8,
    /// Zero.
    pub zero: u8,
    /// Idle timeouts.
    pub timeouts: Timeouts,
}

/// Where a frame goes on its way: `interface` 0 means back where it came from.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// The next hop's MAC.
    pub destination: [u8; 6],
    /// The MAC of our interface.
    pub source: [u8; 6],
    /// Index of our interface.
    pub interface: u32,
}

/// Whether a backend takes flows; [`Backend::state`].
pub mod state {
    /// Flows new and old.
    pub const UP: u8 = 1;
    /// Keeps what it has; its Maglev table no longer names it.
    pub const DRAINING: u8 = 2;
    /// Nothing: its flows are placed anew.
    pub const DOWN: u8 = 3;
    /// Found down: its Maglev table no longer names it, and it keeps what it has of those VIPs
    /// only whose flows stay with it ([`Vip::moves`](super::Vip::moves)).
    pub const FAILED: u8 = 4;
}

/// One backend.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Its address: of the VIP's family for `nat`, of either for `dsr`.
    pub address: Address,
    /// The way to it.
    pub link: Link,
    /// `nat`: its port as on the wire, or 0 for that of the VIP.
    pub port: u16,
    /// Moves on when the index is given to another backend.
    pub generation: u16,
    /// One of [`state`]; an entry of zeros is none.
    pub state: u8,
    /// Zero.
    pub zero: [u8; 3],
}

/// What a flow's entry is; [`Flow::role`].
pub mod role {
    /// `dsr`: from the client, to be encapsulated.
    pub const TUNNEL: u8 = 1;
    /// `nat`: from the client to the backend.
    pub const FORWARD: u8 = 2;
    /// `nat`: from the backend to the client.
    pub const RETURN: u8 = 3;
}

/// What is remembered of a flow in one direction. In `nat` there is one entry for each.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// `nat`: what the source becomes.
    pub source: Address,
    /// `nat`: what the destination becomes.
    pub destination: Address,
    /// The client's router as the client's packets came from it: the way back.
    pub link: Link,
    /// Bytes of frames seen, for those who list the largest.
    pub bytes: u64,
    /// `nat`: what the source port becomes, as on the wire.
    pub source_port: u16,
    /// `nat`: what the destination port becomes, as on the wire.
    pub destination_port: u16,
    /// `nat`: what the change of addresses adds to a checksum over them.
    pub addresses_delta: u16,
    /// `nat`: what the change of all adds to the transport's checksum.
    pub transport_delta: u16,
    /// Index of the backend.
    pub backend: u32,
    /// When the last packet came, in ticks.
    pub seen: u32,
    /// `nat`: when the entry of the other direction was last looked at.
    pub paired: u32,
    /// Number of the VIP.
    pub vip: u16,
    /// The VIP's generation.
    pub vip_generation: u16,
    /// The backend's generation.
    pub backend_generation: u16,
    /// Bits of `conntrack`.
    pub state: u8,
    /// One of [`role`].
    pub role: u8,
    /// Zero.
    pub zero: [u8; 4],
}

/// An address of the appliance that backends answer to, and its ports.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool {
    /// The address; unspecified when there is none.
    pub address: Address,
    /// The first port, in the machine's order. Ports must be none of those that the kernel takes
    /// itself on this address (`ip_local_port_range`).
    pub port_first: u16,
    /// How many ports each lane has.
    pub lane_ports: u16,
    /// Zero.
    pub zero: [u8; 4],
}

/// What holds for all packets.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Key of the hash, from the fleet's seed.
    pub hash_key: [u64; 2],
    /// `nat`: the pool for IPv4.
    pub pool_v4: Pool,
    /// `nat`: the pool for IPv6.
    pub pool_v6: Pool,
    /// `dsr`: source of the outer header, for backends with IPv4 addresses.
    pub tunnel_v4: Address,
    /// `dsr`: source of the outer header, for backends with IPv6 addresses.
    pub tunnel_v6: Address,
    /// Not 0 when there are source rules.
    pub sources: u32,
    /// Not 0 when a VIP has mode `nat`.
    pub nat: u32,
}

/// What is done with a source; [`SourceRule::action`].
pub mod action {
    /// An exception from a wider rule.
    pub const ALLOW: u8 = 1;
    /// Every packet is dropped.
    pub const DENY: u8 = 2;
    /// Each single source of the prefix has a bucket of tokens.
    pub const RATE: u8 = 3;
}

/// What holds for a source, by the longest prefix that matches it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRule {
    /// One of [`action`].
    pub action: u8,
    /// Zero.
    pub zero: [u8; 3],
    /// Packets per tick, in units of 1/1024.
    pub rate: u32,
    /// The most tokens that a bucket holds, in packets; at most 1,048,576.
    pub burst: u32,
}

/// The tokens of one source.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// Tokens left, in units of 1/1024 packet.
    pub tokens: u32,
    /// When tokens were last put in, in ticks.
    pub filled: u32,
}

/// Counts of one VIP, one backend, or (VIP 0) of what belongs to none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Packets sent to backends.
    pub packets: u64,
    /// Their bytes, as frames came in.
    pub bytes: u64,
    /// `nat`: packets sent back to clients.
    pub return_packets: u64,
    /// Their bytes.
    pub return_bytes: u64,
    /// Packets by [`crate::Cause`].
    pub causes: [u64; crate::CAUSE_COUNT],
}

impl Counters {
    /// Adds to them.
    #[inline(always)]
    pub fn add(&mut self, count: Count) {
        match count {
            Count::Forward(bytes) => {
                self.packets += 1;
                self.bytes += bytes;
            }
            Count::Return(bytes) => {
                self.return_packets += 1;
                self.return_bytes += bytes;
            }
            Count::Cause(cause) => self.causes[cause as usize] += 1,
        }
    }
}

macro_rules! plain {
    ($($type:ty: $bytes:expr,)*) => {$(
        // SAFETY: repr(C) of integers and arrays of them; the sum of the fields is the size.
        unsafe impl Plain for $type {}
        const _: () = assert!(size_of::<$type>() == $bytes);
    )*};
}

plain! {
    Address: 16,
    FlowKey: 2 * 16 + 2 * 2 + 1 + 3,
    VipKey: 16 + 2 + 1 + 5,
    Timeouts: 5 * 4,
    Vip: 2 + 1 + 1 + 4 + 2 + 1 + 1 + 20,
    Link: 6 + 6 + 4,
    Backend: 16 + 16 + 2 + 2 + 1 + 3,
    Flow: 2 * 16 + 16 + 8 + 4 * 2 + 3 * 4 + 3 * 2 + 2 + 4,
    Pool: 16 + 2 * 2 + 4,
    Settings: 16 + 2 * 24 + 2 * 16 + 2 * 4,
    SourceRule: 4 + 4 + 4,
    Bucket: 4 + 4,
    Counters: 4 * 8 + crate::CAUSE_COUNT * 8,
}
