//! Two appliances behind a router that learns of them by BGP, with BIRD on all three.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use super::downloads::{all_whole, broken, downloads, established, until_established};
use super::site::{BACKENDS, Site, can_be};
use crate::harness::{Penstock, installed, run, until};

/// What sessions are signed with (RFC 2385): those that are not made from the template get none.
const PASSWORD: &str = "a word of both sides";

/// A site where routes to VIPs come from BIRD alone, and who speaks for each appliance.
struct Fleet {
    appliances: Vec<Penstock>,
    /// The processes of BIRD on the appliances.
    birds: [u32; 2],
    site: Site,
}

impl Fleet {
    /// Two appliances, over these backends each; ready when the router knows both.
    fn start(backends: [&[&str]; 2]) -> Fleet {
        let mut site = Site::new(2);
        site.decapsulate();
        // What was there before BGP.
        site.net.ip("router", "route del 10.9.0.0/24");
        site.net.ip("router", "-6 route del fd00:9::/64");
        let lbs = ["lb0", "lb1"];
        let kernel = "protocol kernel { merge paths on; ipv4 { export all; }; }\n\
                      protocol kernel { merge paths on; ipv6 { export all; }; }\n";
        let session = |name: &str, family: u8, local: String, remote: String| {
            format!(
                "protocol bgp {name}_v{family} {{ local {local} as 65000; neighbor {remote} as \
                 65010; password \"{PASSWORD}\"; bfd on; connect delay time 1; \
                 connect retry time 1; error wait time 1, 2;\n\
                 ipv{family} {{ import all; export none; }}; }}\n"
            )
        };
        let sessions = lbs.iter().zip(2..).map(|(name, leg)| {
            session(name, 4, format!("10.{leg}.0.1"), format!("10.{leg}.0.2"))
                + &session(name, 6, format!("fd00:{leg}::1"), format!("fd00:{leg}::2"))
        });
        let sessions: String = sessions.collect();
        bird(&mut site, "router", &format!("router id 10.2.0.1;\n{kernel}{sessions}"));
        let template = format!("template bgp uplink {{ password \"{PASSWORD}\"; }}\n");
        let birds = lbs.map(|name| {
            let include = site.path(&format!("{name}.include")).display().to_string();
            bird(&mut site, name, &format!("{template}include \"{include}*\";\n"))
        });
        let appliances = lbs.iter().zip(backends).zip(2..).map(|((lb, backends), leg)| {
            let (include, socket) = (site.path(&format!("{lb}.include")), socket_of(&site, lb));
            let more = format!(
                "[fleet]\nmembers = [\"10.2.0.2\", \"10.3.0.2\"]\n[fleet.bgp]\nasn = 65010\n\
                 template = \"uplink\"\n\
                 router_id = \"10.{leg}.0.2\"\n\
                 peers = [\"10.{leg}.0.1 as 65000\", \"fd00:{leg}::1 as 65000\"]\n\
                 include = \"{}\"\nsocket = \"{}\"",
                include.display(),
                socket.display()
            );
            site.start(lb, &site.config(lb, "dsr", backends, &more))
        });
        let appliances = appliances.collect();
        let fleet = Fleet { appliances, birds, site };
        until("the router knows both", || (fleet.ways() == [2, 2]).then_some(()));
        fleet
    }

    /// By how many ways the router sends to the VIPs, of either family.
    fn ways(&self) -> [usize; 2] {
        ["route show 10.9.0.10", "-6 route show fd00:9::a"].map(|words| {
            let mut ip = self.site.net.program("router", "ip");
            let output = ip.args(words.split(' ')).output().expect("ip runs");
            String::from_utf8_lossy(&output.stdout).matches(" via ").count()
        })
    }

    /// The first appliance is gone without a word: it neither forwards nor speaks, and what is
    /// sent to it is lost.
    fn silence_first(&mut self) {
        self.appliances[0].signal(Signal::KILL);
        self.appliances[0].wait();
        let pins = self.site.pins();
        let detached = run(&["l4", "detach", "--pins", &pins, "--instance", "lb0"]);
        assert!(detached.status.success());
        until("nobody has told the router", || (self.ways() == [2, 2]).then_some(()));
        let bird = Pid::from_raw(self.birds[0].cast_signed()).expect("a process");
        kill_process(bird, Signal::STOP).expect("it runs");
    }
}

