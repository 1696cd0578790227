//! The control thread and a BIRD that only plays one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::bird;
use crate::tests::control_of;
use crate::{Control, ControlThread};

/// A folder of one test.
struct Scene {
    folder: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("penstock-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Scene { folder }
    }

    fn config(&self, include: &str, networks: &str) -> String {
        let folder = self.folder.display();
        format!(
            "[runtime]\nshards = 1\n[fleet.bgp]\nasn = 65010\nrouter_id = \"10.0.0.2\"\n\
             peers = \"10.0.0.1\"\nwithdraw_wait = \"200ms\"\nannounce = [{networks}]\n\
             include = \"{folder}/{include}\"\nsocket = \"{folder}/bird.ctl\"\n"
        )
    }

    fn control(&self, config: &str) -> Control {
        control_of(&self.folder.join("penstock.toml"), config)
    }

    /// Plays BIRD: tells what was in the file whenever it was told to read it.
    fn bird(&self, include: &str) -> Receiver<String> {
        let socket = UnixListener::bind(self.folder.join("bird.ctl")).expect("a socket");
        let (sender, told) = channel();
        let file = self.folder.join(include);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let mut writer = stream.try_clone().expect("a descriptor");
                let _ = writer.write_all(b"0001 BIRD 2.0.12 ready.\n");
                let mut command = String::new();
                let _ = BufReader::new(stream).read_line(&mut command);
                let reply: &[u8] = match command.trim() {
                    "configure" => b"0002-Reading configuration\n0003 Reconfigured\n",
                    _ => b"2002-Name\n1002-penstock_1 BGP --- up 10:00:00 Established\n0000 \n",
                };
                if command.trim() == "configure" {
                    let _ = sender.send(fs::read_to_string(&file).unwrap_or_default());
                }
                let _ = writer.write_all(reply);
            }
        });
        told
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(PATIENCE).expect("BIRD is told something")
}

