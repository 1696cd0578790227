//! `dsr`: the backends answer clients directly.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::downloads::{all_whole, downloads, until_established};
use super::ground::peers::flood;
use super::site::{BACKENDS, LARGE, Site, VIPS, can_be};
use crate::harness::{Penstock, until};

#[test]
fn requests_downloads_and_uploads_pass_in_both_families() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let penstock = site.start("lb0", &site.config("lb0", "dsr", &BACKENDS, ""));
    let upload = penstock.folder.join("upload");
    std::fs::write(&upload, vec![b'u'; 3_000_000]).expect("written");
    for (vip, client) in VIPS.into_iter().zip(["10.1.0.2", "fd00:1::2"]) {
        let url = |path: &str| format!("http://{vip}/{path}");
        let answers: BTreeSet<String> = (0..40).map(|_| site.curl(&[&url("who")])).collect();
        // The backends see the client itself.
        let expected = BACKENDS.map(|name| format!("{name} {client}\n"));
        assert_eq!(answers, BTreeSet::from(expected), "{vip}");
        let large = ["-o", "/dev/null", "-w", "%{size_download}", &url("large")];
        assert_eq!(site.curl(&large), LARGE.to_string(), "{vip}");
        // Nobody helps with the MSS but the appliance.
        let upload = upload.display().to_string();
        assert_eq!(site.curl(&["-T", &upload, &url("up")]), "3000000\n", "{vip}");
    }
    until("a backend counts what it took", || {
        let text = std::fs::read_to_string(site.path("b0.prom")).ok()?;
        let name = "penstock_decap_packets_total{encap=\"gre\"} ";
        let taken = text.lines().find_map(|line| line.strip_prefix(name))?;
        taken.parse::<u64>().ok().filter(|count| *count > 100)
    });
    let service = &penstock.json("/v1/services")[0];
    for vip in service["vips"].as_array().expect("a list") {
        assert_eq!(vip["return_packets"], 0, "{service:#}");
        let sent = vip["packets"].as_u64() > Some(100);
        assert_eq!(sent, vip["transport"] == "tcp", "{service:#}");
    }
}

#[test]
fn a_backend_that_drains_keeps_its_flows_and_gets_no_new_ones() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let penstock = site.start("lb0", &site.config("lb0", "dsr", &BACKENDS, ""));
    let under_way = downloads(&site, 12);
    until_established(&[&penstock], 12);
    let flows_of = |penstock: &Penstock, name: &str| {
        let flows = penstock.json("/v1/flows?limit=1000");
        let backends = flows["flows"].as_array().expect("a list").clone();
        backends.iter().filter(|one| one["backend"] == name).count()
    };
    let before = flows_of(&penstock, "10.5.0.2");
    assert!(before > 0, "the first backend has no flow, of 12");
    // A reload that is refused changes nothing.
    penstock.write(&site.config("lb0", "dsr", &["b1"], "").replace("eth0", "eth7"));
    let (status, why) = penstock.reload();
    assert_eq!(status, 422, "{why}");
    assert!(why.contains("service.s.interface: there is no interface eth7"), "{why}");
    assert_eq!(penstock.json("/v1/services")[0]["backends"][0]["state"], "up");
    penstock.write(&site.config("lb0", "dsr", &["b1", "b2"], ""));
    assert_eq!(penstock.reload().0, 200);
    let drained = &penstock.json("/v1/services")[0]["backends"][0];
    assert_eq!((&drained["address"], &drained["state"]), (&"10.5.0.2".into(), &"draining".into()));
    for vip in VIPS {
        let answers = (0..20).map(|_| site.curl(&[&format!("http://{vip}/who")]));
        assert!(answers.into_iter().all(|answer| !answer.starts_with("b0")), "{vip}");
    }
    assert!(flows_of(&penstock, "10.5.0.2") >= before, "its flows stay");
    all_whole(under_way);
}

#[test]
fn new_flows_pass_by_a_backend_that_is_down_and_come_back_to_it() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let health = "health = { tcp = 80, interval = \"200ms\", fall = 2, rise = 2 }\n";
    let config = site.config("lb0", "dsr", &BACKENDS, "") + health;
    let penstock = site.start("lb0", &config);
    let state = |wanted: &str| {
        let backend = &penstock.json("/v1/services")[0]["backends"][0];
        assert_eq!(backend["address"], "10.5.0.2");
        (backend["state"] == wanted).then_some(())
    };
    let who = |site: &Site, vip: &str| site.curl(&[&format!("http://{vip}/who")]);
    site.stop("b0");
    until("checks find it", || state("down"));
    for vip in VIPS {
        let answers: Vec<String> = (0..20).map(|_| who(&site, vip)).collect();
        assert!(answers.iter().all(|answer| !answer.starts_with("b0")), "{vip}: {answers:?}");
    }
    site.start_again("b0");
    until("it is back", || state("up"));
    until("it is asked", || who(&site, VIPS[0]).starts_with("b0").then_some(()));
}

