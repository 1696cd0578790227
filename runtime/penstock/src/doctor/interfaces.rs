//! The interfaces of services: whether they are there and up, and what their drivers can do.

use std::fs::{self, OpenOptions};

use penstock_config::{Config, DatapathChoice, ServiceMode};
use penstock_xdp::{Interface, XdpError};

use super::report::{Level, Report};

pub(crate) fn look(config: &Config, report: &mut Report) {
    let passing = config.services.iter().filter(|one| one.mode != ServiceMode::Terminate);
    let names = passing.flat_map(|service| service.interfaces.iter().map(ToString::to_string));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    for name in &names {
        if let Err(error) = look_at(name, config.runtime.datapath, report) {
            let advice = "`ip link` lists those that are; `interface` of the service names it";
            report.put("interfaces", Level::Fail, error.to_string(), advice);
        }
    }
    look_at_parameters(&names, config.runtime.datapath, report);
}

fn look_at(name: &str, choice: DatapathChoice, report: &mut Report) -> Result<(), XdpError> {
    let interface = Interface::named(name)?;
    let (mtu, addresses) = (interface.mtu()?, interface.addresses()?);
    let what = format!("{name}, MTU {mtu}, {} addresses", addresses.len());
    match interface.is_up()? {
        true => report.ok("interfaces", what),
        false => {
            let advice = format!("ip link set {name} up");
            report.put("interfaces", Level::Fail, format!("{what}: it is down"), advice);
        }
    }
    if choice != DatapathChoice::Tun {
        let (level, what, advice) = judge_driver(interface.has_native_xdp()?, choice);
        report.put("xdp", level, format!("{name}: {what}"), advice);
    }
    Ok(())
}

fn judge_driver(
    native: Option<bool>,
    choice: DatapathChoice,
) -> (Level, &'static str, &'static str) {
    match (native, choice) {
        (Some(true), _) => (Level::Ok, "its driver runs XDP programs", ""),
        (Some(false), DatapathChoice::Xdp) => (
            Level::Fail,
            "its driver runs no XDP programs as it is set now",
            "set runtime.datapath = \"auto\"; some drivers want a smaller MTU or LRO off",
        ),
        (Some(false), _) => (
            Level::Warn,
            "its driver runs no XDP programs as it is set now: TUN takes its place",
            "some drivers want a smaller MTU, or LRO off (`ethtool -K INTERFACE lro off`)",
        ),
        (None, _) => (
            Level::Unknown,
            "the kernel does not say whether its driver runs XDP programs",
            "Linux 6.3 or newer does; a start tries",
        ),
    }
}

/// System parameters that packets out of a TUN device meet.
fn look_at_parameters(names: &[String], choice: DatapathChoice, report: &mut Report) {
    if names.is_empty() {
        return;
    }
    let all = value("ipv4", "all", "rp_filter");
    let (level, what, advice) = judge_filter(all.as_deref(), choice);
    report.put("parameters", level, what, advice);
    if choice == DatapathChoice::Xdp {
        return;
    }
    for name in names {
        let path = path("ipv4", name, "forwarding");
        let may_set = OpenOptions::new().write(true).open(&path).is_ok();
        let value = value("ipv4", name, "forwarding");
        let (level, what) = judge_forwarding(name, value.as_deref(), may_set, choice);
        let advice = match level {
            Level::Ok => String::new(),
            _ => format!("sysctl -w net.ipv4.conf.{name}.forwarding=1"),
        };
        report.put("parameters", level, what, advice);
    }
}

fn judge_filter(all: Option<&str>, choice: DatapathChoice) -> (Level, &'static str, &'static str) {
    match (all, choice) {
        (Some("1"), DatapathChoice::Xdp) => (
            Level::Warn,
            "net.ipv4.conf.all.rp_filter is 1: answers that come by another way are dropped",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        (Some("1"), _) => (
            Level::Fail,
            "net.ipv4.conf.all.rp_filter is 1: TUN can't be the datapath",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        (Some(_), _) => (Level::Ok, "net.ipv4.conf.all.rp_filter lets packets in", ""),
        (None, _) => (Level::Unknown, "net.ipv4.conf.all.rp_filter can't be read", "mount /proc"),
    }
}

fn judge_forwarding(
    name: &str,
    value: Option<&str>,
    may_set: bool,
    choice: DatapathChoice,
) -> (Level, String) {
    let key = format!("net.ipv4.conf.{name}.forwarding");
    match (value, may_set) {
        (Some("1"), _) => (Level::Ok, format!("{key} is 1")),
        (Some(_), true) => (Level::Ok, format!("{key} is set to 1 where TUN is the datapath")),
        (Some(_), false) => {
            let level = if choice == DatapathChoice::Tun { Level::Fail } else { Level::Warn };
            (level, format!("{key} is 0 and can't be set from here: TUN needs it"))
        }
        (None, _) => (Level::Unknown, format!("{key} can't be read")),
    }
}

/// A parameter of an interface, or of `all`.
pub(crate) fn value(family: &str, interface: &str, what: &str) -> Option<String> {
    let text = fs::read_to_string(path(family, interface, what)).ok()?;
    Some(text.trim().to_owned())
}

fn path(family: &str, interface: &str, what: &str) -> String {
    format!("/proc/sys/net/{family}/conf/{interface}/{what}")
}

#[cfg(test)]
mod tests {
    use penstock_config::DatapathChoice::{Auto, Tun, Xdp};

    use super::{Level, judge_driver, judge_filter, judge_forwarding};

    #[test]
    fn a_driver_without_xdp_is_bad_where_nothing_takes_its_place() {
        for (native, choice, level) in [
            (Some(true), Xdp, Level::Ok),
            (Some(false), Xdp, Level::Fail),
            (Some(false), Auto, Level::Warn),
            (None, Auto, Level::Unknown),
        ] {
            assert_eq!(judge_driver(native, choice).0, level, "{native:?} {choice:?}");
        }
    }

    #[test]
    fn a_strict_filter_is_in_the_way_of_tun() {
        for (all, choice, level) in [
            (Some("0"), Tun, Level::Ok),
            (Some("2"), Auto, Level::Ok),
            (Some("1"), Auto, Level::Fail),
            (Some("1"), Xdp, Level::Warn),
            (None, Tun, Level::Unknown),
        ] {
            assert_eq!(judge_filter(all, choice).0, level, "{all:?} {choice:?}");
        }
    }

    #[test]
    fn forwarding_has_to_be_on_or_be_ours_to_switch_on() {
        for (value, may_set, choice, level) in [
            (Some("1"), false, Tun, Level::Ok),
            (Some("0"), true, Tun, Level::Ok),
            (Some("0"), false, Tun, Level::Fail),
            (Some("0"), false, Auto, Level::Warn),
            (None, true, Tun, Level::Unknown),
        ] {
            let found = judge_forwarding("eth0", value, may_set, choice).0;
            assert_eq!(found, level, "{value:?} {may_set} {choice:?}");
        }
    }
}
