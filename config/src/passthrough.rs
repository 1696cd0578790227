//! Services whose packets are passed on, in `nat` and `dsr`: what can be said of one and what not.

use toml::de::DeTable;

use crate::action::Action;
use crate::cluster::{Cluster, Endpoint};
use crate::config::Config;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::choice;
use crate::health::CheckAt;
use crate::proxy_protocol::ProxyVersion;
use crate::service::{Service, ServiceLimits, ServiceMode, ServiceTimeouts};
use crate::values::address::EndpointAddress;

choice! {
    /// What packets to backends of `dsr` are put into.
    pub enum Encap("encap") {
        /// GRE (RFC 2784).
        Gre = "gre",
        /// IP in IP (RFC 2003, RFC 2473).
        Ipip = "ipip",
        /// Generic UDP encapsulation, to port 6080.
        Gue = "gue",
    }
}

choice! {
    /// Whose flows leave an endpoint that checks find down.
    pub enum MoveWhenDown("move-when-down") {
        /// Those of UDP, which go on elsewhere. A connection's other end can't be moved: it stays,
        /// and may outlive a check that failed for another reason.
        Udp = "udp",
        /// Those of TCP too: where they come to nobody knows them, and they are reset.
        All = "all",
        /// None: they stay until they end or are idle for too long.
        Nothing = "none",
    }
}

/// The clusters that packets are passed on to, before anything is read: how an endpoint may be
/// written depends on it.
pub(crate) fn passed_to(root: &DeTable<'_>) -> Vec<String> {
    let services = root.get("service").and_then(|node| node.get_ref().as_table());
    let clusters = services.into_iter().flat_map(|table| table.values()).filter_map(|service| {
        let service = service.get_ref().as_table()?;
        let word = |key| service.get(key).and_then(|node| node.get_ref().as_str());
        let mode = word("mode")?;
        let passes = mode == ServiceMode::Nat.name() || mode == ServiceMode::Dsr.name();
        word("to").filter(|_| passes).map(str::to_owned)
    });
    clusters.collect()
}

/// What a mode can't have, each as a sentence; nothing where all is well.
pub(crate) fn check_mode(service: &Service, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let refusal = match service.mode {
        ServiceMode::Terminate => not_in_terminate(service),
        ServiceMode::Nat | ServiceMode::Dsr => not_in_passthrough(service),
    };
    match refusal {
        Some((key, problem)) => table.contradict(key, problem),
        None if service.mode != ServiceMode::Terminate && service.interfaces.is_empty() => {
            table.missing("interface", "packets are passed on from an interface: name it")
        }
        None => Some(()),
    }
}

/// The key that has to go, and why.
type Refusal = (&'static str, &'static str);

fn not_in_terminate(service: &Service) -> Option<Refusal> {
    let (ours, default) = (&service.timeouts, ServiceTimeouts::default());
    let of_packets = (ours.opening, ours.closing, ours.closed);
    if service.encap.is_some() {
        Some(("encap", "goes with mode \"dsr\" alone"))
    } else if service.move_when_down.is_some() {
        let problem = "goes with the modes \"nat\" and \"dsr\": connections end by themselves";
        Some(("move_when_down", problem))
    } else if service.tarpit.is_some() && service.deny.is_empty() {
        Some(("tarpit", "goes with `deny`: nobody is denied"))
    } else if !service.interfaces.is_empty() {
        Some(("interface", "goes with the modes \"nat\" and \"dsr\": connections come by any"))
    } else if of_packets != (default.opening, default.closing, default.closed) {
        let problem = "`opening`, `closing` and `closed` go with the modes \"nat\" and \"dsr\": \
                       here the kernel keeps them";
        Some(("timeouts", problem))
    } else if !service.has_datagrams() {
        None
    } else if !service.filters.is_empty() {
        let problem = "see connections alone, and there are ports of UDP: make two services of \
                       this one";
        Some(("filters", problem))
    } else if service.send_proxy_protocol == Some(ProxyVersion::V1) {
        let problem = "version 1 knows no datagrams, and there are ports of UDP: say \"v2\"";
        Some(("send_proxy_protocol", problem))
    } else if !service.destinations.routes.is_empty() {
        let problem = "goes with connections alone, and there are ports of UDP: make two services \
                       of this one";
        Some(("route", problem))
    } else {
        None
    }
}

fn not_in_passthrough(service: &Service) -> Option<Refusal> {
    let default = ServiceTimeouts::default();
    if service.mode == ServiceMode::Nat && service.encap.is_some() {
        Some(("encap", "goes with mode \"dsr\" alone"))
    } else if service.transparent {
        Some(("transparent", "goes with mode \"terminate\" alone: \"dsr\" shows clients, too"))
    } else if !service.deny.is_empty() {
        Some(("deny", "goes with mode \"terminate\" alone: see runtime.layer4.sources"))
    } else if service.tarpit.is_some() {
        Some(("tarpit", "goes with mode \"terminate\" alone: packets are dropped"))
    } else if service.proxy_protocol.is_some() {
        Some(("proxy_protocol", NOT_READ))
    } else if service.send_proxy_protocol.is_some() {
        Some(("send_proxy_protocol", NOT_READ))
    } else if !service.destinations.routes.is_empty() {
        Some(("route", NOT_READ))
    } else if !service.filters.is_empty() {
        Some(("filters", "go with mode \"terminate\" alone: what is in packets is not read"))
    } else if service.retries != RETRIES {
        Some(("retries", "goes with mode \"terminate\" alone: packets are sent once"))
    } else if service.limits != ServiceLimits::default() {
        let problem = "go with mode \"terminate\" alone: see runtime.layer4 for flows and sources";
        Some(("limits", problem))
    } else if service.timeouts.client_hello != default.client_hello {
        Some(("timeouts", "`client_hello` goes with mode \"terminate\" alone"))
    } else if service.timeouts.write_stall.is_some()
        || service.timeouts.write_rate_min != default.write_rate_min
    {
        let problem = "`write_stall` and `write_rate_min` go with mode \"terminate\" alone";
        Some(("timeouts", problem))
    } else if service.vips.iter().any(|vip| vip.ip().is_unspecified() || vip.ip().is_loopback()) {
        Some(("vip", "packets are passed on for one address, which others have a way to"))
    } else if service.ports.iter().any(|port| port.number == 0) {
        Some(("ports", "port 0 is none: what is passed on has a port of its own"))
    } else {
        None
    }
}

