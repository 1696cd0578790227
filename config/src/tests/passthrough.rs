//! Services whose packets are passed on: what can be said of one, and what can't.

use crate::tests::mistakes::check;
use crate::tests::parse;
use crate::{Encap, EndpointAddress, ServiceMode, SourceAction};

/// A row about keys of a service in this mode that is right otherwise; they begin on line 2.
#[track_caller]
fn check_in(mode: &str, lines: &str, expected: &[&str]) {
    let mut text = format!("[service.s]\n{lines}\nmode = \"{mode}\"\n");
    let keys = [
        ("vip", "\"10.9.9.9\""),
        ("ports", "\"tcp/1\""),
        ("to", "\"a\""),
        ("interface", "\"eth0\""),
    ];
    for (key, value) in keys {
        if !lines.split('\n').any(|line| line.starts_with(&format!("{key} "))) {
            text += &format!("{key} = {value}\n");
        }
    }
    check(&(text + "[cluster.a]\nendpoints = [\"10.0.0.1\"]"), expected);
}

#[test]
fn what_is_passed_on_needs_an_interface_and_no_ports_of_endpoints() {
    let text = "[service.s]\nvip = [\"10.9.9.9\", \"fd00::9\"]\nports = [\"tcp/53\", \"udp/53\"]\n\
                mode = \"dsr\"\ninterface = [\"eth0\", \"bond0.7\"]\nto = \"a\"\n\
                [cluster.a]\nendpoints = [\"10.0.0.1\", { address = \"fd00::1\", weight = 2 }]";
    let config = parse(text).unwrap_or_else(|findings| panic!("{findings}"));
    let service = &config.services[0];
    assert_eq!((service.mode, service.encap()), (ServiceMode::Dsr, Encap::Gre));
    assert_eq!((service.datagram_idle(53).as_secs(), service.datagram_idle(54).as_secs()), (5, 30));
    let endpoints = config.clusters[0].endpoints.iter().map(|one| one.address.to_string());
    assert_eq!(endpoints.collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    assert!(config.clusters[0].endpoints.iter().all(|one| one.address.is_portless()));
    assert!("10.0.0.1".parse::<EndpointAddress>().is_err(), "elsewhere a port is needed");
    check_in("nat", "", &[]);
    check_in("dsr", "encap = \"gue\"", &[]);
    check_in("nat", "move_when_down = \"none\"", &[]);
    check(
        &text.replace("interface = [\"eth0\", \"bond0.7\"]\n", ""),
        &["1:1 missing service.s.interface: packets are passed on from an interface: name it"],
    );
}

#[test]
fn what_a_mode_cannot_have_is_said_in_a_sentence() {
    let not_read = "goes with mode \"terminate\" alone: what is in packets is not read";
    for mode in ["nat", "dsr"] {
        let check = |line: &str, found: &str| check_in(mode, line, &[found]);
        check(
            "proxy_protocol = { from = \"10.0.0.0/8\" }",
            &format!("2:18 reference service.s.proxy_protocol: {not_read}"),
        );
        check(
            "send_proxy_protocol = \"v2\"",
            &format!("2:23 reference service.s.send_proxy_protocol: {not_read}"),
        );
        check(
            "route = [{ server_name = \"x.y\", to = \"a\" }]",
            &format!("2:9 reference service.s.route: {not_read}"),
        );
        check(
            "retries = 1",
            "2:11 reference service.s.retries: goes with mode \"terminate\" alone: packets are \
             sent once",
        );
        check(
            "limits = { connections = 7 }",
            "2:10 reference service.s.limits: go with mode \"terminate\" alone: see runtime.layer4 \
             for flows and sources",
        );
        check(
            "timeouts = { client_hello = \"1s\" }",
            "2:12 reference service.s.timeouts: `client_hello` goes with mode \"terminate\" alone",
        );
        check(
            "vip = \"::\"",
            "2:7 reference service.s.vip: packets are passed on for one address, which others have \
             a way to",
        );
        check(
            "ports = \"tcp/0\"",
            "2:9 reference service.s.ports: port 0 is none: what is passed on has a port of its \
             own",
        );
        check(
            "interface = \"an interface\"",
            "2:13 value service.s.interface: the name of a network interface, such as \"eth0\"",
        );
        check(
            "interface = [\"e0\", \"e0\"]",
            "2:13 reference service.s.interface: e0 is listed twice",
        );
    }
    let only_dsr = "2:9 reference service.s.encap: goes with mode \"dsr\" alone";
    check_in("nat", "encap = \"gre\"", &[only_dsr]);
    check_in(
        "dsr",
        "encap = \"vxlan\"",
        &["2:9 value service.s.encap: not one of the allowed words"],
    );
}

#[test]
fn terminate_has_nothing_of_packets() {
    use crate::tests::mistakes::check_service;
    check_service(
        "encap = \"gre\"",
        &["2:9 reference service.s.encap: goes with mode \"dsr\" alone"],
    );
    check_service(
        "interface = \"eth0\"",
        &["2:13 reference service.s.interface: goes with the modes \"nat\" and \"dsr\": \
           connections come by any"],
    );
    check_service(
        "timeouts = { closed = \"1s\" }",
        &["2:12 reference service.s.timeouts: `opening`, `closing` and `closed` go with the \
             modes \"nat\" and \"dsr\": here the kernel keeps them"],
    );
}

#[test]
fn endpoints_are_such_that_packets_reach_them() {
    let service = |vip: &str, mode: &str| {
        format!(
            "[service.s]\nvip = {vip}\nports = \"tcp/1\"\nto = \"a\"\nmode = \"{mode}\"\n\
             interface = \"eth0\"\n"
        )
    };
    let cluster = |endpoint: &str| format!("[cluster.a]\nendpoints = [\"{endpoint}\"]\n");
    let both = "[\"10.9.9.9\", \"fd00::9\"]";
    check(
        &(service(both, "nat") + &cluster("10.0.0.1:80")),
        &["4:6 reference service.s.to: `nat` to fd00::9 needs endpoints with IPv6, and there are \
           none"],
    );
    check(&(service(both, "dsr") + &cluster("10.0.0.1:80")), &[]);
    check(
        &(service(both, "dsr") + &cluster("unix:/run/a.sock")),
        &["4:6 reference service.s.to: packets can't be passed on to unix:/run/a.sock"],
    );
    let listener = "[listener.l]\naddress = \":8080\"\nto = \"a\"\n";
    check(
        &(service("\"10.9.9.9\"", "nat") + &cluster("10.0.0.1") + listener),
        &["8:13 reference cluster.a.endpoints: connections are made to this cluster too: its \
           endpoints need ports"],
    );
    check(&(service("\"10.9.9.9\"", "nat") + &cluster("10.0.0.1:80") + listener), &[]);
    check(
        &(service("\"10.9.9.9\"", "nat") + &cluster("0.0.0.0")),
        &["8:14 value cluster.a.endpoints[0]: an endpoint is one host, written in its own family"],
    );
}

#[test]
fn a_vip_is_of_one_service_and_beside_no_socket() {
    let service = |name: &str, ports: &str, mode: &str| {
        format!(
            "[service.{name}]\nvip = \"10.9.9.9\"\nports = {ports}\nto = \"a\"\nmode = \"{mode}\"\n\
             interface = \"eth0\"\n"
        )
    };
    let cluster = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\n";
    let both = "[\"tcp/53\", \"udp/53\"]";
    check(&(service("s", both, "nat") + cluster), &[]);
    check(
        &(service("s", both, "nat") + &service("t", "\"udp/53\"", "dsr") + cluster),
        &["9:9 reference service.t.ports: service.s.ports has 10.9.9.9:53 already"],
    );
    let any = "[listener.l]\naddress = \":53\"\nto = \"a\"\n";
    check(&(service("s", both, "nat") + cluster + any), &[]);
    let same = any.replace(":53", "10.9.9.9:53");
    check(
        &(same + &service("s", both, "nat") + cluster),
        &["6:10 reference service.s.ports: listener.l.address listens on 10.9.9.9:53 already"],
    );
}

#[test]
fn sources_and_addresses_of_the_appliance() {
    let head = "[runtime.layer4]\n";
    let config = parse(&format!(
        "{head}nat = [\"10.0.0.2\", \"fd00::2\"]\nsources = [{{ from = \"10.0.0.0/8\", \
         action = \"limit\", rate = 5 }}, {{ from = [\"192.0.2.1\"], action = \"deny\" }}]"
    ));
    let config = config.unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(config.runtime.layer4.sources[1].action, SourceAction::Deny);
    assert_eq!(config.runtime.layer4.nat_ports.count(), 22_528);
    let check = |line: &str, found: &str| check(&format!("{head}{line}"), &[found]);
    let source = |rest: &str| format!("sources = [{{ from = \"10.0.0.0/8\", {rest} }}]");
    let path = "runtime.layer4";
    check(
        &source("action = \"limit\""),
        &format!("2:12 missing {path}.sources[0].rate: a limit needs a rate"),
    );
    check(
        &source("action = \"deny\", rate = 5"),
        &format!("2:59 reference {path}.sources[0].rate: goes with action \"limit\" alone"),
    );
    check(
        "sources = [{ from = [\"10.0.0.0/8\", \"10.0.0.0/8\"], action = \"deny\" }]",
        &format!("2:11 reference {path}.sources: 10.0.0.0/8 is listed twice"),
    );
    check(
        "nat = [\"10.0.0.1\", \"10.0.0.2\"]",
        &format!("2:7 reference {path}.nat: one address of each family at most"),
    );
    check(
        "tunnel = \"::\"",
        &format!(
            "2:10 reference {path}.tunnel: not an address that another machine could answer to"
        ),
    );
    check("nat_ports = \"5-4\"", &format!("2:13 value {path}.nat_ports: ends before it begins"));
    check("nat_ports = \"0-4\"", &format!("2:13 value {path}.nat_ports: port 0 is none"));
    check(
        "instance = \"a b\"",
        &format!(
            "2:12 value {path}.instance: a name has letters, digits, - and _, at most 64 of them"
        ),
    );
    check("pins = \"pins\"", &format!("2:8 reference {path}.pins: not an absolute path"));
}

#[test]
fn checks_of_endpoints_without_ports_say_which_one_they_ask() {
    let text = |health: &str| {
        format!(
            "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/1\"\nmode = \"dsr\"\n\
             interface = \"eth0\"\nto = \"a\"\n\
             [cluster.a]\nendpoints = [\"10.0.0.1\"]\nhealth = {{ {health} }}\n"
        )
    };
    let problem = "9:10 reference cluster.a.health: its endpoints have no port to be checked at: \
                   say `tcp = PORT`";
    for health in ["tcp = true", "http = \"/\""] {
        check(&text(health), &[problem]);
    }
    check(&text("tcp = 443"), &[]);
    check(&text("tcp = 443, at = \"vip\""), &[]);
    let nat = text("tcp = 443, at = \"vip\"").replace("\"dsr\"", "\"nat\"");
    let problem = "9:10 reference cluster.a.health: `at = \"vip\"`: no service in `dsr` leads here";
    check(&nat.replace("10.0.0.1", "10.0.0.1:443"), &[problem]);
}
