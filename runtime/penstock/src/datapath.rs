//! The datapaths of `penstock-xdp`, as the control thread sees them.

use std::borrow::BorrowMut;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use penstock_config::{BlockName, DatapathChoice, FindingKind, Flaw, InterfaceName};
use penstock_control::{
    Change, Datapath, DatapathError, DatapathOptions, Datapaths, Detour, Guide, InterfaceFacts,
    Tables, entries_max,
};
use penstock_l4::value::{Address, Counters, Flow, FlowKey, Link};
use penstock_l4::{CheckWay, Kept, Subject, Tenure, Tick};
use penstock_xdp as xdp;

/// Starts datapaths of this machine.
pub(crate) struct MachineDatapaths;

/// A datapath of ours, or one that is lent; a way for checks, or who leads there.
struct Adapter<D>(D);

impl Datapaths for MachineDatapaths {
    fn interface(&self, name: &str) -> Result<InterfaceFacts, DatapathError> {
        let interface = xdp::Interface::named(name).map_err(told)?;
        Ok(InterfaceFacts {
            name: name.to_owned(),
            index: interface.index(),
            mtu: interface.mtu().map_err(told)?,
            addresses: interface.addresses().map_err(told)?,
        })
    }

    fn lanes(&self) -> u32 {
        xdp::lanes()
    }

    fn seek(&self, addresses: &[Address], interfaces: &[String]) {
        xdp::seek_ways(addresses, &present(interfaces));
    }

    fn start(
        &mut self,
        options: &DatapathOptions,
        interfaces: &[String],
        fill: &mut dyn FnMut(&mut dyn Tables) -> Result<(), DatapathError>,
    ) -> Result<Box<dyn Datapath>, DatapathError> {
        let choice = match options.choice {
            DatapathChoice::Auto => xdp::Choice::Auto,
            DatapathChoice::Xdp => xdp::Choice::Xdp,
            DatapathChoice::Tun => xdp::Choice::Tun,
        };
        let on = named(interfaces)?;
        let mut lend = |datapath: &mut xdp::Datapath| fill(&mut Adapter(datapath)).map_err(Refused);
        let started = xdp::Datapath::start(choice, &options_of(options), &on, &mut lend);
        let datapath = started.map_err(|Refused(error)| error)?;
        if let Some(reason) = datapath.fallback_reason() {
            tracing::warn!("packets are passed on by TUN in place of XDP: {reason}");
        }
        let flows = match datapath.found() {
            xdp::Start::Fresh => "none yet",
            xdp::Start::Adopted => "those of before go on",
            xdp::Start::Replaced => "placed anew: the tables have other sizes than before",
        };
        let (name, on) = (datapath.name(), interfaces.join(" "));
        tracing::info!(datapath = name, interfaces = on, flows, "packets are passed on");
        Ok(Box::new(Adapter(datapath)))
    }

    fn detour(&mut self, instance: &str) -> Result<Box<dyn Detour>, DatapathError> {
        let detour = xdp::Detour::open(instance).map_err(told)?;
        Ok(Box::new(Adapter(detour)))
    }
}

impl Detour for Adapter<xdp::Detour> {
    fn follow(&mut self, interfaces: &[String]) {
        self.0.follow(interfaces);
    }

    fn guide(&self) -> Arc<dyn Guide> {
        Arc::new(Adapter(self.0.guide()))
    }
}

impl Guide for Adapter<xdp::Guide> {
    fn lead(
        &self,
        socket: BorrowedFd<'_>,
        from: SocketAddr,
        way: &CheckWay,
    ) -> Result<Box<dyn Send>, DatapathError> {
        Ok(Box::new(self.0.lead(&socket, from, way).map_err(told)?))
    }
}

/// Why a datapath did not start, in the control side's terms.
struct Refused(DatapathError);

impl From<xdp::XdpError> for Refused {
    fn from(error: xdp::XdpError) -> Refused {
        Refused(told(error))
    }
}

fn options_of(options: &DatapathOptions) -> xdp::Options {
    let flows_max = options.flows_max;
    let sizes = xdp::Sizes {
        new_flows_max: entries_max(flows_max, Tenure::New),
        proven_flows_max: entries_max(flows_max, Tenure::Proven),
        ..xdp::Sizes::default()
    };
    let (root, instance) = (options.pins.clone(), options.instance.clone());
    // A lane for each processor, where there are lanes.
    xdp::Options { root, instance, sizes, processors: Vec::new() }
}

impl<D: BorrowMut<xdp::Datapath>> Tables for Adapter<D> {
    fn kept(&self) -> Result<Kept, DatapathError> {
        self.0.borrow().kept().map_err(told)
    }