/// A backend is asked as clients ask it: on the VIP, through the encapsulation.
#[test]
fn a_backend_that_has_lost_its_vip_gets_no_new_flows_though_it_answers_itself() {
    if !can_be() {
        return;
    }
    for (datapath, encap) in [("xdp", "gre"), ("tun", "gue")] {
        let mut site = Site::new(1);
        site.decapsulate();
        let health = "health = { http = \"/who\", tcp = 80, interval = \"200ms\", fall = 2 }\n";
        let service = format!("encap = \"{encap}\"\n");
        let config = site.config("lb0", "dsr", &BACKENDS, &service) + health;
        let config =
            config.replace("pin = false", &format!("pin = false\ndatapath = \"{datapath}\""));
        let mut penstock = site.start("lb0", &config);
        let backend = || penstock.json("/v1/services")[0]["backends"][0].clone();
        let state = |wanted: &str| (backend()["state"] == wanted).then_some(());
        let checks = |result: &str| {
            let labels = format!("cluster=\"c\",endpoint=\"10.5.0.2:0\",result=\"{result}\"");
            penstock.metric(&format!("penstock_endpoint_checks_total{{{labels}}}"))
        };
        until("checks are good", || (checks("good") > 0.0).then_some(()));
        assert_eq!(
            (backend()["health"].as_str(), backend()["reason"].as_str()),
            (Some("up"), None)
        );
        for (vip, address, shown) in [
            (VIPS[0], "10.9.0.10/32", "10.9.0.10:80"),
            (VIPS[1], "fd00:9::a/128", "[fd00:9::a]:80"),
        ] {
            site.net.ip("b0", &format!("address del {address} dev lo"));
            until("checks find it", || state("down"));
            let own = || std::net::TcpStream::connect("10.5.0.2:80").is_ok();
            assert!(site.net.inside("lb0", own), "its own address answers");
            let reason = backend()["reason"].to_string();
            assert!(reason.contains(&format!("{shown} through {encap}: no answer")), "{reason}");
            assert_eq!(backend()["health"], "down");
            assert!(checks("failed") >= 2.0);
            let who = || site.curl(&[&format!("http://{vip}/who")]);
            let answers: Vec<String> = (0..20).map(|_| who()).collect();
            assert!(answers.iter().all(|answer| !answer.starts_with("b0")), "{answers:?}");
            site.net.ip("b0", &format!("address add {address} dev lo"));
            until("it is back", || state("up"));
            until("it is asked", || who().starts_with("b0").then_some(()));
        }
        penstock.signal(Signal::TERM);
        assert!(penstock.wait().success(), "{}", penstock.errors());
        let words = |words: &[&str]| {
            let output = site.net.program("lb0", "ip").args(words).output().expect("ip runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(!words(&["-o", "link"]).contains("psc-"), "no device is left");
        assert!(!words(&["rule"]).contains("fwmark"), "no rule is left");
    }
}

#[test]
fn a_syn_flood_ends_no_download() {
    if !can_be() {
        return;
    }
    let mut site = Site::new(1);
    site.decapsulate();
    let penstock = site.start("lb0", &site.config("lb0", "dsr", &BACKENDS, ""));
    let under_way = downloads(&site, 20);
    until_established(&[&penstock], 20);
    let packets = || {
        let vips = penstock.json("/v1/services")[0]["vips"].clone();
        let vips = vips.as_array().expect("a list").iter();
        VIPS.map(|vip| -> u64 {
            let own = vips.clone().filter(|one| one["address"] == format!("{vip}:80"));
            own.map(|one| one["packets"].as_u64().expect("a number")).sum()
        })
    };
    let (before, mut seed, mut sent) = (packets(), 1, 0);
    // Of each family half. What the downloads acknowledge counts as well, so what is sent has to.
    let have_come = |now: [u64; 2]| (0..2).all(|family| now[family] - before[family] >= 100_000);
    while sent < 200_000 || !have_come(packets()) {
        let (next, more) = site.net.inside("client", move || flood(seed, 5_000));
        (seed, sent) = (next, sent + more);
    }
    // The table of new flows is full by then, and both the log and the metrics say so.
    until("the log tells of the full table", || {
        site.net.inside("client", || flood(2, 5_000));
        penstock.errors().contains("a table of flows is nearly full").then_some(())
    });
    let entries = |what: &str| penstock.metric(&format!("penstock_flow_{what}{{table=\"new\"}}"));
    assert!(entries("entries") >= 0.6 * entries("entries_max"), "{}", entries("entries"));
    assert_eq!(entries("entries_max"), 8_192.0);
    all_whole(under_way);
    assert_eq!(site.curl(&["http://10.9.0.10/who"]).split(' ').nth(1), Some("10.1.0.2\n"));
}