/// What services pass packets on to, once all is read: what their mode can't reach, and clusters
/// that others use too.
pub(crate) fn check_destinations(
    config: &Config,
    table: &mut TableReader<'_, '_, '_>,
) -> Option<()> {
    let mut sound = Some(());
    for service in config.services.iter().filter(|one| one.mode != ServiceMode::Terminate) {
        let Some(id) = service.destinations.others else { continue };
        if let Some(problem) = unreachable_by(service, config.cluster(id)) {
            sound = refuse(table, ["service", &service.name, "to"], &problem);
        }
    }
    for (cluster, index) in config.clusters.iter().zip(0..) {
        let portless = cluster.endpoints.iter().any(|one| one.address.is_portless());
        if portless && is_connected_to(config, ClusterId(index)) {
            let problem = "connections are made to this cluster too: its endpoints need ports";
            sound = refuse(table, ["cluster", &cluster.name, "endpoints"], problem);
        }
        let asked = cluster.health.as_ref().filter(|health| health.tcp_port().is_none());
        if portless && asked.is_some() {
            let problem = "its endpoints have no port to be checked at: say `tcp = PORT`";
            sound = refuse(table, ["cluster", &cluster.name, "health"], problem);
        }
        let at = cluster.health.as_ref().and_then(|health| health.at);
        if at == Some(CheckAt::Vip) && !is_led_to_by_dsr(config, ClusterId(index)) {
            let problem = "`at = \"vip\"`: no service in `dsr` leads here";
            sound = refuse(table, ["cluster", &cluster.name, "health"], problem);
        }
    }
    sound
}

impl Config {
    /// Whether anything but packets of `dsr` goes to this cluster: then its endpoints' own
    /// addresses matter.
    pub fn asks_endpoints_of(&self, cluster: ClusterId) -> bool {
        let nat = self.services.iter().filter(|one| one.mode == ServiceMode::Nat);
        nat.flat_map(|service| service.destinations.clusters()).any(|id| id == cluster)
            || is_connected_to(self, cluster)
    }
}

fn is_led_to_by_dsr(config: &Config, cluster: ClusterId) -> bool {
    let dsr = config.services.iter().filter(|one| one.mode == ServiceMode::Dsr);
    dsr.flat_map(|service| service.destinations.clusters()).any(|id| id == cluster)
}

/// Why the packets of a service can't be passed on to this cluster.
fn unreachable_by(service: &Service, cluster: &Cluster) -> Option<String> {
    let is_unix = |one: &&Endpoint| matches!(one.address, EndpointAddress::Unix(_));
    if let Some(unix) = cluster.endpoints.iter().find(is_unix) {
        return Some(format!("packets can't be passed on to {}", unix.address));
    }
    if service.mode == ServiceMode::Dsr {
        return None;
    }
    let has = |v4: bool| {
        cluster.endpoints.iter().any(
            |one| matches!(one.address, EndpointAddress::Ip(address) if address.is_ipv4() == v4),
        )
    };
    let lonely = service.vips.iter().find(|vip| !has(vip.ip().is_ipv4()))?;
    let family = if lonely.ip().is_ipv4() { "IPv4" } else { "IPv6" };
    Some(format!("`nat` to {lonely} needs endpoints with {family}, and there are none"))
}

/// Whether anybody opens connections to it.
fn is_connected_to(config: &Config, cluster: ClusterId) -> bool {
    let terminated = config.services.iter().filter(|one| one.mode == ServiceMode::Terminate);
    let routes = config.listeners.iter().flat_map(|listener| listener.routes.iter());
    let mut shares = routes.flat_map(|route| match &route.action {
        Action::Forward(forward) => forward.shares(),
        Action::Redirect(_) | Action::Respond(_) => &[],
    });
    terminated.flat_map(|service| service.destinations.clusters()).any(|id| id == cluster)
        || shares.any(|share| share.cluster == cluster)
        || config.filters.iter().any(|filter| {
            filter.http_calls.contains(&cluster) || filter.grpc_calls.contains(&cluster)
        })
}

/// Says that a key of a block contradicts what another block says.
pub(crate) fn refuse(
    table: &mut TableReader<'_, '_, '_>,
    [kind, name, key]: [&str; 3],
    problem: &str,
) -> Option<()> {
    let block = table.peek(kind).and_then(|node| node.get_ref().as_table()?.get(name));
    let value = block.and_then(|node| node.get_ref().as_table()?.get(key));
    let span = value.or(block).map_or(0..0, |node| node.span());
    table.reader.below(kind, |reader| {
        reader.below(name, |reader| {
            reader.below(key, |reader| reader.contradict(span, problem.to_owned()))
        })
    })
}

const NOT_READ: &str = "goes with mode \"terminate\" alone: what is in packets is not read";
/// The default of services.
pub(crate) const RETRIES: u32 = 2;
