//! What checks of `dsr` need: which VIPs there are to be asked for, and the way to them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use penstock_config::{CheckAt, Config, Health, Service, ServiceMode, Transport};
use penstock_l4::CheckWay;
use tokio::net::{TcpSocket, TcpStream};

use super::plan::{Plan, encap_of};
use super::running::Layer4;
use super::{BadPlan, DatapathError, Guide};

/// A VIP on which a cluster's endpoints have to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckedVip {
    /// The place of the cluster.
    cluster: usize,
    vip: IpAddr,
    /// The first of its ports that takes connections.
    port: Option<u16>,
    encap: u8,
    /// How that is called.
    encap_name: &'static str,
    /// The appliance's own address that checks are from.
    own: IpAddr,
    /// Where packets to endpoints are from, by family, IPv4 first.
    outer: [Option<IpAddr>; 2],
}

/// Whether packets of the service go to endpoints whose checks go the same way: through the
/// encapsulation.
pub fn is_checked(service: &Service, config: &Config) -> bool {
    let health = |id| config.cluster(id).health.as_ref();
    let health = service.destinations.others.and_then(health);
    service.mode == ServiceMode::Dsr
        && health.is_some_and(|health| health.at != Some(CheckAt::Endpoint))
}

impl CheckedVip {
    /// For a VIP of a service that [`is_checked`]; `own` gives an address of a family, if there
    /// is one.
    pub(crate) fn of(
        service: &Service,
        vip: IpAddr,
        config: &Config,
        own: impl Fn(bool) -> Option<IpAddr>,
    ) -> Result<CheckedVip, BadPlan> {
        let absent = || BadPlan::NoCheckAddress {
            service: service.name.to_string(),
            interface: service.interfaces.first().map_or_else(String::new, ToString::to_string),
            family: if vip.is_ipv4() { "IPv4" } else { "IPv6" },
        };
        let tcp = service.ports.iter().find(|port| port.transport == Transport::Tcp);
        Ok(CheckedVip {
            cluster: service.destinations.others.map_or(usize::MAX, |id| id.index()),
            vip,
            port: tcp.map(|port| port.number),
            encap: encap_of(service),
            encap_name: service.encap().name(),
            own: own(vip.is_ipv4()).ok_or_else(absent)?,
            outer: [true, false].map(|v4| {
                let mut set = config.runtime.layer4.tunnel.iter().map(|one| one.ip());
                set.find(|ip| ip.is_ipv4() == v4).or_else(|| own(v4))
            }),
        })
    }
}

impl CheckedVip {
    /// The way to it on an endpoint; to this port, if it is to be another than the VIP's.
    pub(super) fn through(
        &self,
        endpoint: SocketAddr,
        port: Option<u16>,
        guide: Arc<dyn Guide>,
    ) -> Through {
        let port = port.or(self.port).unwrap_or(endpoint.port());
        let outer = self.outer[usize::from(endpoint.is_ipv6())];
        Through {
            way: CheckWay {
                vip: SocketAddr::new(self.vip, port),
                backend: endpoint.ip(),
                // Without an address of that family the plan is refused before.
                outer: outer.unwrap_or(self.own),
                encap: self.encap,
            },
            own: self.own,
            encap_name: self.encap_name,
            guide,
        }
    }
}

/// How one check gets to a VIP on an endpoint.
#[derive(Clone)]
pub(crate) struct Through {
    way: CheckWay,
    own: IpAddr,
    encap_name: &'static str,
    guide: Arc<dyn Guide>,
}

impl Through {
    /// Connects to the VIP. What comes beside the stream has to live as long.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn connect(&self) -> Result<(TcpStream, Box<dyn Send>), String> {
        let text = |error: std::io::Error| error.to_string();
        let socket = if self.own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(text)?;
        socket.bind(SocketAddr::new(self.own, 0)).map_err(text)?;
        let from = socket.local_addr().map_err(text)?;
        let led = std::os::fd::AsFd::as_fd(&socket);
        let led = self.guide.lead(led, from, &self.way).map_err(|DatapathError(why)| why)?;
        Ok((socket.connect(self.way.vip).await.map_err(text)?, led))
    }

    /// Whom clients connect to.
    pub(crate) fn vip(&self) -> SocketAddr {
        self.way.vip
    }

    /// For a sentence that says what did not answer.
    pub(crate) fn name(&self) -> String {
        format!("{} through {}", self.way.vip, self.encap_name)
    }
}

impl Layer4 {
    /// The VIPs that an endpoint of a cluster has to answer on.
    pub(crate) fn ways(
        &self,
        cluster: usize,
        endpoint: SocketAddr,
        health: &Health,
    ) -> Vec<Through> {
        let (Some(running), Some(detour)) = (&self.running, &self.detour) else {
            return Vec::new();
        };
        let mine = running.plan.checked.iter().filter(|one| one.cluster == cluster);
        let through =
            mine.map(|checked| checked.through(endpoint, health.tcp_port(), detour.guide()));
        through.collect()
    }

    /// Sees to it that there is a detour if the plan wants one, before anything else is changed.
    pub(super) fn open_detour(&mut self, plan: &Plan, config: &Config) -> Result<(), BadPlan> {
        if plan.checked.is_empty() {
            return Ok(());
        }
        if self.detour.is_none() {
            let instance = config.runtime.layer4.instance.to_string();
            self.detour = Some(self.datapaths.detour(&instance)?);
        }
        if let Some(detour) = &mut self.detour {
            detour.follow(&plan.interfaces);
        }
        Ok(())
    }

    /// Lets go of what nothing in force wants of a detour.
    pub(super) fn close_detour(&mut self) {
        let plan = self.running.as_ref().map(|running| &running.plan);
        match (plan.filter(|plan| !plan.checked.is_empty()), &mut self.detour) {
            (Some(plan), Some(detour)) => detour.follow(&plan.interfaces),
            (None, detour) => *detour = None,
            (Some(_), None) => {}
        }
    }
}
