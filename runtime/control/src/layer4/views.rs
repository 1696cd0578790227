//! Services whose packets are passed on, as they are shown.

use std::collections::BTreeMap;

use penstock_balance::FleetSeed;
use penstock_l4::value::{Counters, VipKey};
use penstock_l4::{Cause, Subject, Tenure};
use penstock_telemetry::metrics::Scrape;
use serde::Serialize;

use super::plan::{BackendKey, PlannedMaglev, TCP, ip_of, socket_address};
use super::running::Running;

/// What a service has that passes packets on.
#[derive(Clone, Debug, Serialize)]
pub struct PacketsView {
    /// What forwards them: `xdp` or `tun`.
    pub datapath: &'static str,
    /// Equal on appliances that send each flow to the same backend.
    pub table: String,
    /// Its VIPs.
    pub vips: Vec<VipView>,
    /// Who its packets go to.
    pub backends: Vec<BackendView>,
    /// Flows were counted up to a limit: there are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flows_partial: bool,
}

/// One VIP.
#[derive(Clone, Debug, Serialize)]
pub struct VipView {
    /// Its address and port.
    pub address: String,
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// Packets to backends.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets back to clients, in `nat`.
    pub return_packets: u64,
    /// Their bytes.
    pub return_bytes: u64,
    /// Packets that were not sent on, by cause.
    pub causes: Vec<(&'static str, u64)>,
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
pub struct BackendView {
    /// Its address, in `nat` with its port.
    pub address: String,
    /// Its share beside the others'.
    pub weight: u16,
    /// `up`; `draining`, or `down` as checks find it: then it gets no new flows.
    pub state: &'static str,
    /// What checks say: `up` or `down`. Where none is up, all of them are sent flows.
    pub health: &'static str,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Flows to it, of all services; not counted in `/v1/status`.
    pub flows: Option<u64>,
    /// Packets to it, of all services.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets from it back to clients, in `nat`.
    pub return_packets: u64,
    /// Their bytes.
    pub return_bytes: u64,
}

/// Flows by the index of their backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowCounts {
    by_backend: BTreeMap<u32, u64>,
    partial: bool,
}

/// Entries that are looked at for one answer: about a tenth of a second.
pub(crate) const ENTRIES_MAX: usize = 65_536;

impl Running {
    /// Counts flows, up to a limit.
    pub(crate) fn count_flows(&self) -> FlowCounts {
        let mut counts = FlowCounts::default();
        let mut seen = 0;
        for tenure in [Tenure::Proven, Tenure::New] {
            for (key, flow) in self.datapath.flows(tenure) {
                seen += 1;
                if seen > ENTRIES_MAX {
                    counts.partial = true;
                    return counts;
                }
                if self.is_alive(&key, &flow) && flow.role != penstock_l4::value::role::RETURN {
                    *counts.by_backend.entry(flow.backend).or_default() += 1;
                }
            }
        }
        counts
    }

    /// The table of all services.
    pub(crate) fn checksum(&self, seed: &FleetSeed) -> String {
        self.plan.checksum(None, seed)
    }

    /// A service by name.
    pub(crate) fn packets_view(
        &self,
        service: &str,
        seed: &FleetSeed,
        flows: Option<&FlowCounts>,
    ) -> PacketsView {
        let mine = self.plan.vips.iter().filter(|vip| vip.service == service);
        let mut maglevs: Vec<usize> = mine.clone().map(|vip| vip.maglev).collect();
        maglevs.sort();
        maglevs.dedup();
        let maglevs: Vec<&PlannedMaglev> =
            maglevs.iter().map(|maglev| &self.plan.maglevs[*maglev]).collect();
        let mut weights: BTreeMap<BackendKey, u16> = BTreeMap::new();
        for backend in maglevs.iter().flat_map(|maglev| &maglev.backends) {
            weights.insert(backend.at, backend.weight);
        }
        // Who drains was of some service: it is shown with every one, for what it still has.
        let drains = self.assignment.backends.iter().filter(|(_, one)| one.drains);
        let all = weights.keys().chain(drains.map(|(key, _)| key)).copied();
        let mut all: Vec<BackendKey> = all.collect();
        all.sort();
        all.dedup();
        PacketsView {
            datapath: self.datapath.name(),
            table: self.plan.checksum(Some(service), seed),
            vips: mine.map(|vip| self.vip_view(&vip.key)).collect(),
            backends: all.iter().map(|key| self.backend_view(key, &weights, flows)).collect(),
            flows_partial: flows.is_some_and(|flows| flows.partial),
        }
    }

