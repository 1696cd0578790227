//! The way to backends: routes, room for the encapsulation, and whether they answer on the VIPs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use penstock_config::{Config, Encap, EndpointAddress, Service, ServiceMode};
use penstock_control::{Reached, reach};
use penstock_xdp::{Detour, Interface};

use super::report::{Level, Report};
use crate::datapath::MachineDatapaths;

/// More are left out, and it is said.
const BACKENDS_MAX: usize = 256;

pub(crate) fn look(config: &Config, report: &mut Report) {
    let locals = penstock_xdp::addresses().unwrap_or_default();
    for service in config.services.iter().filter(|one| one.mode != ServiceMode::Terminate) {
        for vip in service.vips.iter().map(|vip| vip.ip()) {
            let on = locals.iter().find(|(_, ip)| *ip == vip).map(|(name, _)| name.as_str());
            let (level, what, advice) = judge_vip(on);
            report.put("vips", level, format!("service.{}: {vip} {what}", service.name), advice);
        }
        let backends = backends_of(service, config);
        for backend in backends.iter().take(BACKENDS_MAX) {
            look_at_way(service, *backend, report);
        }
        if backends.len() > BACKENDS_MAX {
            let what = format!("service.{}: backends after the first {BACKENDS_MAX}", service.name);
            report.put("backends", Level::Unknown, what, "");
        }
    }
    if config.services.iter().any(|one| one.mode == ServiceMode::Dsr) {
        look_through(config, report);
    }
}

fn backends_of(service: &Service, config: &Config) -> BTreeSet<IpAddr> {
    let clusters = service.destinations.clusters().map(|id| config.cluster(id));
    let addresses = clusters.flat_map(|cluster| &cluster.endpoints);
    let ips = addresses.filter_map(|endpoint| match &endpoint.address {
        EndpointAddress::Ip(address) => Some(address.ip()),
        EndpointAddress::Unix(_) => None,
    });
    ips.collect()
}

fn judge_vip(on: Option<&str>) -> (Level, String, &'static str) {
    match on {
        None => (Level::Ok, "is none of this machine's addresses".to_owned(), ""),
        Some(interface) => (
            Level::Warn,
            format!("is an address of this machine, on {interface}"),
            "right for VRRP; else take it off, or the machine itself answers when nobody else does",
        ),
    }
}

fn look_at_way(service: &Service, backend: IpAddr, report: &mut Report) {
    let (mtu_of_way, from) = match penstock_xdp::way_to(backend) {
        Ok((from, mtu)) => (mtu, from),
        Err(error) => {
            let what = format!("service.{}: no way to {backend}: {error}", service.name);
            report.put("backends", Level::Fail, what, format!("ip route get {backend}"));
            return;
        }
    };
    let interfaces = service.interfaces.iter();
    let mtus = interfaces.filter_map(|name| Interface::named(name.as_str()).ok()?.mtu().ok());
    let mtu = mtus.min().unwrap_or(mtu_of_way);
    let overhead = match service.mode {
        ServiceMode::Dsr => overhead(service.encap(), backend.is_ipv4()),
        ServiceMode::Nat | ServiceMode::Terminate => 0,
    };
    let (level, what, advice) = judge_room(mtu, mtu_of_way, overhead);
    let what = format!("service.{}: to {backend} from {from}: {what}", service.name);
    report.put("backends", level, what, advice);
}

/// What the encapsulation adds to each packet.
fn overhead(encap: Encap, is_v4: bool) -> u32 {
    let header = if is_v4 { 20 } else { 40 };
    header
        + match encap {
            Encap::Gre => 4,
            Encap::Ipip => 0,
            Encap::Gue => 12,
        }
}

/// The datapath goes by the interface's MTU: a way that takes less loses what fits it no more.
fn judge_room(mtu: u32, mtu_of_way: u32, overhead: u32) -> (Level, String, &'static str) {
    let room = mtu.min(mtu_of_way).saturating_sub(overhead);
    if mtu_of_way < mtu {
        let what = format!("the way takes packets of {mtu_of_way}, the interface of {mtu}");
        let advice = "large packets are lost there: raise the one, or lower the other";
        return (Level::Fail, what, advice);
    }
    if room < 1_280 {
        let what = format!("clients' packets of up to {room} fit");
        return (Level::Fail, what, "IPv6 needs 1280 (RFC 8200 §5): raise the interface's MTU");
    }
    (Level::Ok, format!("clients' packets of up to {room} fit, the MSS is lowered to it"), "")
}

/// Asks on each VIP of `dsr` through the encapsulation, as checks do.
fn look_through(config: &Config, report: &mut Report) {
    if let Some(obstacle) = Detour::obstacle() {
        let what = format!("whether backends answer on the VIPs: {obstacle}");
        report.put("through", Level::Unknown, what, "look as root");
        return;
    }
    match reach(config, &mut MachineDatapaths) {
        Ok(all) => all.into_iter().for_each(|one| tell(one, report)),
        Err(error) => report.put("through", Level::Fail, error.to_string(), ""),
    }
}

fn tell(reached: Reached, report: &mut Report) {
    let Reached { service, backend, name, outcome } = reached;
    let what = format!("service.{service}: {backend} on {name}");
    match outcome {
        Ok(()) => report.ok("through", what + " answers"),
        Err(why) => {
            let advice = "on the backend: `penstock doctor --backend VIP:PORT` says what it lacks";
            report.put("through", Level::Fail, format!("{what}: {why}"), advice);
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_config::Encap;

    use super::{Level, judge_room, judge_vip, overhead};

    #[test]
    fn what_the_encapsulation_adds_has_to_fit() {
        assert_eq!(overhead(Encap::Gre, true), 24);
        assert_eq!(overhead(Encap::Ipip, false), 40);
        assert_eq!(overhead(Encap::Gue, false), 52);
        for (mtu, way, added, level, part) in [
            (1_500, 1_500, 24, Level::Ok, "up to 1476 fit"),
            (1_500, 65_535, 0, Level::Ok, "up to 1500 fit"),
            (9_000, 1_500, 24, Level::Fail, "the way takes packets of 1500"),
            (1_300, 1_300, 24, Level::Fail, "up to 1276 fit"),
        ] {
            let (found, what, _) = judge_room(mtu, way, added);
            assert!(found == level && what.contains(part), "{mtu} {way}: {what}");
        }
    }

    #[test]
    fn a_vip_on_the_appliance_is_worth_a_look() {
        assert_eq!(judge_vip(None).0, Level::Ok);
        assert_eq!(judge_vip(Some("lo")).0, Level::Warn);
    }
}
