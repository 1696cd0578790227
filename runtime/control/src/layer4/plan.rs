//! What a config asks of the tables, before anything has a number.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use penstock_balance::{EndpointSpec, FleetSeed, maglev_table};
use penstock_config::{
    Config, Encap, EndpointAddress, Service, ServiceMode, SourceAction, Transport,
};
use penstock_l4::value::{
    Address, Pool, Settings, SourceRule, Timeouts, VipKey, action, encap, mode,
};

use super::detour::{CheckedVip, is_checked};
use super::facts::Facts;
use super::{DatapathError, InterfaceFacts};

/// The most VIPs of an appliance.
pub(crate) const VIPS_MAX: u16 = 512;
/// The most tables of backends, one of which is kept free for the next one to be written to.
pub(crate) const MAGLEVS_MAX: u32 = 64;
/// The most backends, those that drain included.
pub(crate) const BACKENDS_MAX: u32 = 4_096;

/// Why a config can't be what tables say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// A service's interface is missing.
    #[error("service.{service}.interface: {problem}")]
    Interface {
        /// The service.
        service: String,
        /// What is wrong.
        problem: String,
    },
    /// The appliance has no address to send to backends from.
    #[error(
        "service.{service}: {interface} has no {family} address that packets to backends could be \
         from: give it one, or set runtime.layer4.{key}"
    )]
    NoAddress {
        /// The service.
        service: String,
        /// Its interface.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The key that says it.
        key: &'static str,
    },
    /// The appliance has no address to check a VIP from.
    #[error(
        "service.{service}: {interface} has no {family} address that health checks of its VIP \
         could be from: give it one, or set `at = \"endpoint\"` in the cluster's `health`"
    )]
    NoCheckAddress {
        /// The service.
        service: String,
        /// Its interface.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// More lanes than ports.
    #[error("runtime.layer4.nat_ports: {ports} ports, and this machine has {lanes} processors")]
    TooFewPorts {
        /// How many there are.
        ports: u32,
        /// How many are needed.
        lanes: u32,
    },
    /// More of something than the tables hold.
    #[error("{count} {what} of services in `nat` and `dsr`: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// The datapath does not do it.
    #[error("{0}")]
    Datapath(#[from] DatapathError),
}

/// What tables have to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// Sorted by key.
    pub(crate) vips: Vec<PlannedVip>,
    pub(crate) maglevs: Vec<PlannedMaglev>,
    /// Rules by prefix, in bits of IPv6.
    pub(crate) sources: Vec<(Address, u8, SourceRule)>,
    /// Sorted.
    pub(crate) interfaces: Vec<String>,
    /// Backends that checks find down, and that no Maglev table names therefore.
    pub(crate) down: BTreeSet<BackendKey>,
    /// VIPs that are asked for on backends.
    pub(crate) checked: Vec<CheckedVip>,
}

/// An endpoint that checks find down: the place of its cluster, and its address.
pub(crate) type Fallen = (usize, penstock_env::Address);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedVip {
    pub(crate) key: VipKey,
    /// Name of its service.
    pub(crate) service: String,
    pub(crate) mode: u8,
    pub(crate) encap: u8,
    /// Which of the plan's Maglev tables.
    pub(crate) maglev: usize,
    pub(crate) mtu: u16,
    /// Whether flows of a backend that is down are placed anew.
    pub(crate) moves: bool,
    pub(crate) timeouts: Timeouts,
}

/// Who takes flows, and which ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedMaglev {
    /// Sorted by address: in this order appliances agree.
    pub(crate) backends: Vec<PlannedBackend>,
    /// By slot: the place in `backends`.
    pub(crate) slots: Box<[u16]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlannedBackend {
    pub(crate) at: BackendKey,
    pub(crate) weight: u16,
}

/// Who a backend is: its address, and in `nat` its port as on the wire, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BackendKey {
    pub(crate) address: Address,
    pub(crate) port: u16,
}

