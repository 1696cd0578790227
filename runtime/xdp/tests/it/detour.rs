//! Connections to a VIP on one backend of choice, through the encapsulation.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use penstock_l4::CheckWay;
use penstock_l4::value::encap;
use penstock_xdp::{Decap, Detour, Guide};
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, socket, sockopt};

use crate::harness::{Net, can_tunnel};

/// An appliance, and two backends with the VIPs; each says its name to whoever connects.
fn site() -> Net {
    let net = Net::new(&["lb", "b0", "b1"]);
    for (name, leg) in [("b0", 5), ("b1", 6)] {
        let near = format!("10.{leg}.0.2/24,fd00:{leg}::2/64");
        let far = format!("10.{leg}.0.1/24,fd00:{leg}::1/64");
        net.pair((name, "eth0", &near), ("lb", &format!("to-{name}"), &far));
        net.ip(name, "address add 10.9.0.10/32 dev lo");
        net.ip(name, "address add fd00:9::a/128 dev lo nodad");
        net.set(name, "net/ipv4/conf/all/rp_filter", "0");
        let from: Vec<IpAddr> = [format!("10.{leg}.0.1"), format!("fd00:{leg}::1")]
            .map(|text| text.parse().expect("an address"))
            .into();
        let decap = net.inside(name, move || Decap::open("penstock0", &from));
        let mut decap = decap.unwrap_or_else(|error| panic!("{error}"));
        std::thread::spawn(move || decap.run(Duration::MAX, &mut |_| {}).map(drop));
        let server = net.inside(name, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)));
        let server = server.expect("nobody else listens");
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let _ = stream.and_then(|mut one| io::Write::write_all(&mut one, name.as_bytes()));
            }
        });
    }
    net
}

/// What a connection from this address hears that is led this way.
fn hear(net: &Net, guide: &Guide, from: &str, way: CheckWay) -> io::Result<String> {
    let (guide, from) = (guide.clone(), SocketAddr::new(from.parse().expect("an address"), 0));
    net.inside("lb", move || {
        let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        bind(&socket, &from)?;
        let from = SocketAddr::try_from(getsockname(&socket)?)?;
        let led = guide.lead(&socket, from, &way).map_err(io::Error::other)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        connect(&socket, &way.vip)?;
        let (mut stream, mut text) = (TcpStream::from(socket), String::new());
        stream.read_to_string(&mut text)?;
        drop(led);
        Ok(text)
    })
}

fn way(vip: &str, backend: &str, outer: &str, encap: u8) -> CheckWay {
    let parse = |text: &str| text.parse().expect("an address");
    CheckWay {
        vip: SocketAddr::new(parse(vip), 80),
        backend: parse(backend),
        outer: parse(outer),
        encap,
    }
}

/// What of the system is to be as it was. Link-local addresses come and go by themselves.
fn routing(net: &Net) -> String {
    net.inside("lb", || {
        let printed = |words: &str| {
            let output = Command::new("ip").args(words.split(' ')).output().expect("ip is there");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let links = printed("-o link");
        let names = links.lines().filter_map(|line| line.split(' ').nth(1));
        let routes = printed("route show table all type unicast");
        let routes = routes.lines().filter(|line| !line.contains("fe80"));
        let kept: Vec<&str> = names.chain(routes).collect();
        let filter = std::fs::read_to_string("/proc/sys/net/ipv4/conf/to-b0/rp_filter");
        let filter = filter.expect("a parameter");
        format!("{}{}{}{filter}", printed("rule"), printed("-6 rule"), kept.join("\n"))
    })
}

#[test]
fn a_connection_reaches_the_vip_on_the_backend_that_is_meant() {
    if !can_tunnel() {
        return;
    }
    let net = site();
    let before = routing(&net);
    let detour = net.inside("lb", || Detour::open("test"));
    let detour = detour.unwrap_or_else(|error| panic!("{error}"));
    let guide = detour.guide();
    for kind in [encap::GRE, encap::IPIP, encap::GUE] {
        for (name, leg) in [("b0", 5), ("b1", 6)] {
            let (v4, v6) = (format!("10.{leg}.0."), format!("fd00:{leg}::"));
            for (vip, inner, outer) in [
                ("10.9.0.10", &v4, &v4),
                ("fd00:9::a", &v6, &v4),
                ("10.9.0.10", &v4, &v6),
                ("fd00:9::a", &v6, &v6),
            ] {
                let way = way(vip, &format!("{outer}2"), &format!("{outer}1"), kind);
                let heard = hear(&net, &guide, &format!("{inner}1"), way);
                assert_eq!(heard.expect("it is connected"), name, "{way:?}");
            }
        }
    }
    // Nobody takes it out of there, or nobody listens.
    net.ip("b0", "address del 10.9.0.10/32 dev lo");
    let gone = way("10.9.0.10", "10.5.0.2", "10.5.0.1", encap::GRE);
    assert!(hear(&net, &guide, "10.5.0.1", gone).is_err());
    drop(detour);
    assert_eq!(routing(&net), before);
}

#[test]
fn a_vip_that_the_machine_has_itself_is_reached_on_the_backend_all_the_same() {
    if !can_tunnel() {
        return;
    }
    let net = site();
    net.set("lb", "net/ipv4/conf/to-b0/rp_filter", "1");
    let before = routing(&net);
    let detour = net.inside("lb", || {
        let mut detour = Detour::open("test")?;
        detour.follow(&["to-b0".to_owned()]);
        Ok::<_, penstock_xdp::XdpError>(detour)
    });
    let detour = detour.unwrap_or_else(|error| panic!("{error}"));
    // As VRRP would, while it runs.
    net.ip("lb", "address add 10.9.0.10/32 dev lo");
    net.ip("lb", "address add fd00:9::a/128 dev lo nodad");
    for (vip, from) in [("10.9.0.10", "10.5.0.1"), ("fd00:9::a", "fd00:5::1")] {
        let heard = hear(&net, &detour.guide(), from, way(vip, "10.5.0.2", "10.5.0.1", encap::GRE));
        assert_eq!(heard.expect("it is connected"), "b0", "{vip}");
    }
    net.ip("lb", "address del 10.9.0.10/32 dev lo");
    net.ip("lb", "address del fd00:9::a/128 dev lo");
    net.inside("lb", move || drop(detour));
    assert_eq!(routing(&net), before);
}

/// What a connection that is not answered is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