    fn write(&mut self, change: &Change) -> Result<(), DatapathError> {
        let tables = self.0.borrow_mut().fill();
        let done = match change {
            Change::Settings(settings) => tables.set_settings(settings),
            Change::Service(key, number) => tables.set_service(key, *number),
            Change::Vip(number, vip) => tables.set_vip(*number, vip),
            Change::Maglev(maglev, slots) => tables.set_maglev(*maglev, slots),
            Change::Backend(index, backend) => tables.set_backend(*index, Some(backend)),
            Change::Source(address, bits, rule) => tables.set_source(address, *bits, rule.as_ref()),
        };
        done.map_err(told)
    }

    fn counters(&self, subject: Subject) -> Option<Counters> {
        // Asked for by those who look: a kernel that does not say shows as no counts.
        self.0.borrow().counters(subject).ok().flatten()
    }

    fn ways(&self, addresses: &[Address], interfaces: &[String]) -> Vec<Link> {
        self.0.borrow().ways(addresses, &present(interfaces))
    }
}

impl Datapath for Adapter<xdp::Datapath> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn flows(&self, tenure: Tenure) -> Box<dyn Iterator<Item = (FlowKey, Flow)> + '_> {
        self.0.flows(tenure)
    }

    fn now(&self) -> Tick {
        xdp::now()
    }

    fn attach(&mut self, interfaces: &[String]) -> Result<(), DatapathError> {
        self.0.attach(&named(interfaces)?).map_err(told)
    }

    fn release_others(&mut self, interfaces: &[String]) -> Result<(), DatapathError> {
        self.0.release_others(&present(interfaces)).map_err(told)
    }

    fn end(self: Box<Self>) -> Result<(), DatapathError> {
        self.0.end().map_err(told)
    }
}

fn named(interfaces: &[String]) -> Result<Vec<xdp::Interface>, DatapathError> {
    interfaces.iter().map(|name| xdp::Interface::named(name).map_err(told)).collect()
}

/// Those that are there: one that has gone by itself leads nowhere, and needs no release.
fn present(interfaces: &[String]) -> Vec<xdp::Interface> {
    interfaces.iter().filter_map(|name| xdp::Interface::named(name).ok()).collect()
}

fn told(error: xdp::XdpError) -> DatapathError {
    DatapathError(error.to_string())
}

/// What stands in the way of the services of this config on this machine; nothing where there are
/// none, or all is well as far as that can be told without attaching anything.
pub(crate) fn obstacles(config: &penstock_config::Config) -> Vec<String> {
    use penstock_config::ServiceMode::Terminate;
    let services: Vec<_> = config.services.iter().filter(|one| one.mode != Terminate).collect();
    let mut found = transparent_obstacles(config);
    if services.is_empty() {
        return found;
    }
    let (choice, pins) = (config.runtime.datapath, &config.runtime.layer4.pins);
    let obstacle = xdp::obstacle(pins).map(|error| error.to_string());
    found.extend(match choice {
        DatapathChoice::Tun => None,
        DatapathChoice::Xdp => obstacle,
        DatapathChoice::Auto => obstacle.map(|error| format!("{error}; TUN takes its place")),
    });
    if services.iter().any(|service| penstock_control::is_checked(service, config)) {
        found.extend(xdp::Detour::obstacle().map(|error| error.to_string()));
    }
    found
}

/// Interfaces that services name and this machine has not.
pub(crate) fn absent_interfaces(config: &penstock_config::Config) -> Vec<Flaw> {
    let all = config.services.iter().flat_map(|service| {
        service.interfaces.iter().map(move |interface| (&service.name, interface))
    });
    let flaw = |(service, interface): (&BlockName, &InterfaceName)| {
        let error = xdp::Interface::named(interface.as_str()).err()?;
        Some(Flaw {
            kind: FindingKind::Reference,
            keys: vec!["service".to_owned(), service.to_string(), "interface".to_owned()],
            problem: error.to_string(),
        })
    };
    all.filter_map(flaw).collect()
}

/// The same of services that take other addresses than ours.
fn transparent_obstacles(config: &penstock_config::Config) -> Vec<String> {
    let missing = xdp::Capability::NetAdmin;
    // Either is enough to the kernel.
    let enough = [missing, xdp::Capability::NetRaw];
    if enough.iter().any(|one| one.held() != Some(false)) {
        return Vec::new();
    }
    let services = config.services.iter().filter(|one| one.transparent);
    let obstacle = |name: &str| format!("service.{name}.transparent: {missing} is missing");
    services.map(|one| obstacle(&one.name)).collect()
}