impl Plan {
    /// What `config` asks for; nothing when no service passes packets on.
    pub(crate) fn of(
        config: &Config,
        seed: &FleetSeed,
        machine: &Facts,
    ) -> Result<Option<Plan>, BadPlan> {
        let services: Vec<&Service> = passing(config).collect();
        if services.is_empty() {
            return Ok(None);
        }
        let mut plan = Plan {
            settings: settings(config, seed, machine.lanes)?,
            vips: Vec::new(),
            maglevs: Vec::new(),
            sources: sources(config),
            interfaces: Vec::new(),
            down: BTreeSet::new(),
            checked: Vec::new(),
        };
        for service in services {
            plan.add(service, config, seed, machine)?;
        }
        plan.vips.sort_by_key(|vip| vip.key);
        plan.interfaces.sort();
        plan.interfaces.dedup();
        let maglevs_max = MAGLEVS_MAX as usize - 1;
        for (what, count, max) in [
            ("VIPs", plan.vips.len(), usize::from(VIPS_MAX)),
            ("sets of backends", plan.maglevs.len(), maglevs_max),
        ] {
            if count > max {
                return Err(BadPlan::TooMany { what, count, max });
            }
        }
        Ok(Some(plan))
    }

    /// Takes note of the endpoints that `config` is without because they are down.
    pub(crate) fn note_fallen(&mut self, config: &Config, fallen: &[Fallen]) {
        for service in passing(config) {
            let cluster = service.destinations.others.map(|id| id.index());
            for (_, address) in fallen.iter().filter(|(place, _)| Some(*place) == cluster) {
                if let penstock_env::Address::Ip(address) = address {
                    self.down.insert(backend_key(service, *address));
                }
            }
        }
    }

    fn add(
        &mut self,
        service: &Service,
        config: &Config,
        seed: &FleetSeed,
        machine: &Facts,
    ) -> Result<(), BadPlan> {
        let mut facts = Vec::new();
        for name in &service.interfaces {
            let found = machine.interface(name.as_str()).cloned();
            facts.push(found.map_err(|DatapathError(problem)| BadPlan::Interface {
                service: service.name.to_string(),
                problem,
            })?);
        }
        let mtu = facts.iter().map(|one| one.mtu).min().unwrap_or(1_500);
        // No IP packet is longer; the loopback's MTU is.
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        for vip in service.vips.iter().map(|vip| vip.ip()) {
            let backends = backends(service, vip, config);
            self.claim_address(service, vip, &backends, &facts, config)?;
            let maglev = self.maglev_of(backends, seed);
            if is_checked(service, config) {
                let own = |v4| own_address(&facts, v4, config);
                self.checked.push(CheckedVip::of(service, vip, config, own)?);
            }
            for port in &service.ports {
                let protocol = match port.transport {
                    Transport::Tcp => TCP,
                    Transport::Udp => UDP,
                };
                self.vips.push(PlannedVip {
                    key: VipKey::new(address_of(vip), port.number.to_be(), protocol),
                    service: service.name.to_string(),
                    mode: mode_of(service),
                    encap: encap_of(service),
                    maglev,
                    mtu,
                    moves: service.moves_when_down(port.transport),
                    timeouts: timeouts(service, port.number),
                });
            }
        }
        self.interfaces.extend(facts.into_iter().map(|one| one.name));
        Ok(())
    }

    /// Sees to it that the appliance has an address for packets of this VIP to be from.
    fn claim_address(
        &mut self,
        service: &Service,
        vip: IpAddr,
        backends: &[PlannedBackend],
        facts: &[InterfaceFacts],
        config: &Config,
    ) -> Result<(), BadPlan> {
        let is_nat = service.mode == ServiceMode::Nat;
        let families = [true, false].into_iter().filter(|v4| {
            backends.iter().any(|backend| backend.at.address.is_v4() == *v4)
                && (!is_nat || vip.is_ipv4() == *v4)
        });
        for v4 in families {
            let settings = &mut self.settings;
            let place = match (is_nat, v4) {
                (true, true) => &mut settings.pool_v4.address,
                (true, false) => &mut settings.pool_v6.address,
                (false, true) => &mut settings.tunnel_v4,
                (false, false) => &mut settings.tunnel_v6,
            };
            if place.is_unspecified() {
                let own = own_address(facts, v4, config);
                let absent = || BadPlan::NoAddress {
                    service: service.name.to_string(),
                    interface: facts.first().map_or_else(String::new, |one| one.name.clone()),
                    family: if v4 { "IPv4" } else { "IPv6" },
                    key: if is_nat { "nat" } else { "tunnel" },
                };
                *place = address_of(own.ok_or_else(absent)?);
            }
            settings.nat |= u32::from(is_nat);
        }
        Ok(())
    }

