//! Services of layer 4: what can be said of one, and what can't.

use crate::tests::mistakes::{check, check_service};
use crate::tests::parse;
use crate::{ListenAddress, Transport};

const CLUSTER: &str = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]";

#[test]
fn every_address_has_every_port() {
    let text = format!(
        "[service.s]\nvip = [\"10.9.9.9\", \"fd00::9\"]\nports = [\"tcp/25\", \"tcp/587\"]\n\
         to = \"a\"\n{CLUSTER}"
    );
    let config = parse(&text).unwrap_or_else(|findings| panic!("{findings}"));
    let all = config.services[0].addresses(Transport::Tcp).map(|address| match address {
        ListenAddress::Ip(address) => address.to_string(),
        other => panic!("{other}"),
    });
    let expected = ["10.9.9.9:25", "[fd00::9]:25", "10.9.9.9:587", "[fd00::9]:587"];
    assert_eq!(all.collect::<Vec<_>>(), expected);
}

#[test]
fn addresses_and_ports_are_what_they_look_like() {
    check_service(
        "vip = \"10.9.9.9:80\"",
        &["2:7 value service.s.vip: an address alone: ports stand in `ports`"],
    );
    check_service("vip = \"example.com\"", &["2:7 value service.s.vip: not an IP address"]);
    check_service(
        "vip = \"224.0.0.1\"",
        &["2:7 value service.s.vip: a multicast address has no connections"],
    );
    check_service(
        "vip = \"::ffff:10.0.0.1\"",
        &["2:7 value service.s.vip: write a mapped IPv4 address as IPv4"],
    );
    check_service(
        "vip = [\"10.0.0.1\", \"10.0.0.1\"]",
        &["2:7 reference service.s.vip: 10.0.0.1 is listed twice"],
    );
    for wrong in ["443", "sctp/443", "tcp/", "tcp/+4", "tcp/65536"] {
        check_service(
            &format!("ports = \"{wrong}\""),
            &["2:9 value service.s.ports: a port is written \"tcp/443\" or \"udp/53\""],
        );
    }
    check_service("ports = [\"udp/53\", \"tcp/53\"]", &[]);
    check_service("vip = []", &["2:7 value service.s.vip: at least 1 needed"]);
    check_service("to = \"b\"", &["2:6 reference service.s.to: there is no [cluster.b]"]);
}

#[test]
fn who_may_speak_for_others_is_said_by_networks() {
    let path = "service.s.proxy_protocol";
    check_service(
        "proxy_protocol = {}",
        &[&format!("2:18 missing {path}.from: this key has to be set")],
    );
    check_service(
        "proxy_protocol = { from = [] }",
        &[&format!("2:27 value {path}.from: at least 1 needed")],
    );
    check_service(
        "proxy_protocol = { from = \"10.0.0.1/8\" }",
        &[&format!("2:27 value {path}.from: has address bits set behind the prefix")],
    );
    check_service(
        "send_proxy_protocol = \"v3\"",
        &["2:23 value service.s.send_proxy_protocol: not one of the allowed words ?\"v1\""],
    );
}

#[test]
fn what_knows_connections_alone_does_not_go_with_datagrams() {
    let problem = "version 1 knows no datagrams, and there are ports of UDP: say \"v2\"";
    check_service(
        "send_proxy_protocol = \"v1\"\nports = \"udp/53\"",
        &[&format!("2:23 reference service.s.send_proxy_protocol: {problem}")],
    );
    for more in [
        "send_proxy_protocol = \"v2\"",
        "proxy_protocol = { from = \"10.0.0.0/8\" }",
        "transparent = true",
    ] {
        check_service(&format!("{more}\nports = [\"tcp/53\", \"udp/53\"]"), &[]);
    }
}

#[test]
fn filters_see_connections_that_end_here() {
    let head = "[service.s]\nvip = \"10.9.9.9\"\nto = \"a\"\n";
    let rest = format!("{CLUSTER}\n[filter.f]\nwasm = \"f\"\n[filter.g]\nwasm = \"g\"");
    let chain = "filters = [\"f\", { filter = \"g\", config = \"x\" }]\n";
    let text = |more: &str| format!("{head}{chain}{more}\n{rest}");
    let config = parse(&text("ports = \"tcp/25\"")).unwrap_or_else(|found| panic!("{found}"));
    let service = &config.services[0];
    let names = service.filters.iter().map(|item| &*config.filter(item.filter).name);
    assert_eq!(names.collect::<Vec<_>>(), ["f", "g"]);
    assert_eq!(service.filters[1].config.as_ref().map(|own| own.text()).as_deref(), Some("x"));
    let path = "4:11 reference service.s.filters:";
    check(
        &text("ports = [\"tcp/53\", \"udp/53\"]"),
        &[&format!(
            "{path} see connections alone, and there are ports of UDP: make two services of this \
             one"
        )],
    );
    for mode in ["nat", "dsr"] {
        check(
            &text(&format!("ports = \"tcp/25\"\nmode = \"{mode}\"\ninterface = \"eth0\"")),
            &[&format!("{path} go with mode \"terminate\" alone: what is in packets is not read")],
        );
    }
    check(
        &text("ports = \"tcp/25\"").replace("{ filter = \"g\", config = \"x\" }", "\"f\""),
        &[&format!("{path} one filter is named twice")],
    );
}

