//! Whether backends of `dsr` answer on the VIPs: asked once, for who wants to know.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use penstock_balance::FleetSeed;
use penstock_config::{Config, EndpointAddress, ServiceMode};
use tokio::task::JoinSet;

use super::detour::{CheckedVip, Through};
use super::facts::Facts;
use super::plan::{Plan, own_address};
use super::{BadPlan, DatapathError, Datapaths};

/// What came of asking a backend on a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The service.
    pub service: String,
    /// The backend.
    pub backend: IpAddr,
    /// The VIP, and what packets to it were put into.
    pub name: String,
    /// Whether it took a connection; else why not.
    pub outcome: Result<(), String>,
}

/// Connects to each VIP of `dsr` on each of its backends, through the encapsulation, at the port
/// that checks go to or else at the first one of TCP. Others may run checks at the same time.
///
/// # Errors
/// There is no way there at all.
pub fn reach(config: &Config, datapaths: &mut dyn Datapaths) -> Result<Vec<Reached>, BadPlan> {
    let seed = FleetSeed::new(&config.fleet.hash_seed);
    let machine = Facts::of(config, datapaths);
    let Some(plan) = Plan::of(config, &seed, &machine)? else { return Ok(Vec::new()) };
    let mut detour = datapaths.detour(INSTANCE)?;
    detour.follow(&plan.interfaces);
    let mut asked = Vec::new();
    for service in config.services.iter().filter(|one| one.mode == ServiceMode::Dsr) {
        let Some(id) = service.destinations.others else { continue };
        let cluster = config.cluster(id);
        let port = cluster.health.as_ref().and_then(|health| health.tcp_port());
        let facts = service.interfaces.iter().map(|name| machine.interface(name.as_str()).cloned());
        let facts = facts.collect::<Result<Vec<_>, DatapathError>>()?;
        for vip in service.vips.iter().map(|vip| vip.ip()) {
            let own = |v4| own_address(&facts, v4, config);
            let checked = CheckedVip::of(service, vip, config, own)?;
            for endpoint in &cluster.endpoints {
                let EndpointAddress::Ip(address) = &endpoint.address else { continue };
                let through = checked.through(*address, port, detour.guide());
                asked.push((service.name.to_string(), *address, through));
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| DatapathError(error.to_string()))?;
    Ok(runtime.block_on(ask(asked)))
}

/// All at once: those that don't answer take their time.
async fn ask(all: Vec<(String, SocketAddr, Through)>) -> Vec<Reached> {
    let mut asking = JoinSet::new();
    for (place, (service, backend, through)) in all.into_iter().enumerate() {
        asking.spawn(async move {
            let connected = tokio::time::timeout(PATIENCE, through.connect()).await;
            let late = || Err(format!("no answer within {PATIENCE:?}"));
            let outcome = connected.map_or_else(|_| late(), |connected| connected.map(drop));
            let (backend, name) = (backend.ip(), through.name());
            (place, Reached { service, backend, name, outcome })
        });
    }
    let mut reached: Vec<(usize, Reached)> = Vec::new();
    while let Some(one) = asking.join_next().await {
        // One that panics has its say on standard error.
        reached.extend(one.ok());
    }
    reached.sort_by_key(|(place, _)| *place);
    reached.into_iter().map(|(_, one)| one).collect()
}

/// Of a detour beside that of an appliance that runs.
const INSTANCE: &str = "doctor";
/// How long a connection may take: two of its first packets may be lost (RFC 6298 §2: 1 s, 2 s).
const PATIENCE: Duration = Duration::from_secs(5);
