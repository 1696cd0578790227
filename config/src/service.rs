//! `[service.X]`: a way in at layer 4: addresses and ports whose connections go to a cluster.
//!
//! Nothing here is about what is said on those connections: that is a listener's, or its filters'.

use std::net::IpAddr;
use std::time::Duration;

use crate::chain::{CHAIN, FilterUse, check_chain};
use crate::cluster::Endpoint;
use crate::config::Config;
use crate::grammar::block::BlockName;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{Group, TableSchema, TableWriter, choice, section};
use crate::grammar::setting::ListOf;
use crate::passthrough::{Encap, MoveWhenDown, RETRIES, check_mode};
use crate::proxy_protocol::{ProxyProtocol, ProxyVersion};
use crate::values::address::{Cidr, EndpointAddress, ListenAddress};
use crate::values::link::InterfaceName;
use crate::values::pattern::HostPattern;
use crate::values::units::ByteSize;
use crate::values::vip::{ServicePort, Transport, VipAddress};

section! {
    /// Addresses and ports whose connections go to a cluster, unread but for its filters.
    pub struct Service("service", check = check_service) {
        .. {
            /// The name after `service.`.
            name: BlockName;
            /// Where connections go. Where a cluster hashes, the source address is hashed.
            destinations: Destinations;
        }
        /// The addresses that clients send to: one, or a list of them.
        vips as "vip": Vec<VipAddress>, in VIPS;
        /// The ports there, as in "tcp/443".
        ports: Vec<ServicePort>, in PORTS;
        /// Who answers clients.
        mode: ServiceMode = ServiceMode::Terminate;
        /// With "dsr": what packets to endpoints are put into; "gre" unless set.
        encap: Option<Encap> = None;
        /// With "nat" and "dsr": the interface that packets come in on, or a list of them. Where
        /// routes lead to an endpoint by one of these, packets go that way; else back by the
        /// router that they came from.
        interfaces as "interface": Vec<InterfaceName> = Vec::new(), in INTERFACES;
        /// With "nat" and "dsr": whose flows go to other endpoints when checks find theirs down;
        /// "udp" unless set. To TCP that is a reset, with the next packet.
        move_when_down: Option<MoveWhenDown> = None;
        /// With "terminate", of TCP: filters that see connections before they go to an endpoint,
        /// and their bytes: what comes from clients in order, what comes from endpoints in reverse.
        filters: Vec<FilterUse> = Vec::new(), in CHAIN;
        /// Networks whose connections and datagrams are not served: connections are reset.
        deny: Vec<Cidr> = Vec::new(), in DENIED;
        /// Connections of theirs are kept in place of that, and nothing is done with them.
        tarpit: Option<Tarpit> = None;
        /// Peers whose connections, and each of whose datagrams, begin with a header that says who
        /// they are from.
        proxy_protocol: Option<ProxyProtocol> = None;
        /// Tells endpoints who a connection is from, in a header of this version, in front of all
        /// else; of UDP (version 2) in front of each datagram.
        send_proxy_protocol: Option<ProxyVersion> = None;
        /// Endpoints see connections and datagrams from the clients' own addresses, and those to
        /// any address that are led to this machine are taken (TPROXY). Needs CAP_NET_ADMIN, and
        /// rules of routing: see packaging/tproxy.
        transparent: bool = false;
        /// How many other endpoints are tried where one can't be connected to.
        retries: u32 = RETRIES, in 0..=10;
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
        /// The appliance, which passes packets on both ways under an address of its own.
        Nat = "nat",
        /// The endpoint itself, which has the VIP on its loopback: packets are passed on to it as
        /// they came, each put into another.
        Dsr = "dsr",
    }
}

