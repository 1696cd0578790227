//! Tables by which every packet to one VIP goes to one backend.
//!
//! What the datapath does with a packet of `dsr` is done by its own code; only what it looks up
//! is here, and flows are not remembered.

use std::cell::Cell;
use std::net::IpAddr;

use penstock_l4::value::{
    Address, Backend, Bucket, Flow, FlowKey, Link, Pool, Settings, SourceRule, Timeouts, Vip,
    VipKey, mode, state,
};
use penstock_l4::{Count, Subject, Tables, Tenure};

use penstock_l4::CheckWay;

/// All that is known of a packet on its way.
pub(super) struct OneWay {
    settings: Settings,
    service: VipKey,
    vip: Vip,
    backend: Backend,
    /// Where the outer packet goes.
    pub(super) to: IpAddr,
}

impl OneWay {
    pub(super) fn new(way: &CheckWay) -> Self {
        let outer = address_of(way.outer);
        OneWay {
            settings: Settings {
                hash_key: [0; 2],
                pool_v4: NO_POOL,
                pool_v6: NO_POOL,
                tunnel_v4: outer,
                tunnel_v6: outer,
                sources: 0,
                nat: 0,
            },
            service: VipKey::new(address_of(way.vip.ip()), way.vip.port().to_be(), TCP),
            vip: Vip {
                generation: 1,
                mode: mode::DSR,
                encap: way.encap,
                maglev: 0,
                // The device takes nothing that would not fit.
                mtu: u16::MAX,
                moves: 0,
                zero: 0,
                timeouts: NO_TIME,
            },
            backend: Backend {
                address: address_of(way.backend),
                link: Link::default(),
                port: 0,
                generation: 1,
                state: state::UP,
                zero: [0; 3],
            },
            to: way.backend,
        }
    }
}

impl Tables for OneWay {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn vip_number(&self, key: &VipKey) -> Option<u16> {
        (*key == self.service).then_some(1)
    }

    fn vip(&self, _number: u16) -> Option<&Vip> {
        Some(&self.vip)
    }

    fn slot(&self, _maglev: u32, _slot: u32) -> Option<u32> {
        Some(0)
    }

    fn backend(&self, _index: u32) -> Option<&Backend> {
        Some(&self.backend)
    }

    fn flow(&self, _tenure: Tenure, _key: &FlowKey) -> Option<&Cell<Flow>> {
        None
    }

    fn put_flow(&self, _tenure: Tenure, _key: &FlowKey, _flow: &Flow) -> bool {
        true
    }

    fn remove_flow(&self, _tenure: Tenure, _key: &FlowKey) {}

    fn source_rule(&self, _address: &Address) -> Option<&SourceRule> {
        None
    }

    fn bucket(&self, _owner: &u64, _full: Bucket) -> Option<&Cell<Bucket>> {
        None
    }

    fn count(&self, _subject: Subject, _count: Count) {}

    fn lane(&self) -> u32 {
        0
    }
}

fn address_of(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address::v6(ip.octets()),
    }
}

/// Its number (IANA).
const TCP: u8 = 6;
const NO_POOL: Pool =
    Pool { address: Address::v6([0; 16]), port_first: 0, lane_ports: 0, zero: [0; 4] };
/// Nothing is remembered that could grow old.
const NO_TIME: Timeouts =
    Timeouts { opening: 0, established: 0, closing: 0, closed: 0, datagram: 0 };

#[cfg(test)]
mod tests {
    use penstock_l4::value::encap;
    use penstock_l4::{Buffer, Verdict, handle};

    use super::*;
    use crate::now;

    /// A SYN from 10.2.0.2:40000 to the VIP 10.9.0.10, to this port.
    fn syn(port: u16) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[..2].copy_from_slice(&[0x45, 0]);
        packet[2..4].copy_from_slice(&40_u16.to_be_bytes());
        (packet[8], packet[9]) = (64, TCP);
        packet[12..20].copy_from_slice(&[10, 2, 0, 2, 10, 9, 0, 10]);
        let sum: u32 = packet[..20]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        (packet[32], packet[33]) = (0x50, 2);
        packet
    }

    fn sent(encap: u8, backend: &str, outer: &str, port: u16) -> Option<Vec<u8>> {
        let parse = |text: &str| text.parse().expect("an address");
        let vip = "10.9.0.10:80".parse().expect("an address");
        let way = CheckWay { vip, backend: parse(backend), outer: parse(outer), encap };
        let mut packet = Buffer::<0>::new(&syn(port), 1);
        match handle(&mut packet, &OneWay::new(&way), now()) {
            Verdict::Send { .. } => Some(packet.as_slice().to_vec()),
            _ => None,
        }
    }

    #[test]
    fn a_packet_to_the_vip_goes_to_the_one_backend_in_its_encapsulation() {
        for (kind, protocol, overhead) in [(encap::GRE, 47, 24), (encap::IPIP, 4, 20)] {
            let packet = sent(kind, "10.5.0.2", "10.2.0.3", 80).expect("it is sent");
            assert_eq!(packet[9], protocol);
            assert_eq!(packet[12..20], [10, 2, 0, 3, 10, 5, 0, 2]);
            assert_eq!(packet[overhead..], syn(80));
        }
        let packet = sent(encap::GUE, "fd00:5::2", "fd00:2::2", 80).expect("it is sent");
        assert_eq!((packet[6], packet[23], packet[39]), (17, 2, 2));
        assert_eq!(packet[52..], syn(80));
    }

    #[test]
    fn a_packet_to_another_port_goes_nowhere() {
        assert_eq!(sent(encap::GRE, "10.5.0.2", "10.2.0.3", 81), None);
    }
}