#[test]
fn datagrams_go_to_addresses_and_in_clear() {
    let text = |cluster: &str| {
        let service = "[service.s]\nvip = \"10.9.9.9\"\nports = \"udp/53\"\nto = \"a\"";
        format!("{service}\n[cluster.a]\n{cluster}")
    };
    let path = "4:6 reference service.s.to: datagrams can't be sent";
    check(
        &text("endpoints = [\"10.0.0.1:53\", \"unix:/run/a\"]"),
        &[&format!("{path} to a unix socket")],
    );
    check(&text("endpoints = [\"10.0.0.1:53\"]\ntls = {}"), &[&format!("{path} by TLS")]);
}

#[test]
fn flows_of_datagrams_end_sooner_than_connections() {
    let text = |more: &str| {
        format!(
            "[service.s]\nvip = \"10.9.9.9\"\nports = \"udp/53\"\nto = \"a\"\n{more}\n{CLUSTER}"
        )
    };
    let idle = |more: &str, port| {
        let config = parse(&text(more)).unwrap_or_else(|findings| panic!("{findings}"));
        config.services[0].datagram_idle(port).as_secs()
    };
    // DEFAULTS: 30 s, DNS 5 s.
    assert_eq!((idle("", 53), idle("", 514)), (5, 30));
    let said = "timeouts = { datagram = \"60s\" }";
    assert_eq!((idle(said, 53), idle(said, 514)), (60, 60));
}

#[test]
fn connections_go_somewhere() {
    let head = "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/443\"\n";
    check(
        &format!("{head}{CLUSTER}"),
        &["1:1 missing service.s.to: neither `to` nor a [[route]] is set"],
    );
    let route = "[[service.s.route]]\nserver_name = \"example.com\"\nto = \"a\"\n";
    check(&format!("{head}{route}{CLUSTER}"), &[]);
    check(&format!("{head}to = \"a\"\n{route}{CLUSTER}"), &[]);
    check(
        &format!("{head}{}{CLUSTER}", route.replace("\"example.com\"", "[]")),
        &["5:15 value service.s.route[0].server_name: at least 1 needed"],
    );
    check(
        &format!("{head}{}{CLUSTER}", route.replace("\"a\"", "\"b\"")),
        &["6:6 reference service.s.route[0].to: there is no [cluster.b]"],
    );
}

#[test]
fn what_is_listened_on_already_is_named() {
    let listener = "[listener.l]\naddress = \":80\"\nto = \"a\"\n";
    let service = "[service.s]\nvip = \"10.9.9.9\"\nports = [\"tcp/25\", \"tcp/80\"]\nto = \"a\"\n";
    check(
        &format!("{listener}{service}{CLUSTER}"),
        &["6:20 reference service.s.ports: listener.l.address listens on :80 already"],
    );
    // Datagrams are another matter.
    let apart = service.replace("tcp/80", "udp/80");
    check(&format!("{listener}{apart}{CLUSTER}"), &[]);
    let twice = service.replace("tcp/80", "tcp/25");
    check(
        &format!("{twice}{CLUSTER}"),
        &["3:20 reference service.s.ports: service.s.ports listens on 10.9.9.9:25 already"],
    );
}

#[test]
fn who_is_denied_is_reset_or_kept() {
    let service = |more: &str| {
        let config = parse(&format!(
            "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/25\"\nto = \"a\"\n{more}\n{CLUSTER}"
        ));
        config.unwrap_or_else(|findings| panic!("{findings}")).services[0].clone()
    };
    let open = service("");
    assert!(!open.denies("10.0.0.1".parse().ok()));
    let closed = service("deny = [\"10.0.0.0/8\", \"fd00::/8\"]\ntarpit = {}");
    for (source, denied) in [("10.0.0.1", true), ("11.0.0.1", false), ("fd00::1", true)] {
        assert_eq!(closed.denies(source.parse().ok()), denied, "{source}");
    }
    assert!(!closed.denies(None));
    let tarpit = closed.tarpit.expect("it was asked for");
    assert_eq!((tarpit.connections_max, tarpit.hold.as_secs()), (10_000, 600));
    check_service(
        "tarpit = {}",
        &["2:10 reference service.s.tarpit: goes with `deny`: nobody is denied"],
    );
    check_service(
        "mode = \"nat\"\ninterface = \"eth0\"\ndeny = \"10.0.0.0/8\"",
        &["4:8 reference service.s.deny: goes with mode \"terminate\" alone: see \
           runtime.layer4.sources"],
    );
    check_service(
        "mode = \"dsr\"\ninterface = \"eth0\"\ntransparent = true",
        &["4:15 reference service.s.transparent: goes with mode \"terminate\" alone: \
             \"dsr\" shows clients, too"],
    );
}