section! {
    /// How long a service waits.
    pub struct ServiceTimeouts("timeouts") = default {
        /// For a whole TLS hello, from the connection's start, where there are routes.
        client_hello: Duration = Duration::from_secs(5), in MS..=HOUR;
        /// Without a byte in either direction, before a connection is closed.
        idle: Duration = Duration::from_secs(600), in MS..=DAY;
        /// For a side to take the next of the bytes that wait for it, whatever comes from it; as
        /// long as `idle` unless set. Kernels tell of what is read in steps of up to a 16th of
        /// their buffers, some 400 KB by default: a slow reader needs time for one.
        write_stall: Option<Duration> = None, in MS..=DAY;
        /// Bytes per second that a side has to take of what waits for it, looked at once in
        /// `write_stall`; 0 asks for none.
        write_rate_min: ByteSize = ByteSize::bytes(0), in ByteSize::bytes(0)..=ByteSize::gib(1);
        /// In "nat" and "dsr", of TCP: before there was an answer to an answer.
        opening: Duration = Duration::from_secs(60), in SECOND..=DAY;
        /// The same, once one side has said that it is done.
        closing: Duration = Duration::from_secs(120), in SECOND..=DAY;
        /// The same, once both have, or one has reset.
        closed: Duration = Duration::from_secs(10), in SECOND..=DAY;
        /// Without a datagram in either direction, before a flow ends; 30 s unless set, on port 53
        /// 5 s.
        datagram: Option<Duration> = None, in SECOND..=DAY;
    }
}

section! {
    /// How much a service takes.
    pub struct ServiceLimits("limits") = default {
        /// Connections to this service; over it, new ones are closed. Flows of datagrams, and what
        /// limits them here and in their cluster: where there is no room, a new one has the oldest
        /// give way whose client did not go on after an answer. Such flows have half of the
        /// cluster's connections, each shard a part of it.
        connections_max as "connections": u32 = 1_000_000, in 1..=10_000_000;
        /// Connections of one source address, in IPv6 one /64, to all ways in.
        source_connections_max as "connections_per_source": u32 = 1_024, in 1..=10_000_000;
    }
}

section! {
    /// How connections are kept that are not served. A peer learns of it only by waiting.
    #[derive(Eq)]
    pub struct Tarpit("tarpit") = default {
        /// So many at most; over it, they are reset. Each counts as a connection of the appliance.
        connections_max as "connections": u32 = 10_000, in 1..=1_000_000;
        /// How long one is kept before it is reset.
        hold: Duration = Duration::from_secs(600), in SECOND..=DAY;
    }
}

/// Where the connections of a service go: to one cluster, or by the name that TLS asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    /// In file order: the first that matches. Without any, nothing is read of a connection.
    pub routes: Vec<ServiceRoute>,
    /// Where all others go; where there is none, they are refused.
    pub others: Option<ClusterId>,
}

section! {
    /// Where connections go that ask for these names.
    #[derive(Eq)]
    pub struct ServiceRoute("service-route") {
        /// The names: one, or a list of them, as "example.com" or "*.example.com".
        server_names as "server_name": Vec<HostPattern>, in NAMES;
        /// The cluster that they go to.
        cluster as "to": ClusterId;
    }
}

impl Destinations {
    /// Every cluster that connections may go to, in file order.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterId> + '_ {
        self.routes.iter().map(|route| route.cluster).chain(self.others)
    }
}

/// The keys `to` and `route`, of which a service has at least one.
impl Group for Destinations {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Destinations> {
        let others = table.optional::<Option<ClusterId>>("to", || None, &());
        let routes = table.optional::<Vec<ServiceRoute>>("route", Vec::new, &ROUTES);
        let (others, routes) = (others?, routes?);
        if others.is_none() && routes.is_empty() {
            return table.missing("to", "neither `to` nor a [[route]] is set");
        }
        Some(Destinations { routes, others })
    }

    fn write(&self, out: &mut TableWriter<'_>) {
        out.put("to", &self.others);
        if !self.routes.is_empty() {
            out.put("route", &self.routes);
        }
    }

