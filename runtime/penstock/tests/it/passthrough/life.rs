//! The datapath outlives the process, and ends when it is told to; a start that can't be says why.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::ground::peers::{answer, datagrams, echo};
use super::site::{BACKENDS, Site, VIPS, can_be};
use crate::harness::{Folder, Penstock, run, until, write_config};

#[test]
fn a_restart_under_load_loses_no_packet_and_a_detach_leaves_nothing() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    for name in BACKENDS {
        answer(&site.net, name, 8_081, &["[::]:8080"]);
    }
    let config = site.config("lb0", "nat", &BACKENDS, "");
    let mut penstock = site.start("lb0", &config);
    let (answered, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    // Each has one datagram under way and sends none again: one that is lost ends the test.
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (answered, ended) = (answered.clone(), ended.clone());
            site.net.begin("client", move || {
                let socket = datagrams(VIPS[number % 2]);
                for question in 0_u64.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    if !echo(&socket, &question.to_ne_bytes()) {
                        return Err(format!("client {number}: datagram {question} is lost"));
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    // The process that starts meanwhile has to get some of the machine, too.
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        })
        .collect();
    let more = || {
        let before = answered.load(Ordering::Relaxed);
        until("datagrams go on", || {
            (answered.load(Ordering::Relaxed) > before + 500).then_some(())
        });
    };
    for signal in [Signal::TERM, Signal::KILL] {
        more();
        penstock.signal(signal);
        penstock.wait();
        // With nobody there packets are passed on all the same.
        more();
        penstock = site.start("lb0", &config);
        assert!(penstock.errors().contains("those of before go on"), "{}", penstock.errors());
    }
    more();
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("it does not panic").unwrap_or_else(|why| panic!("{why}"));
    }
    assert!(site.attached("lb0").is_some());
    penstock.signal(Signal::TERM);
    penstock.wait();
    let detached = run(&["l4", "detach", "--pins", &site.pins(), "--instance", "lb0"]);
    assert!(detached.status.success(), "{}", String::from_utf8_lossy(&detached.stderr));
    assert_eq!(site.attached("lb0"), None);
    assert_eq!(std::fs::read_dir(site.pins()).map_or(0, Iterator::count), 0);
}

#[test]
fn a_vip_that_goes_is_passed_on_no_more_and_the_last_one_takes_the_program_along() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let both = site.config("lb0", "nat", &BACKENDS, "");
    let penstock = site.start("lb0", &both);
    let who = |vip: &str| format!("http://{vip}/who");
    assert!(site.curl(&[&who(VIPS[0])]).starts_with('b'));
    // A connection that is kept alive, by which the VIP is still known when it has gone.
    let one = both.replace("vip = [\"10.9.0.10\", \"fd00:9::a\"]", "vip = \"fd00:9::a\"");
    assert_ne!(one, both);
    penstock.write(&one);
    assert_eq!(penstock.reload().0, 200);
    assert!(site.curl(&[&who(VIPS[1])]).starts_with('b'));
    let mut gone = site.curl_command(&["--max-time", "2", &who(VIPS[0])]);
    assert!(!gone.output().expect("curl runs").status.success(), "the VIP has gone");
    assert_eq!(penstock.json("/v1/services")[0]["vips"].as_array().map(Vec::len), Some(2));
    penstock.write(&site.layer4("lb0").replace("[runtime.layer4]", "[runtime]\n[runtime.layer4]"));
    assert_eq!(penstock.reload().0, 200);
    assert_eq!(site.attached("lb0"), None);
    assert_eq!(std::fs::read_dir(site.pins()).map_or(0, Iterator::count), 0);
    // And it comes again.
    penstock.write(&both);
    assert_eq!(penstock.reload().0, 200);
    assert!(site.curl(&[&who(VIPS[0])]).starts_with('b'));
}

#[test]
fn a_start_that_cannot_be_says_what_is_missing() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let config = site.config("lb0", "nat", &BACKENDS, "");
    let config = config.replace("pin = false", "pin = false\ndatapath = \"xdp\"");
    let start = |config: &str, by: &[&str]| {
        let folder = Folder::new();
        write_config(&folder, config);
        let mut command = site.net.program("lb0", by[0]);
        command.args(&by[1..]).arg(folder.join("penstock.toml"));
        let output = command.output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let program = env!("CARGO_BIN_EXE_penstock");
    let refused = |config: &str, by: &[&str], expected: &str| {
        let (started, errors) = start(config, by);
        assert!(!started && errors.contains(expected), "{expected}: {errors}");
        assert_eq!(site.attached("lb0"), None);
    };
    refused(
        &config.replace("eth0", "eth7"),
        &[program, "run"],
        "service.s.interface: there is no interface eth7",
    );
    refused(
        &config.replace("interface = \"eth0\"", "interface = [\"eth0\", \"lo\"]"),
        &[program, "run"],
        "the driver of lo has no native XDP",
    );
    for (without, name) in [("-bpf,-sys_admin", "CAP_BPF"), ("-net_admin", "CAP_NET_ADMIN")] {
        let by = ["setpriv", "--bounding-set", without, "--inh-caps", without, program, "run"];
        refused(&config, &by, &format!("{name} is missing"));
    }
    let folder = Folder::new();
    write_config(&folder, &config.replace("eth0", "eth7"));
    let mut check = Command::new(program);
    let output = check.arg("check").arg(folder.join("penstock.toml")).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "another machine may be meant: {text}");
    let expected = "on this machine: service.s.interface: there is no interface eth7";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn without_a_capability_auto_serves_by_tun_says_so_and_leaves_nothing() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    // Addresses that are routed here, and are no interface's.
    let own = "nat = [\"10.9.0.1\", \"fd00:9::1\"]\nflows = 16384";
    let config = site.config("lb0", "nat", &BACKENDS, "").replace("flows = 16384", own);
    let folder = Folder::new();
    write_config(&folder, &config);
    let mut command = site.net.program("lb0", "setpriv");
    let without = "-bpf,-sys_admin";
    command.args(["--bounding-set", without, "--inh-caps", without]);
    command.arg(env!("CARGO_BIN_EXE_penstock"));
    let mut penstock = Penstock::start_by(command, folder);
    assert_eq!(site.attached("lb0"), None);
    let errors = penstock.errors();
    assert!(errors.contains("by TUN in place of XDP: CAP_BPF is missing"), "{errors}");
    for (vip, own) in VIPS.into_iter().zip(["10.9.0.1", "fd00:9::1"]) {
        let answer = site.curl(&[&format!("http://{vip}/who")]);
        assert!(answer.starts_with('b') && answer.ends_with(&format!(" {own}\n")), "{answer}");
    }
    let service = &penstock.json("/v1/services")[0];
    assert_eq!(service["datapath"], "tun");
    let carried = service["vips"].as_array().expect("a list");
    assert!(carried.iter().any(|vip| vip["return_packets"].as_u64() > Some(0)), "{service:#}");
    penstock.signal(Signal::TERM);
    assert!(penstock.wait().success(), "{}", penstock.errors());
    let left = site.net.program("lb0", "ip").args(["-o", "link"]).output().expect("ip runs");
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert_eq!(left.lines().count(), 2, "lo and eth0 alone: {left}");
    let left = site.net.program("lb0", "ip").args(["route", "show", "10.9.0.10"]).output();
    assert!(left.expect("ip runs").stdout.is_empty());
}
