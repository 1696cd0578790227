//! `--backend`: a machine that answers clients of a `dsr` VIP directly, and what it needs for that.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use penstock_xdp::Interface;

use super::interfaces::value;
use super::report::{Level, Report};

/// A VIP, with a port where its server is to be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendVip {
    ip: IpAddr,
    port: Option<u16>,
}

impl std::str::FromStr for BackendVip {
    type Err = String;

    fn from_str(text: &str) -> Result<BackendVip, String> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(BackendVip { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| "an address, or one with a port")?;
        Ok(BackendVip { ip: address.ip(), port: Some(address.port()) })
    }
}

pub(crate) fn look(vip: BackendVip, report: &mut Report) {
    let ip = vip.ip;
    let addresses = penstock_xdp::addresses().unwrap_or_default();
    let on = addresses.iter().find(|(_, one)| *one == ip).map(|(name, _)| name.as_str());
    let (level, what, advice) = judge_vip(ip, on);
    report.put("vip", level, what, advice);
    if ip.is_ipv4() && on.is_some() {
        let of = |what| value("ipv4", "all", what);
        let (level, what, advice) = judge_arp(of("arp_ignore"), of("arp_announce"));
        report.put("arp", level, what, advice);
    }
    let names = interfaces();
    let is_tunnel = |name: &String| {
        Interface::named(name).is_ok_and(|one| one.is_tunnel() && one.is_up().unwrap_or(false))
    };
    let tunnels: Vec<String> = names.into_iter().filter(is_tunnel).collect();
    let (level, what, advice) = judge_tunnels(&tunnels);
    report.put("tunnel", level, what, advice);
    if ip.is_ipv4() {
        for name in ["all".to_owned()].iter().chain(&tunnels) {
            let filter = value("ipv4", name, "rp_filter");
            let (level, what, advice) = judge_filter(name, filter.as_deref());
            report.put("parameters", level, what, advice);
        }
    }
    if let Some(port) = vip.port {
        let address = SocketAddr::new(ip, port);
        if on.is_none() {
            // Whoever answered would be another machine.
            let what = format!("whether one answers at {address}: the address is not here");
            return report.put("server", Level::Unknown, what, "look again with the VIP on lo");
        }
        match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            Ok(_) => report.ok("server", format!("one answers at {address}")),
            Err(error) => {
                let advice = "have the server listen on the VIP, or on all addresses";
                report.put("server", Level::Fail, format!("{address}: {error}"), advice);
            }
        }
    }
}

fn judge_vip(ip: IpAddr, on: Option<&str>) -> (Level, String, String) {
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    match on {
        Some("lo") => (Level::Ok, format!("{ip} is on lo"), String::new()),
        Some(name) => (
            Level::Warn,
            format!("{ip} is on {name}: neighbours may be told that it is here"),
            format!("ip addr del {ip}/{bits} dev {name}; ip addr add {ip}/{bits} dev lo"),
        ),
        None => (
            Level::Fail,
            format!("{ip} is on no interface: packets to it are dropped, or sent on"),
            format!("ip addr add {ip}/{bits} dev lo"),
        ),
    }
}

/// By itself Linux answers for every address that it has, on every interface.
fn judge_arp(ignore: Option<String>, announce: Option<String>) -> (Level, String, &'static str) {
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u8>().ok());
    match (number(ignore), number(announce)) {
        (Some(1 | 2 | 8), Some(2)) => {
            (Level::Ok, "neighbours are not told of addresses on lo".to_owned(), "")
        }
        (Some(ignore), Some(announce)) => (
            Level::Warn,
            format!("arp_ignore is {ignore}, arp_announce {announce}: ARP for the VIP is answered"),
            "where appliances or routers are in this network: \
             sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        ),
        _ => (Level::Unknown, "arp_ignore can't be read".to_owned(), "mount /proc"),
    }
}

fn judge_tunnels(tunnels: &[String]) -> (Level, String, &'static str) {
    match tunnels {
        [] => (
            Level::Fail,
            "nothing takes packets out of their encapsulation".to_owned(),
            "`ip link add gre1 type gre local ADDRESS && ip link set gre1 up`, or where the kernel \
             has no tunnel devices, `penstock decap --from APPLIANCE`",
        ),
        names => (Level::Ok, format!("packets come out of {}", names.join(", ")), ""),
    }
}

fn judge_filter(name: &str, value: Option<&str>) -> (Level, String, String) {
    let key = format!("net.ipv4.conf.{name}.rp_filter");
    match value {
        Some("1") => (
            Level::Fail,
            format!("{key} is 1: clients' packets are dropped, as their answers go another way"),
            format!("sysctl -w {key}=0"),
        ),
        Some(value) => (Level::Ok, format!("{key} is {value}"), String::new()),
        None => (Level::Unknown, format!("{key} can't be read"), "mount /proc".to_owned()),
    }
}

/// All of this namespace: proc_net(5) has them, whatever is mounted as sysfs.
fn interfaces() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{BackendVip, Level, judge_arp, judge_filter, judge_tunnels, judge_vip};

    #[test]
    fn a_vip_has_a_port_or_none() {
        for (text, expected) in [
            ("10.0.0.1", Some(None)),
            ("10.0.0.1:80", Some(Some(80))),
            ("fd00::1", Some(None)),
            ("[fd00::1]", Some(None)),
            ("[fd00::1]:443", Some(Some(443))),
            ("web", None),
        ] {
            let parsed = text.parse::<BackendVip>().ok();
            assert_eq!(parsed.map(|vip| vip.port), expected, "{text}");
        }
    }

    #[test]
    fn the_vip_belongs_on_lo() {
        let ip = "203.0.113.10".parse().expect("an address");
        assert_eq!(judge_vip(ip, Some("lo")).0, Level::Ok);
        assert_eq!(judge_vip(ip, Some("eth0")).0, Level::Warn);
        let (level, _, advice) = judge_vip(ip, None);
        assert_eq!((level, &*advice), (Level::Fail, "ip addr add 203.0.113.10/32 dev lo"));
    }

    #[test]
    fn arp_for_the_vip_is_the_appliances() {
        let level = |ignore: &str, announce: &str| {
            judge_arp(Some(ignore.to_owned()), Some(announce.to_owned())).0
        };
        assert_eq!(level("1", "2"), Level::Ok);
        assert_eq!(level("0", "2"), Level::Warn);
        assert_eq!(level("1", "0"), Level::Warn);
        assert_eq!(judge_arp(None, None).0, Level::Unknown);
    }

    #[test]
    fn packets_have_to_come_out_and_be_let_in() {
        assert_eq!(judge_tunnels(&[]).0, Level::Fail);
        assert_eq!(judge_tunnels(&["gre1".to_owned()]).0, Level::Ok);
        assert_eq!(judge_filter("all", Some("1")).0, Level::Fail);
        assert_eq!(judge_filter("gre1", Some("0")).0, Level::Ok);
        assert_eq!(judge_filter("gre1", None).0, Level::Unknown);
    }
}