    /// The index of the Maglev table of these backends, made where there is none yet.
    fn maglev_of(&mut self, backends: Vec<PlannedBackend>, seed: &FleetSeed) -> usize {
        let known = self.maglevs.iter().position(|maglev| maglev.backends == backends);
        known.unwrap_or_else(|| {
            let specs = backends.iter().map(|backend| EndpointSpec {
                address: penstock_env::Address::Ip(socket_address(backend.at)),
                weight: backend.weight,
            });
            let specs: Vec<EndpointSpec> = specs.collect();
            self.maglevs.push(PlannedMaglev { slots: maglev_table(&specs, seed), backends });
            self.maglevs.len() - 1
        })
    }

    /// What tells this table from every other: equal on appliances that send each flow to the
    /// same backend. Of one service, or of all.
    pub(crate) fn checksum(&self, service: Option<&str>, seed: &FleetSeed) -> String {
        let mut bytes = Vec::new();
        let mut maglevs: Vec<usize> = Vec::new();
        for vip in self.vips.iter().filter(|vip| service.is_none_or(|name| name == vip.service)) {
            bytes.extend(vip.key.address.octets());
            bytes.extend(vip.key.port.to_ne_bytes());
            bytes.extend([vip.key.protocol, vip.mode, vip.encap]);
            let place = maglevs.iter().position(|maglev| *maglev == vip.maglev);
            let place = place.unwrap_or_else(|| {
                maglevs.push(vip.maglev);
                maglevs.len() - 1
            });
            bytes.extend((place as u16).to_be_bytes());
        }
        for maglev in maglevs {
            let maglev = &self.maglevs[maglev];
            for backend in &maglev.backends {
                bytes.extend(backend.at.address.octets());
                bytes.extend(backend.at.port.to_ne_bytes());
            }
            bytes.extend(maglev.slots.iter().flat_map(|slot| slot.to_be_bytes()));
        }
        format!("{:016x}", seed.hash(&bytes))
    }
}

/// The endpoints behind backends that were found down, where checks can say otherwise; none of a
/// cluster where all were.
pub(crate) fn fallen_of(config: &Config, down: &BTreeSet<BackendKey>) -> Vec<Fallen> {
    let mut fallen: Vec<Fallen> = Vec::new();
    for service in passing(config) {
        let Some(id) = service.destinations.others else { continue };
        let cluster = config.cluster(id);
        let endpoints = cluster.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Ip(address) => Some((*address, endpoint.weight.shares() > 0)),
            EndpointAddress::Unix(_) => None,
        });
        let is_down = |address| down.contains(&backend_key(service, address));
        let (lost, well): (Vec<_>, Vec<_>) = endpoints.partition(|(address, _)| is_down(*address));
        if cluster.health.is_some() && well.iter().any(|(_, weighs)| *weighs) {
            let of_cluster = |(address, _)| (id.index(), penstock_env::Address::Ip(address));
            fallen.extend(lost.into_iter().map(of_cluster));
        }
    }
    fallen.sort();
    fallen.dedup();
    fallen
}

/// The services that packets are passed on for.
pub(crate) fn passing(config: &Config) -> impl Iterator<Item = &Service> {
    config.services.iter().filter(|one| one.mode != ServiceMode::Terminate)
}

/// Who an endpoint is to a service.
fn backend_key(service: &Service, address: SocketAddr) -> BackendKey {
    // In `dsr` packets keep the port that they were sent to.
    let port = if service.mode == ServiceMode::Nat { address.port().to_be() } else { 0 };
    BackendKey { address: address_of(address.ip()), port }
}

/// The first address of that family which the interfaces have and that is no VIP.
pub(super) fn own_address(facts: &[InterfaceFacts], v4: bool, config: &Config) -> Option<IpAddr> {
    let is_vip =
        |ip: &IpAddr| config.services.iter().any(|one| one.vips.iter().any(|vip| vip.ip() == *ip));
    let mut own = facts.iter().flat_map(|one| &one.addresses).copied();
    own.find(|ip| ip.is_ipv4() == v4 && !is_vip(ip))
}

