//! `transparent`: endpoints see who connects, whatever address was connected to.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use super::ground::peers::PATIENCE;
use super::site::{BACKENDS, Site, VIPS, can_be};
use crate::harness::{Folder, until, write_config};

/// A service on both VIPs, of which the appliance has neither, in front of all backends.
fn config(more: &str) -> String {
    let endpoints: Vec<String> =
        (5..8).map(|leg| format!("\"10.{leg}.0.2:8080\", \"[fd00:{leg}::2]:8080\"")).collect();
    format!(
        "[runtime]\nshards = 1\npin = false\nreceive_buffers = 64\n\
         [service.s]\nvip = [\"10.9.0.10\", \"fd00:9::a\"]\n\
         ports = [\"tcp/80\", \"udp/53\"]\nto = \"c\"\n{more}\
         [cluster.c]\nendpoints = [{}]\ntimeouts = {{ connect = \"30s\" }}\n",
        endpoints.join(", ")
    )
}

/// What packaging/tproxy has for the appliance, and the way back for the router.
fn route(site: &Site) {
    let rules = include_str!("../../../../../packaging/tproxy/tproxy.nft");
    let rules = rules.replace("203.0.113.", "10.9.0.");
    let rules = rules.replace("2001:db8::10]", "fd00:9::a]").replace("2001:db8::", "fd00:9::");
    let path = site.path("tproxy.nft");
    std::fs::write(&path, rules).expect("written");
    site.net.run("lb0", &format!("nft -f {}", path.display()));
    for (family, any) in [("", "0.0.0.0/0"), ("-6 ", "::/0")] {
        site.net.ip("lb0", &format!("{family}rule add fwmark 1 lookup 100"));
        site.net.ip("lb0", &format!("{family}route add local {any} dev lo table 100"));
        for name in BACKENDS {
            site.net.ip("router", &format!("{family}rule add iif to-{name} lookup 50"));
        }
    }
    site.net.ip("router", "route add default via 10.2.0.2 table 50");
    site.net.ip("router", "-6 route add default via fd00:2::2 table 50");
}

#[test]
fn endpoints_see_the_clients_address_whatever_address_was_asked() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    route(&site);
    // Before neighbours have found each other an endpoint may be out of reach, and ejected for it.
    for leg in 5..8 {
        for host in [format!("10.{leg}.0.2"), format!("[fd00:{leg}::2]")] {
            let url = format!("http://{host}:8080/who");
            until("there is a way", || {
                let mut curl = site.net.program("lb0", "curl");
                let output = curl.args(["-gsS", "--max-time", "5", &url]).output();
                output.expect("curl runs").status.success().then_some(())
            });
        }
    }
    let penstock = site.start("lb0", &config("transparent = true\n"));
    // The VIPs, and addresses that nobody has.
    let strangers = ["10.9.0.77", "[fd00:9::77]"];
    let asked = VIPS.into_iter().chain(strangers);
    for (asked, client) in asked.zip(CLIENTS.into_iter().cycle()) {
        let url = format!("http://{asked}/who");
        let answers: BTreeSet<String> = (0..40).map(|_| site.curl(&[&url])).collect();
        assert_eq!(answers, BTreeSet::from(BACKENDS.map(|name| format!("{name} {client}\n"))));
    }
    // Endpoints of the other family were passed by, not tried in vain.
    let failures = "penstock_cluster_connect_failures_total{cluster=\"c\"}";
    assert_eq!(penstock.metric(failures), 0.0);
    let large = site.curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        &format!("http://{}/large", VIPS[0]),
    ]);
    assert_eq!(large, super::site::LARGE.to_string());
}

#[test]
fn endpoints_see_the_clients_address_of_datagrams_too() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    route(&site);
    for name in BACKENDS {
        site.net.inside(name, move || {
            // Of the other port of this number, nginx's, nothing is seen here.
            let socket = UdpSocket::bind("[::]:8080").expect("nobody else is there");
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok((_, peer)) = socket.recv_from(&mut bytes) {
                    let answer = format!("{name} {}", peer.ip().to_canonical());
                    let _ = socket.send_to(answer.as_bytes(), peer);
                }
            });
        });
    }
    let penstock = site.start("lb0", &config("transparent = true\n"));
    let strangers = ["10.9.0.77", "[fd00:9::77]"];
    let asked = VIPS.into_iter().chain(strangers);
    for (asked, client) in asked.zip(CLIENTS.into_iter().cycle()) {
        let answers = site.net.inside("client", move || {
            // A socket that is connected hears no answer from another address.
            let ask = |_| -> String {
                let own = if asked.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(own).expect("a port");
                socket.connect(format!("{asked}:53")).expect("there is a way");
                socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
                let mut bytes = [0; 64];
                socket.send(b"who").expect("it is sent");
                let length = socket.recv(&mut bytes).expect("an answer");
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            };
            (0..40).map(ask).collect::<BTreeSet<String>>()
        });
        assert_eq!(answers, BTreeSet::from(BACKENDS.map(|name| format!("{name} {client}"))));
    }
    assert_eq!(penstock.metric("penstock_service_lost_datagrams_total{service=\"s\"}"), 0.0);
}

#[test]
fn without_the_capability_check_and_start_name_it() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let folder = Folder::new();
    write_config(&folder, &config("transparent = true\n"));
    let file = folder.join("penstock.toml");
    for (word, part) in [
        ("check", "on this machine: service.s.transparent: CAP_NET_ADMIN is missing"),
        ("run", "CAP_NET_ADMIN is missing"),
    ] {
        let mut command = site.net.program("lb0", "setpriv");
        command.args(["--inh-caps=-net_admin,-net_raw", "--bounding-set=-net_admin,-net_raw"]);
        command.args(["timeout", "60"]);
        let output = command.arg(env!("CARGO_BIN_EXE_penstock")).arg(word).arg(&file).output();
        let output = output.expect("setpriv is there");
        let shown =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(shown.contains(part), "{word}: {shown}");
        assert_eq!(output.status.success(), word == "check", "{word}: {shown}");
    }
}

const CLIENTS: [&str; 2] = ["10.1.0.2", "fd00:1::2"];
