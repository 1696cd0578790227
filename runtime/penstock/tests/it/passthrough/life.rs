//! The datapath outlives the process, and ends when it is told to; a start that can't be says why.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use super::ground::peers::{answer, datagrams, echo};
use super::site::{BACKENDS, Site, VIPS, can_be};
use super::talk::{ask, connect};
use crate::harness::{Folder, Penstock, run, until, write_config};

#[test]
fn a_restart_under_load_loses_no_packet_and_a_detach_leaves_nothing() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    site.send_again_late();
    for name in BACKENDS {
        answer(&site.net, name, 8_081, &["[::]:8080"]);
    }
    let config = site.config("lb0", "nat", &BACKENDS, "");
    let mut penstock = site.start("lb0", &config);
    let load = Load::begin(&site);
    load.more();
    let sent_again = site.sent_again();
    for signal in [Signal::TERM, Signal::KILL] {
        penstock.signal(signal);
        penstock.wait();
        // With nobody there packets are passed on all the same.
        load.more();
        penstock = site.start("lb0", &config);
        assert!(penstock.errors().contains("those of before go on"), "{}", penstock.errors());
        load.more();
    }
    // A segment that was lost would have been sent again, by whichever end.
    assert_eq!(site.sent_again(), sent_again);
    load.end();
    assert!(site.attached("lb0").is_some());
    penstock.signal(Signal::TERM);
    penstock.wait();
    let detached = run(&["l4", "detach", "--pins", &site.pins(), "--instance", "lb0"]);
    assert!(detached.status.success(), "{}", String::from_utf8_lossy(&detached.stderr));
    assert_eq!(site.attached("lb0"), None);
    assert_eq!(std::fs::read_dir(site.pins()).map_or(0, Iterator::count), 0);
}

/// Clients that ask and ask, over flows that stay: half of them by datagrams, half by TCP.
struct Load {
    clients: Vec<JoinHandle<Result<(), String>>>,
    /// How many questions of each were answered.
    answered: Arc<[AtomicU64; 16]>,
    ended: Arc<AtomicBool>,
}

impl Load {
    fn begin(site: &Site) -> Load {
        let (answered, ended) = (Arc::<[AtomicU64; 16]>::default(), Arc::<AtomicBool>::default());
        let clients = (0..answered.len()).map(|number| {
            let (answered, ended) = (answered.clone(), ended.clone());
            let (transport, vip) = (number / 8, VIPS[number % 2]);
            site.net.begin("client", move || {
                let mut question = asker(transport, vip);
                while !ended.load(Ordering::Relaxed) {
                    question().map_err(|why| format!("client {number} of {vip}: {why}"))?;
                    answered[number].fetch_add(1, Ordering::Relaxed);
                    // The process that starts meanwhile has to get some of the machine, too.
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        });
        Load { clients: clients.collect(), answered, ended }
    }

    /// Waits until some more questions of each client were answered.
    fn more(&self) {
        let before = self.answered.each_ref().map(|count| count.load(Ordering::Relaxed));
        until("questions are answered", || {
            let mut counts = self.answered.iter().zip(before);
            counts.all(|(now, before)| now.load(Ordering::Relaxed) > before + 60).then_some(())
        });
    }

    #[track_caller]
    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("it does not panic").unwrap_or_else(|why| panic!("{why}"));
        }
    }
}

/// One flow to a VIP, by datagrams (0) or TCP (1): what asks a question on it. A datagram is
/// never sent again: one that is lost ends the test.
fn asker(transport: usize, vip: &str) -> Box<dyn FnMut() -> Result<(), String>> {
    if transport == 1 {
        let mut connection = connect(vip);
        return Box::new(move || ask(&mut connection).map(drop).map_err(|error| error.to_string()));
    }
    let (socket, mut question) = (datagrams(vip), 0_u64);
    Box::new(move || {
        question += 1;
        let answered = echo(&socket, &question.to_ne_bytes());
        answered.then_some(()).ok_or_else(|| format!("datagram {question} is lost"))
    })
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
fn a_reload_that_shards_refuse_breaks_no_flow() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    for name in BACKENDS {
        answer(&site.net, name, 8_081, &["[::]:8080"]);
    }
    let config = site.config("lb0", "nat", &BACKENDS, "");
    let penstock = site.start("lb0", &config);
    let load = Load::begin(&site);
    load.more();
    // The VIP is on no interface, so that no shard can listen on it.
    let terminates = config.replace("mode = \"nat\"\ninterface = \"eth0\"", "mode = \"terminate\"");
    assert_ne!(terminates, config);
    for _ in 0..3 {
        penstock.write(&terminates);
        let (status, why) = penstock.reload();
        assert_eq!(status, 422, "{why}");
        assert!(why.contains("cannot listen on"), "{why}");
        load.more();
    }
    load.end();
}

#[test]
fn a_device_or_interface_that_goes_is_told_of_and_put_to_use_again() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let tun = site.config("lb0", "nat", &BACKENDS, "");
    let own = "nat = [\"10.9.0.1\", \"fd00:9::1\"]\nflows = 16384";
    let tun =
        tun.replace("flows = 16384", own).replace("pin = false", "pin = false\ndatapath = \"tun\"");
    let penstock = site.start("lb0", &tun);
    let who = || VIPS.map(|vip| site.curl(&[&format!("http://{vip}/who")]));
    assert!(who().iter().all(|answer| answer.starts_with('b')));
    let links = site.net.program("lb0", "ip").args(["-o", "link"]).output().expect("ip runs");
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    let mut names = links.lines().filter_map(|line| line.split(": ").nth(1));
    let device = names.find(|name| name.starts_with("pst"));
    site.net.ip("lb0", &format!("link del {}", device.expect("a device")));
    until("a new device", || penstock.errors().contains("anew").then_some(()));
    assert!(who().iter().all(|answer| answer.starts_with('b')), "{}", penstock.errors());
    assert_eq!(penstock.metric("penstock_datapath_up"), 1.0);
    drop(penstock);
    // The program's own interface goes, and one by its name comes.
    let penstock = site.start("lb0", &site.config("lb0", "nat", &BACKENDS, ""));
    assert!(who().iter().all(|answer| answer.starts_with('b')));
    site.net.ip("lb0", "link del eth0");
    until("it is not ready", || (penstock.metric("penstock_datapath_up") == 0.0).then_some(()));
    assert_eq!(penstock.json("/v1/status")["ready"], false);
    site.connect_again();
    until("it is ready", || (penstock.metric("penstock_datapath_up") == 1.0).then_some(()));
    assert!(site.attached("lb0").is_some());
    assert!(who().iter().all(|answer| answer.starts_with('b')), "{}", penstock.errors());
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
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("service.s.interface: there is no interface eth7"), "{text}");
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