    fn describe(out: &mut TableSchema) {
        let docs = &["The cluster that connections go to which no route is for."];
        out.optional::<Option<ClusterId>>("to", docs, &None, &());
        let docs =
            &["Where TLS connections go by the name that they ask for; the first that matches."];
        out.optional::<Vec<ServiceRoute>>("route", docs, &Vec::new(), &ROUTES);
    }
}

impl Service {
    /// What packets to endpoints are put into, in `dsr`.
    pub fn encap(&self) -> Encap {
        self.encap.unwrap_or(Encap::Gre)
    }

    /// Whether flows to an endpoint that checks find down go to another one.
    pub fn moves_when_down(&self, transport: Transport) -> bool {
        match self.move_when_down.unwrap_or(MoveWhenDown::Udp) {
            MoveWhenDown::Udp => transport == Transport::Udp,
            MoveWhenDown::All => true,
            MoveWhenDown::Nothing => false,
        }
    }

    /// Whether who comes from there is not served.
    #[inline]
    pub fn denies(&self, source: Option<IpAddr>) -> bool {
        !self.deny.is_empty()
            && source.is_some_and(|source| self.deny.iter().any(|one| one.contains(source)))
    }

    /// Whether some of its ports are UDP's.
    pub(crate) fn has_datagrams(&self) -> bool {
        self.ports.iter().any(|port| port.transport == Transport::Udp)
    }

    /// How long a flow of datagrams to this port may be silent.
    pub fn datagram_idle(&self, port: u16) -> Duration {
        let usual = if port == DNS { 5 } else { 30 };
        self.timeouts.datagram.unwrap_or(Duration::from_secs(usual))
    }

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
    let mut interfaces: Vec<&InterfaceName> = service.interfaces.iter().collect();
    interfaces.sort();
    if let Some(pair) = interfaces.windows(2).find(|pair| pair[0] == pair[1]) {
        return table.contradict("interface", &format!("{} is listed twice", pair[0]));
    }
    check_mode(service, table)?;
    check_chain(&service.filters, table)?;
    if let Some(node) = table.peek("ports") {
        let nodes = node.get_ref().as_array();
        for (port, index) in service.ports.iter().zip(0..) {
            let node = nodes.and_then(|nodes| nodes.get(index)).unwrap_or(node);
            for vip in &service.vips {
                let address = ListenAddress::Ip((vip.ip(), port.number).into());
                let is_bound = service.mode == ServiceMode::Terminate;
                table.reader.below("ports", |reader| {
                    reader.claim_for(node, &address, port.transport, is_bound);
                });
            }
        }
    }
    Some(())
}

/// What datagrams can't be sent to, once all is read.
pub(crate) fn check_datagrams(config: &Config, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let mut sound = Some(());
    for service in &config.services {
        let has_datagrams = service.mode == ServiceMode::Terminate && service.has_datagrams();
        let Some(id) = service.destinations.others.filter(|_| has_datagrams) else { continue };
        let cluster = config.cluster(id);
        let unix = |one: &Endpoint| matches!(one.address, EndpointAddress::Unix(_));
        let problem = if cluster.tls.is_some() {
            "datagrams can't be sent by TLS"
        } else if cluster.endpoints.iter().any(unix) {
            "datagrams can't be sent to a unix socket"
        } else {
            continue;
        };
        let block = |kind, name| table.peek(kind)?.get_ref().as_table()?.get(name);
        let node = block("service", &*service.name).and_then(|one| one.get_ref().as_table());
        let span = node.and_then(|one| one.get("to")).map_or(0..0, |to| to.span());
        sound = table.reader.below("service", |reader| {
            reader.below(&service.name, |reader| {
                reader.below("to", |reader| reader.contradict(span, problem))
            })
        });
    }
    sound
}

const VIPS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 64, bare: true };
const PORTS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 64, bare: true };
const DENIED: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 1_000, bare: true };
const NAMES: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 1_000, bare: true };
const ROUTES: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 10_000, bare: false };
const HOUR: Duration = Duration::from_secs(3_600);
const INTERFACES: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 16, bare: true };
/// Its flows are a question and an answer.
const DNS: u16 = 53;
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);
