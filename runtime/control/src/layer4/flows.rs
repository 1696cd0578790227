//! Flows that are under way, the largest first.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use penstock_l4::value::{Flow, FlowKey, role};
use penstock_l4::{Tenure, seen};
use serde::Serialize;

use super::plan::{TCP, UDP, ip_of};
use super::running::Running;
use super::views::{ENTRIES_MAX, backend_text};

/// The largest flows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FlowsView {
    /// By bytes, the largest first.
    pub flows: Vec<FlowView>,
    /// How many there are, those that are not listed included.
    pub count: u64,
    /// Not all were looked at: there are more.
    pub partial: bool,
}

/// One flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowView {
    /// Who began it.
    pub client: String,
    /// What was sent to.
    pub vip: String,
    /// `tcp`, `udp` or `icmp`.
    pub transport: &'static str,
    /// The service, while it is served.
    pub service: Option<String>,
    /// Where it goes.
    pub backend: Option<String>,
    /// Of TCP `opening`, `established`, `closing` or `closed`; else `new` or `proven`.
    pub state: &'static str,
    /// Since its last packet.
    pub idle_seconds: f64,
    /// Bytes from the client, as frames came in.
    pub bytes: u64,
    /// Bytes back to it, in `nat`.
    pub return_bytes: u64,
}

/// A flow in the client's terms: client, VIP, protocol.
type Name = (SocketAddr, SocketAddr, u8);

impl Running {
    /// The `limit` largest flows, of one client or of all.
    pub(crate) fn flows_view(&self, client: Option<IpAddr>, limit: usize) -> FlowsView {
        let (mut flows, mut back) = (BTreeMap::new(), BTreeMap::new());
        let (mut partial, mut looked_at) = (false, 0);
        for tenure in [Tenure::Proven, Tenure::New] {
            for (key, flow) in self.datapath.flows(tenure) {
                looked_at += 1;
                if looked_at > ENTRIES_MAX {
                    partial = true;
                    break;
                }
                let name = name_of(&key, &flow);
                let is_asked_for = client.is_none_or(|client| name.0.ip() == client);
                if !is_asked_for || !self.is_alive(&key, &flow) {
                    continue;
                }
                if flow.role == role::RETURN {
                    back.insert(name, flow.bytes);
                } else {
                    flows.insert(name, flow);
                }
            }
        }
        let count = flows.len() as u64;
        let returned = |name: &Name| back.get(name).copied().unwrap_or(0);
        let mut flows: Vec<(Name, Flow)> = flows.into_iter().collect();
        // Only those that are listed are worth a line of text each.
        flows.sort_by_key(|(name, flow)| std::cmp::Reverse(flow.bytes + returned(name)));
        flows.truncate(limit);
        let views = flows.iter().map(|(name, flow)| self.flow_view(name, flow, returned(name)));
        FlowsView { flows: views.collect(), count, partial }
    }

    fn flow_view(&self, name: &Name, flow: &Flow, return_bytes: u64) -> FlowView {
        let (client, vip, protocol) = *name;
        let served = self.assignment.vips.iter().find(|(_, number)| **number == flow.vip);
        let planned = served.and_then(|(key, _)| self.plan.vips.iter().find(|vip| vip.key == *key));
        let backend = self.assignment.backends.iter().find(|(_, one)| one.index == flow.backend);
        FlowView {
            client: client.to_string(),
            vip: vip.to_string(),
            transport: match protocol {
                TCP => "tcp",
                UDP => "udp",
                _ => "icmp",
            },
            service: planned.map(|vip| vip.service.clone()),
            backend: backend.map(|(key, _)| backend_text(*key)),
            state: state_of(protocol, flow.state),
            idle_seconds: f64::from(self.datapath.now().since(flow.seen)) * TICK_SECONDS,
            bytes: flow.bytes,
            return_bytes,
        }
    }

    /// Whether the entry still holds: the rules are those of `penstock-l4`.
    pub(crate) fn is_alive(&self, key: &FlowKey, flow: &Flow) -> bool {
        let Some(vip) = self.assignment.vip(flow.vip) else { return false };
        let timeouts = &vip.timeouts;
        let longest = match (key.protocol == TCP, state_of(key.protocol, flow.state)) {
            (false, _) => timeouts.datagram,
            (true, "opening") => timeouts.opening,
            (true, "established") => timeouts.established,
            (true, "closing") => timeouts.closing,
            (true, _) => timeouts.closed,
        };
        vip.generation == flow.vip_generation && self.datapath.now().since(flow.seen) <= longest
    }
}

/// The client and the VIP of an entry, whichever direction it is of.
fn name_of(key: &FlowKey, flow: &Flow) -> Name {
    let socket = |address, port: u16| SocketAddr::new(ip_of(address), u16::from_be(port));
    match flow.role {
        role::RETURN => (
            socket(flow.destination, flow.destination_port),
            socket(flow.source, flow.source_port),
            key.protocol,
        ),
        _ => (
            socket(key.source, key.source_port),
            socket(key.destination, key.destination_port),
            key.protocol,
        ),
    }
}

fn state_of(protocol: u8, bits: u8) -> &'static str {
    let fins = bits & (seen::FIN_CLIENT | seen::FIN_BACKEND);
    let both = seen::FIN_CLIENT | seen::FIN_BACKEND;
    match (protocol == TCP, bits & seen::PROVEN != 0) {
        (false, false) => "new",
        (false, true) => "proven",
        _ if bits & seen::RESET != 0 || fins == both => "closed",
        _ if fins != 0 => "closing",
        (true, false) => "opening",
        (true, true) => "established",
    }
}

/// 2^20 ns.
const TICK_SECONDS: f64 = (1_u64 << 20) as f64 / 1e9;
