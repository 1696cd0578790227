//! `[service.X]`: a way in at layer 4: addresses and ports whose connections go to a cluster.
//!
//! Nothing here is about what is said on those connections: that is a listener's.

use std::net::IpAddr;
use std::time::Duration;

use crate::grammar::block::BlockName;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{choice, section};
use crate::grammar::setting::ListOf;
use crate::proxy_protocol::{ProxyProtocol, ProxyVersion};
use crate::values::address::ListenAddress;
use crate::values::vip::{ServicePort, Transport, VipAddress};

section! {
    /// Addresses and ports whose connections go to a cluster, unread.
    pub struct Service("service", check = check_service) {
        .. {
            /// The name after `service.`.
            name: BlockName;
        }
        /// The addresses that clients send to: one, or a list of them.
        vips as "vip": Vec<VipAddress>, in VIPS;
        /// The ports there, as in "tcp/443".
        ports: Vec<ServicePort>, in PORTS;
        /// Who answers clients.
        mode: ServiceMode = ServiceMode::Terminate;
        /// The cluster that connections go to. Where that hashes, the source address is hashed.
        to: ClusterId;
        /// Peers whose connections begin with a header that says who they are from.
        proxy_protocol: Option<ProxyProtocol> = None;
        /// Tells endpoints who a connection is from, in a header of this version, in front of all
        /// else.
        send_proxy_protocol: Option<ProxyVersion> = None;
        /// How many other endpoints are tried where one can't be connected to.
        retries: u32 = 2, in 0..=10;
        /// How long we wait for what.
        timeouts: ServiceTimeouts = ServiceTimeouts::default();
        /// How much is taken.
        limits: ServiceLimits = ServiceLimits::default();
    }
}

choice! {
    /// Who answers the clients of a service.
    pub enum ServiceMode("mode") {
        /// The appliance, which connects to an endpoint and carries bytes both ways.
        Terminate = "terminate",
    }
}

section! {
    /// How long a service waits.
    pub struct ServiceTimeouts("timeouts") = default {
        /// Without a byte in either direction, before a connection is closed.
        idle: Duration = Duration::from_secs(600), in MS..=DAY;
    }
}

section! {
    /// How much a service takes.
    pub struct ServiceLimits("limits") = default {
        /// Connections to this service; over it, new ones are closed.
        connections_max as "connections": u32 = 1_000_000, in 1..=10_000_000;
        /// Connections of one source address to all ways in.
        source_connections_max as "connections_per_source": u32 = 1_024, in 1..=10_000_000;
    }
}

impl Service {
    /// Every address with every port of this transport.
    pub fn addresses(&self, transport: Transport) -> impl Iterator<Item = ListenAddress> + '_ {
        let ports = self.ports.iter().filter(move |port| port.transport == transport);
        ports.flat_map(|port| {
            self.vips.iter().map(move |vip| ListenAddress::Ip((vip.ip(), port.number).into()))
        })
    }
}

fn check_service(service: &Service, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let mut vips: Vec<IpAddr> = service.vips.iter().map(|vip| vip.ip()).collect();
    vips.sort();
    if let Some(pair) = vips.windows(2).find(|pair| pair[0] == pair[1]) {
        return table.contradict("vip", &format!("{} is listed twice", pair[0]));
    }
    if service.ports.iter().any(|port| port.transport == Transport::Udp) {
        return table.contradict("ports", "UDP is not in this version");
    }
    if let Some(node) = table.peek("ports") {
        let nodes = node.get_ref().as_array();
        for (port, index) in service.ports.iter().zip(0..) {
            let node = nodes.and_then(|nodes| nodes.get(index)).unwrap_or(node);
            for vip in &service.vips {
                let address = ListenAddress::Ip((vip.ip(), port.number).into());
                table.reader.below("ports", |reader| reader.claim(node, &address));
            }
        }
    }
    Some(())
}

const VIPS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 64, bare: true };
const PORTS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 64, bare: true };
const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);
