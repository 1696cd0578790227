//! `penstock doctor` over faults that are planted, on an appliance and on a backend.

use std::net::TcpListener;

use super::site::{BACKENDS, Site, can_be};
use crate::harness::{Folder, until, write_config};

/// The exit code, and what is shown.
fn doctor(site: &Site, name: &str, by: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_penstock");
    let words: Vec<&str> =
        by.iter().chain(&[program, "doctor"]).chain(arguments).copied().collect();
    let output = site.net.program(name, words[0]).args(&words[1..]).output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), shown.into_owned())
}

/// Looks at an appliance that is to serve this.
fn appliance(site: &Site, by: &[&str], config: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    write_config(&folder, config);
    doctor(site, "lb0", by, &[&folder.join("penstock.toml").display().to_string()])
}

/// Whether a line says all of this.
#[track_caller]
fn says(shown: &str, parts: &[&str]) {
    let line = shown.lines().find(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line.is_some(), "{parts:?}: {shown}");
}

#[test]
fn each_fault_of_an_appliance_is_named_with_what_to_do() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let config = site.config("lb0", "dsr", &BACKENDS, "");
    // Neighbours of a net that was just made have to be found first.
    let shown = until("all backends answer", || {
        let (_, shown) = appliance(&site, &[], &config);
        (!shown.contains("FAIL  through")).then_some(shown)
    });
    says(&shown, &["ok", "io_uring", "there, and allowed"]);
    says(&shown, &["ok", "interfaces", "eth0, MTU 1500"]);
    says(&shown, &["ok", "backends", "to 10.5.0.2 from 10.2.0.2", "up to 1476 fit"]);
    says(&shown, &["ok", "through", "10.6.0.2 on [fd00:9::a]:80 through gre answers"]);
    site.net.ip("b0", "address del 10.9.0.10/32 dev lo");
    site.net.ip("lb0", "address add 10.9.0.10/32 dev lo");
    site.net.ip("lb0", "route add 10.6.0.2/32 via 10.2.0.1 mtu 1400");
    site.net.ip("lb0", "route add unreachable 10.7.0.2/32");
    let taken = site.net.inside("lb0", || TcpListener::bind("127.0.0.1:8088"));
    let listener = "[listener.l]\naddress = \"127.0.0.1:8088\"\nto = \"l\"\n\
                    [cluster.l]\nendpoints = [\"127.0.0.1:1\"]\n";
    let (code, shown) = appliance(&site, &[], &(config.clone() + listener));
    drop(taken);
    assert_eq!(code, Some(1), "{shown}");
    says(&shown, &["FAIL", "through", "10.5.0.2 on 10.9.0.10:80 through gre: no answer"]);
    says(&shown, &["->", "penstock doctor --backend VIP:PORT"]);
    says(&shown, &["FAIL", "backends", "to 10.6.0.2", "the way takes packets of 1400"]);
    says(&shown, &["FAIL", "backends", "no way to 10.7.0.2"]);
    says(&shown, &["warn", "vips", "10.9.0.10 is an address of this machine, on lo"]);
    says(&shown, &["FAIL", "ports", "listener.l: 127.0.0.1:8088"]);
    let (code, shown) = appliance(&site, &[], &config.replace("eth0", "eth7"));
    assert_eq!(code, Some(1), "{shown}");
    says(&shown, &["FAIL", "interfaces", "there is no interface eth7"]);
    // What was made for a look is gone.
    let links = site.net.program("lb0", "ip").args(["-o", "link"]).output().expect("ip runs");
    assert_eq!(String::from_utf8_lossy(&links.stdout).lines().count(), 2);
    let without = "-net_admin,-net_raw";
    let by = ["setpriv", "--bounding-set", without, "--inh-caps", without];
    let (_, shown) = appliance(&site, &by, &config);
    says(&shown, &["FAIL", "capabilities", "CAP_NET_ADMIN is missing"]);
    says(&shown, &["?", "through", "CAP_NET_ADMIN is missing"]);
}

#[test]
fn each_thing_that_a_backend_lacks_is_named() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    let (code, shown) = doctor(&site, "b0", &[], &["--backend", "10.9.0.10:80"]);
    assert_eq!(code, Some(1), "{shown}");
    says(&shown, &["FAIL", "vip", "10.9.0.10 is on no interface"]);
    says(&shown, &["->", "ip addr add 10.9.0.10/32 dev lo"]);
    says(&shown, &["FAIL", "tunnel", "nothing takes packets out"]);
    site.decapsulate();
    let vips = ["--backend", "10.9.0.10:80", "--backend", "[fd00:9::a]:80", "--format", "json"];
    let (code, shown) = doctor(&site, "b0", &[], &vips);
    assert_eq!(code, Some(0), "{shown}");
    let report: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let servers = findings.iter().filter(|one| one["subject"] == "server");
    assert!(servers.clone().all(|one| one["level"] == "ok"), "{shown}");
    assert_eq!(servers.count(), 2);
    site.net.set("b0", "net/ipv4/conf/penstock0/rp_filter", "1");
    let (code, shown) = doctor(&site, "b0", &[], &["--backend", "10.9.0.10"]);
    assert_eq!(code, Some(1), "{shown}");
    says(&shown, &["FAIL", "parameters", "penstock0.rp_filter is 1"]);
}
