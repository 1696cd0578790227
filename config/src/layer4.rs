//! `[runtime.layer4]`: what all services share whose packets are passed on.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::grammar::reader::TableReader;
use crate::grammar::section::{choice, section};
use crate::grammar::setting::ListOf;
use crate::values::address::Cidr;
use crate::values::link::{InstanceName, PortRange};
use crate::values::vip::VipAddress;

choice! {
    /// What forwards packets of services in `nat` and `dsr`.
    pub enum DatapathChoice("datapath") {
        /// The best that works here.
        Auto = "auto",
        /// The XDP program in the interface's driver, or none.
        Xdp = "xdp",
        /// Threads of ours over a TUN device, which VIPs are routed into.
        Tun = "tun",
    }
}

section! {
    /// What services share that pass packets on.
    pub struct Layer4("layer4", check = check_layer4) = default {
        /// A folder on a BPF file system, where the XDP program and its maps outlive the process.
        pins: PathBuf = PathBuf::from("/sys/fs/bpf/penstock");
        /// Tells apart the appliances of one machine.
        instance: InstanceName = InstanceName::main();
        /// Flows that are remembered, about 450 bytes of kernel memory each. Over it, the one that
        /// was silent for longest is forgotten, and goes on to where the table sends it.
        flows_max as "flows": u32 = 262_144, in 1_024..=16_777_216;
        /// The addresses that backends of `nat` see clients as: one of each family at most. Unless
        /// set, the first ones of the service's interface.
        nat: Vec<VipAddress> = Vec::new(), in ADDRESSES;
        /// The ports there, for flows to each backend. The kernel must not give them to others:
        /// keep them out of net.ipv4.ip_local_port_range.
        nat_ports: PortRange = PortRange::new(10_240, 32_767);
        /// The addresses that packets to backends of `dsr` are from: one of each family at most.
        /// Unless set, the first ones of the service's interface.
        tunnel: Vec<VipAddress> = Vec::new(), in ADDRESSES;
        /// What is done with sources, by the longest prefix that one is in.
        sources: Vec<SourceRule> = Vec::new(), in SOURCES;
    }
}

section! {
    /// What is done with the packets of a network.
    #[derive(Eq)]
    pub struct SourceRule("source", check = check_source) {
        /// The network, or a list of them.
        from: Vec<Cidr>, in FROM;
        /// What is done.
        action: SourceAction;
        /// With "limit": packets to VIPs that each address of it, in IPv6 each /64, may send in a
        /// second.
        rate: Option<u32> = None, in 1..=100_000_000;
        /// With "limit": packets that it may send at once; as many as in a second unless set.
        burst: Option<u32> = None, in 1..=1_048_576;
    }
}

choice! {
    /// What is done with a source's packets.
    pub enum SourceAction("source-action") {
        /// They are taken: an exception from a wider network's rule.
        Allow = "allow",
        /// They are dropped, whatever they are for, on every interface that packets are passed on
        /// from.
        Deny = "deny",
        /// They are taken as fast as `rate` and `burst` say.
        Limit = "limit",
    }
}

fn check_layer4(layer4: &Layer4, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    for (key, addresses) in [("nat", &layer4.nat), ("tunnel", &layer4.tunnel)] {
        let ips = addresses.iter().map(|address| address.ip());
        if ips.clone().any(|ip| ip.is_unspecified() || ip.is_loopback()) {
            return table.contradict(key, "not an address that another machine could answer to");
        }
        if ips.filter(IpAddr::is_ipv4).count() > 1
            || addresses.iter().filter(|address| address.ip().is_ipv6()).count() > 1
        {
            return table.contradict(key, "one address of each family at most");
        }
    }
    if !layer4.pins.is_absolute() {
        return table.contradict("pins", "not an absolute path");
    }
    let networks = layer4.sources.iter().flat_map(|rule| &rule.from);
    let mut networks: Vec<String> = networks.map(Cidr::to_string).collect();
    if networks.len() > NETWORKS_MAX {
        let problem = format!("{} networks, at most {NETWORKS_MAX}", networks.len());
        return table.contradict("sources", &problem);
    }
    networks.sort();
    if let Some(pair) = networks.windows(2).find(|pair| pair[0] == pair[1]) {
        return table.contradict("sources", &format!("{} is listed twice", pair[0]));
    }
    Some(())
}

fn check_source(rule: &SourceRule, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let limits = rule.action == SourceAction::Limit;
    if limits && rule.rate.is_none() {
        return table.missing("rate", "a limit needs a rate");
    }
    if !limits && rule.rate.is_some() {
        return table.contradict("rate", "goes with action \"limit\" alone");
    }
    if !limits && rule.burst.is_some() {
        return table.contradict("burst", "goes with action \"limit\" alone");
    }
    Some(())
}

const ADDRESSES: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 2, bare: true };
const SOURCES: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 1_000, bare: false };
const FROM: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 10_000, bare: true };
/// What the map of rules holds.
const NETWORKS_MAX: usize = 16_384;