/// Asks until the answer is as it should be.
#[track_caller]
fn until(thread: &ControlThread, is_so: fn(&mut Control) -> bool) {
    let began = Instant::now();
    while !thread.handle().ask_blocking(is_so).expect("an answer") {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_announced_is_taken_back_before_a_drain_begins() {
    let scene = Scene::new("bgp-drain");
    let told = scene.bird("bird.conf");
    let control = scene.control(&scene.config("bird.conf", "\"203.0.113.0/24\""));
    let thread = ControlThread::start(control, Vec::new()).expect("a thread");
    assert!(next(&told).contains("\troute 203.0.113.0/24 blackhole;\n"));
    until(&thread, |control| {
        let bgp = control.fleet_view().bgp.expect("it was configured");
        bgp.announced && bgp.sessions[0].established
    });
    let began = Instant::now();
    thread.handle().ask_blocking(Control::drain).expect("told");
    assert_eq!(thread.handle().ask_blocking(|control| control.is_ready()), Ok(false));
    assert!(!next(&told).contains("route 203.0.113.0"));
    assert_eq!(thread.join().expect("an end").cut, 0);
    assert!(began.elapsed() >= Duration::from_millis(200), "routers had no time to hear of it");
}

#[test]
fn another_file_and_none_at_all_leave_no_route_behind() {
    let scene = Scene::new("bgp-moved");
    let told = scene.bird("old.conf");
    let path = scene.folder.join("penstock.toml");
    let control = scene.control(&scene.config("old.conf", "\"203.0.113.0/24\""));
    let thread = ControlThread::start(control, Vec::new()).expect("a thread");
    assert!(next(&told).contains("route 203.0.113.0"));
    let reload = |path: &Path, text: &str| {
        fs::write(path, text).expect("written");
        let reloaded = thread.handle().ask_blocking(|control| control.reload().is_ok());
        assert_eq!(reloaded, Ok(true));
    };
    reload(&path, &scene.config("new.conf", "\"203.0.113.0/24\""));
    // First the old file, then the new one; BIRD reads both times.
    assert!(!next(&told).contains("route"));
    assert!(!next(&told).contains("route"));
    let new = scene.folder.join("new.conf");
    assert!(fs::read_to_string(&new).is_ok_and(|text| text.contains("route 203.0.113.0")));
    reload(&path, "[runtime]\nshards = 1\n");
    next(&told);
    assert!(fs::read_to_string(&new).is_ok_and(|text| !text.contains("route")));
}

#[test]
fn a_bird_that_is_not_there_is_named_and_told_when_it_comes() {
    let scene = Scene::new("bgp-late");
    let control = scene.control(&scene.config("bird.conf", "\"2001:db8::/48\""));
    let thread = ControlThread::start(control, Vec::new()).expect("a thread");
    until(&thread, |control| {
        let failure = control.fleet_view().bgp.and_then(|bgp| bgp.failure);
        failure.is_some_and(|why| why.contains("bird.ctl"))
    });
    let metrics = thread.handle().ask_blocking(|control| control.metrics()).expect("metrics");
    assert!(metrics.contains("penstock_bgp_networks_announced 0"), "{metrics}");
    let told = scene.bird("bird.conf");
    assert!(next(&told).contains("route 2001:db8::/48 blackhole"));
    until(&thread, |control| control.fleet_view().bgp.is_some_and(|bgp| bgp.failure.is_none()));
}

#[test]
fn who_has_nobody_up_leaves_the_clients_to_another_site() {
    let (scene, nobody) =
        (Scene::new("bgp-down"), TcpListener::bind("127.0.0.1:0").expect("bound"));
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let told = scene.bird("bird.conf");
    let config = scene.config("bird.conf", "\"203.0.113.0/24\", \"198.51.100.0/24\"")
        + "withdraw_when_down = true\n[service.a]\nvip = \"203.0.113.10\"\nports = \"tcp/80\"\n"
        + "to = \"app\"\n[cluster.app]\nhealth = { interval = \"100ms\", fall = 1, rise = 1 }\n"
        + &format!("endpoints = [\"{address}\"]\n");
    let thread = ControlThread::start(scene.control(&config), Vec::new()).expect("a thread");
    // What no VIP lies in goes on.
    let said = |announced: bool| loop {
        let text = next(&told);
        assert!(text.contains("route 198.51.100.0/24"), "{text}");
        if text.contains("route 203.0.113.0") == announced {
            return;
        }
    };
    said(false);
    until(&thread, |control| {
        let bgp = control.fleet_view().bgp.expect("it was configured");
        bgp.announced && bgp.withheld == ["203.0.113.0/24"] && bgp.networks.len() == 2
    });
    let _back = TcpListener::bind(address).expect("bound again");
    said(true);
    until(&thread, |control| control.fleet_view().bgp.is_some_and(|bgp| bgp.withheld.is_empty()));
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_bird_that_accepts_nothing_keeps_nobody() {
    let scene = Scene::new("bgp-stuck");
    let path = scene.folder.join("bird.ctl");
    // Nobody accepts, and there is room for hardly any who wait for that.
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let stuck = socket_with(AddressFamily::UNIX, kind, flags, None).expect("a socket");
    bind(&stuck, &SocketAddrUnix::new(&path).expect("a path")).expect("bound");
    listen(&stuck, 1).expect("it listens");
    let waiting: Vec<_> = std::iter::from_fn(|| bird::connect(&path).ok()).take(100).collect();
    assert!(waiting.len() < 100, "they are accepted");
    let began = Instant::now();
    let error = bird::configure(&path).expect_err("it is stuck").to_string();
    assert!(error.ends_with("it accepts no connections"), "{error}");
    let control = scene.control(&scene.config("penstock.conf", "\"203.0.113.0/24\""));
    let thread = ControlThread::start(control, Vec::new()).expect("a thread");
    until(&thread, |control| control.bgp_failures() > 0);
    thread.handle().ask_blocking(Control::drain).expect("told");
    thread.join().expect("an end");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