/// The endpoints that a VIP's packets can go to, sorted.
fn backends(service: &Service, vip: IpAddr, config: &Config) -> Vec<PlannedBackend> {
    let Some(cluster) = service.destinations.others else { return Vec::new() };
    let is_nat = service.mode == ServiceMode::Nat;
    let endpoints = config.cluster(cluster).endpoints.iter().filter_map(|endpoint| {
        let EndpointAddress::Ip(address) = &endpoint.address else { return None };
        let fits = !is_nat || address.is_ipv4() == vip.is_ipv4();
        fits.then(|| PlannedBackend {
            at: backend_key(service, *address),
            weight: u16::try_from(endpoint.weight.shares()).unwrap_or(u16::MAX),
        })
    });
    let mut backends: Vec<PlannedBackend> = endpoints.collect();
    backends.sort();
    backends.dedup_by_key(|backend| backend.at);
    backends
}

fn settings(config: &Config, seed: &FleetSeed, lanes: u32) -> Result<Settings, BadPlan> {
    let layer4 = &config.runtime.layer4;
    let ports = layer4.nat_ports.count();
    let lane_ports = u16::try_from(ports / lanes.max(1)).unwrap_or(u16::MAX);
    if lane_ports == 0 {
        return Err(BadPlan::TooFewPorts { ports, lanes });
    }
    let of_family = |addresses: &[penstock_config::VipAddress], v4: bool| {
        let found = addresses.iter().map(|one| one.ip()).find(|ip| ip.is_ipv4() == v4);
        found.map_or(Address::v6([0; 16]), address_of)
    };
    let pool = |v4| Pool {
        address: of_family(&layer4.nat, v4),
        port_first: layer4.nat_ports.first(),
        lane_ports,
        zero: [0; 4],
    };
    Ok(Settings {
        hash_key: seed.packet_key(),
        pool_v4: pool(true),
        pool_v6: pool(false),
        tunnel_v4: of_family(&layer4.tunnel, true),
        tunnel_v6: of_family(&layer4.tunnel, false),
        sources: u32::from(!layer4.sources.is_empty()),
        nat: 0,
    })
}

fn sources(config: &Config) -> Vec<(Address, u8, SourceRule)> {
    let rules = config.runtime.layer4.sources.iter().flat_map(|rule| {
        let rate = rule.rate.unwrap_or(0);
        let value = SourceRule {
            action: match rule.action {
                SourceAction::Allow => action::ALLOW,
                SourceAction::Deny => action::DENY,
                SourceAction::Limit => action::RATE,
            },
            zero: [0; 3],
            // A tick is 2^20 ns, a token 1,024 units: r a second are r * 2^30 / 10^9 a tick.
            rate: u32::try_from((u64::from(rate) << 30) / 1_000_000_000).unwrap_or(u32::MAX),
            burst: rule.burst.unwrap_or(rate).min(1 << 20),
        };
        rule.from.iter().map(move |network| {
            let bits = network.prefix_bits() + if network.network().is_ipv4() { 96 } else { 0 };
            (address_of(network.network()), bits, value)
        })
    });
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|(address, bits, _)| (*address, *bits));
    rules
}

fn timeouts(service: &Service, port: u16) -> Timeouts {
    let timeouts = &service.timeouts;
    Timeouts {
        opening: ticks(timeouts.opening),
        established: ticks(timeouts.idle),
        closing: ticks(timeouts.closing),
        closed: ticks(timeouts.closed),
        datagram: ticks(service.datagram_idle(port)),
    }
}

/// In ticks of 2^20 ns.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> 20).unwrap_or(u32::MAX)
}

fn mode_of(service: &Service) -> u8 {
    if service.mode == ServiceMode::Nat { mode::NAT } else { mode::DSR }
}

pub(super) fn encap_of(service: &Service) -> u8 {
    match (service.mode, service.encap()) {
        (ServiceMode::Nat | ServiceMode::Terminate, _) => 0,
        (ServiceMode::Dsr, Encap::Gre) => encap::GRE,
        (ServiceMode::Dsr, Encap::Ipip) => encap::IPIP,
        (ServiceMode::Dsr, Encap::Gue) => encap::GUE,
    }
}

/// As tables have it.
pub(crate) fn address_of(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address::v6(ip.octets()),
    }
}

/// As people have it.
pub(crate) fn ip_of(address: Address) -> IpAddr {
    IpAddr::from(address.octets()).to_canonical()
}

/// As people have it; port 0 where it has none.
pub(crate) fn socket_address(backend: BackendKey) -> SocketAddr {
    SocketAddr::new(ip_of(backend.address), u16::from_be(backend.port))
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