    fn vip_view(&self, key: &VipKey) -> VipView {
        let number = self.assignment.vips.get(key).copied().unwrap_or(0);
        let counters = self.counters(Subject::Vip(number)).unwrap_or(NONE);
        VipView {
            address: vip_text(key),
            transport: transport_of(key),
            packets: counters.packets,
            bytes: counters.bytes,
            return_packets: counters.return_packets,
            return_bytes: counters.return_bytes,
            causes: causes_of(&counters).collect(),
        }
    }

    fn backend_view(
        &self,
        key: &BackendKey,
        weights: &BTreeMap<BackendKey, u16>,
        flows: Option<&FlowCounts>,
    ) -> BackendView {
        let assigned = self.assignment.backends.get(key);
        let counters = assigned.and_then(|one| self.counters(Subject::Backend(one.index)));
        let counters = counters.unwrap_or(NONE);
        let flows_of = |index| flows.map(|all| all.by_backend.get(&index).copied().unwrap_or(0));
        BackendView {
            address: backend_text(*key),
            weight: weights.get(key).copied().unwrap_or(0),
            state: match assigned {
                Some(one) if !one.drains => "up",
                Some(one) if one.failed => "down",
                _ => "draining",
            },
            health: "up",
            reason: None,
            flows: assigned.and_then(|one| flows_of(one.index)),
            packets: counters.packets,
            bytes: counters.bytes,
            return_packets: counters.return_packets,
            return_bytes: counters.return_bytes,
        }
    }

    /// The datapath's part of `/metrics`.
    pub(crate) fn scrape(&self, seed: &FleetSeed, scrape: &mut Scrape) {
        let table = self.checksum(seed);
        let labels = [("datapath", self.datapath.name()), ("table", table.as_str())];
        scrape.gauge("penstock_datapath_info", "What forwards packets.", &labels, 1.0);
        self.fullness.scrape(scrape);
        for vip in &self.plan.vips {
            let view = self.vip_view(&vip.key);
            let labels = [
                ("service", vip.service.as_str()),
                ("vip", view.address.as_str()),
                ("transport", view.transport),
            ];
            for (name, help, count) in [
                ("penstock_vip_packets_total", "Packets to backends.", view.packets),
                ("penstock_vip_bytes_total", "Bytes to backends.", view.bytes),
                ("penstock_vip_return_packets_total", "Packets to clients.", view.return_packets),
                ("penstock_vip_return_bytes_total", "Bytes to clients.", view.return_bytes),
            ] {
                scrape.counter(name, help, &labels, count);
            }
            for (cause, count) in view.causes {
                let labels = [labels[0], labels[1], labels[2], ("cause", cause)];
                scrape.counter(NOT_SENT, NOT_SENT_HELP, &labels, count);
            }
        }
        // What belongs to no VIP.
        let others = self.counters(Subject::Vip(0)).unwrap_or(NONE);
        for (cause, count) in causes_of(&others) {
            let labels = [("service", ""), ("vip", ""), ("transport", ""), ("cause", cause)];
            scrape.counter(NOT_SENT, NOT_SENT_HELP, &labels, count);
        }
        for key in self.assignment.backends.keys() {
            let view = self.backend_view(key, &BTreeMap::new(), None);
            let labels = [("backend", view.address.as_str())];
            for (name, help, count) in [
                ("penstock_backend_packets_total", "Packets to it.", view.packets),
                ("penstock_backend_bytes_total", "Bytes to it.", view.bytes),
                ("penstock_backend_return_packets_total", "From it.", view.return_packets),
                ("penstock_backend_return_bytes_total", "Bytes from it.", view.return_bytes),
            ] {
                scrape.counter(name, help, &labels, count);
            }
            let draining = f64::from(u8::from(view.state != "up"));
            let help = "1 while it gets no new flows.";
            scrape.gauge("penstock_backend_draining", help, &labels, draining);
        }
    }
}

const NOT_SENT: &str = "penstock_vip_not_sent_packets_total";
const NOT_SENT_HELP: &str = "Packets passed to the kernel, dropped or answered, by cause.";

/// Causes that have a count.
fn causes_of(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    let all = Cause::ALL.iter().zip(counters.causes);
    all.filter(|(_, count)| *count > 0).map(|(cause, count)| (cause.name(), count))
}

pub(crate) fn vip_text(key: &VipKey) -> String {
    std::net::SocketAddr::new(ip_of(key.address), u16::from_be(key.port)).to_string()
}

pub(crate) fn backend_text(key: BackendKey) -> String {
    let address = socket_address(key);
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn transport_of(key: &VipKey) -> &'static str {
    if key.protocol == TCP { "tcp" } else { "udp" }
}

const NONE: Counters = Counters {
    packets: 0,
    bytes: 0,
    return_packets: 0,
    return_bytes: 0,
    causes: [0; penstock_l4::CAUSE_COUNT],
};