/// Starts BIRD in a namespace.
fn bird(site: &mut Site, name: &str, text: &str) -> u32 {
    let config = site.path(&format!("{name}.bird"));
    // On a machine that does much else, closer beats would end sound sessions.
    let head = "protocol device { scan time 1; }\nprotocol bfd { interface \"*\" { \
                interval 300 ms; multiplier 5; }; }\n";
    std::fs::write(&config, format!("{head}{text}")).expect("written");
    let (socket, pid) = (socket_of(site, name), site.path(&format!("{name}.pid")));
    let mut command = site.net.program(name, "bird");
    command.arg("-f").arg("-c").arg(config).arg("-s").arg(&socket).arg("-P").arg(pid);
    let number = site.begin(command);
    until("BIRD answers", || socket.exists().then_some(()));
    number
}

fn socket_of(site: &Site, name: &str) -> PathBuf {
    site.path(&format!("{name}.ctl"))
}

fn can_announce() -> bool {
    can_be() && installed("bird")
}

#[test]
fn the_silent_death_of_one_of_two_ends_no_download() {
    if !can_announce() {
        return;
    }
    let mut fleet = Fleet::start([&BACKENDS, &BACKENDS]);
    let tables = fleet.appliances.iter().map(|one| one.json("/v1/fleet")["table"].clone());
    let tables: Vec<_> = tables.collect();
    assert_eq!(tables[0], tables[1]);
    until("both sessions are shown", || {
        let seen = fleet.appliances[0].json("/v1/fleet");
        let sessions = seen["bgp"]["sessions"].as_array().cloned().unwrap_or_default();
        let up = sessions.iter().filter(|one| one["established"] == true).count();
        (up == 2 && seen["bgp"]["announced"] == true).then_some(())
    });
    let under_way = downloads(&fleet.site, 30);
    until_established(&[&fleet.appliances[0], &fleet.appliances[1]], 30);
    let moved = established(&fleet.appliances[0]);
    assert!(moved > 0, "the first one has no flow, of 30");
    fleet.silence_first();
    until("the router knows of the death", || (fleet.ways() == [1, 1]).then_some(()));
    all_whole(under_way);
    println!("{moved} of 30 downloads moved, 30 of 30 are whole");
}

#[test]
fn where_one_lacks_a_backend_a_death_breaks_downloads() {
    if !can_announce() {
        return;
    }
    let mut fleet = Fleet::start([&BACKENDS, &["b0", "b1"]]);
    let tables = fleet.appliances.iter().map(|one| one.json("/v1/fleet")["table"].clone());
    let tables: Vec<_> = tables.collect();
    assert_ne!(tables[0], tables[1], "the status shows it");
    // Of the half that moves a third is lost: that none of 60 is happens once in
    // more than 10,000 runs.
    let under_way = downloads(&fleet.site, 60);
    until_established(&[&fleet.appliances[0], &fleet.appliances[1]], 60);
    fleet.silence_first();
    let broken = broken(under_way);
    assert!(!broken.is_empty(), "the other test proves nothing");
    println!("{} of 60 downloads broke", broken.len());
}

#[test]
fn a_drain_is_told_to_routers_first_and_ends_no_download() {
    if !can_announce() {
        return;
    }
    let mut fleet = Fleet::start([&BACKENDS, &BACKENDS]);
    let under_way = downloads(&fleet.site, 30);
    until_established(&[&fleet.appliances[0], &fleet.appliances[1]], 30);
    fleet.appliances[0].signal(Signal::TERM);
    assert!(fleet.appliances[0].wait().success(), "{}", fleet.appliances[0].errors());
    until("the router knows of the drain", || (fleet.ways() == [1, 1]).then_some(()));
    let include = std::fs::read_to_string(fleet.site.path("lb0.include")).expect("it is there");
    assert!(!include.contains("\troute "), "{include}");
    let answer = fleet.site.curl(&["http://10.9.0.10/who"]);
    assert!(answer.ends_with(" 10.1.0.2\n"), "{answer}");
    all_whole(under_way);
}
