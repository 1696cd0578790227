//! A datapath under the control side: who gets no flows, what a refused config leaves, and what
//! becomes of it when its interfaces go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use penstock_env::Time;
use penstock_l4::{Kept, MAGLEV_SLOTS};

use super::world::{Machine, Pretended, machine, meaning, running};
use crate::tests::{control_over, control_refusing};
use crate::{Control, Refused};

const TWO: &str = "[runtime]\nshards = 1\n[service.d]\nvip = \"10.9.0.3\"\nports = \"tcp/443\"\n\
                   mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c\"\n[cluster.c]\n\
                   endpoints = [\"10.1.0.1\", \"10.1.0.2\"]\nhealth = { tcp = 443 }\n";

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("penstock-{name}-{}.toml", std::process::id()))
}

fn states(control: &Control) -> Vec<&'static str> {
    let view = running(&control.layer4).packets_view("d", &control.snapshot().seed, None);
    view.backends.iter().map(|one| one.state).collect()
}

#[test]
fn a_config_that_shards_refuse_takes_nothing_from_the_datapath() {
    let path = path("shards-refuse");
    let second = TWO.replace("service.d", "service.e").replace("10.9.0.3", "10.9.0.4");
    let second = &second[second.find("[service").expect("it is there")..];
    let second = &second[..second.find("[cluster").expect("it is there")];
    let both = format!("{TWO}{second}");
    let mut control = control_refusing(&path, &both, Box::new(machine()));
    let before = (meaning(&control.layer4), control.layer4.generations());
    for other in [
        // A VIP less, another mode, and no service at all.
        TWO.to_owned(),
        both.replacen("\"dsr\"", "\"nat\"", 1),
        "[runtime]\nshards = 1\n".to_owned(),
    ] {
        std::fs::write(&path, &other).expect("written");
        assert!(matches!(control.reload(), Err(Refused::Shards(_))), "{other}");
        assert_eq!((meaning(&control.layer4), control.layer4.generations()), before, "{other}");
    }
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_restart_sends_no_new_flows_to_who_was_down() {
    let path = path("restart-down");
    let mut control = control_over(&path, TWO, Box::new(machine()));
    let endpoints = |control: &Control, place: usize| {
        control.snapshot().clusters[0].balancer.endpoints()[place].clone()
    };
    endpoints(&control, 1).load().health().set_probed(false);
    control.look_at_health();
    assert_eq!(states(&control), ["up", "down"]);
    let kept = running(&control.layer4).datapath.kept().expect("they say");
    let mut again = control_over(&path, TWO, Box::new(Machine { left: left(kept), ..machine() }));
    assert_eq!(states(&again), ["up", "down"]);
    again.look_at_health();
    assert_eq!(states(&again), ["up", "down"]);
    // Until checks say otherwise.
    endpoints(&again, 1).load().health().set_probed(true);
    again.look_at_health();
    assert_eq!(states(&again), ["up", "up"]);
    // Where nobody checks nobody would.
    let text = TWO.replace("health = { tcp = 443 }\n", "");
    let kept = running(&control.layer4).datapath.kept().expect("they say");
    let again = control_over(&path, &text, Box::new(Machine { left: left(kept), ..machine() }));
    assert_eq!(states(&again), ["up", "up"]);
    std::fs::remove_file(path).expect("removed");
}

/// Tables as a process left them.
fn left(kept: Kept) -> Pretended {
    let Kept { services, vips, backends, sources } = kept;
    assert!(sources.is_empty());
    let nobody: Arc<[u32]> = vec![u32::MAX; MAGLEV_SLOTS as usize].into();
    Pretended {
        maglevs: vips.iter().map(|(_, vip)| (vip.maglev, Arc::clone(&nobody))).collect(),
        services: services.into_iter().collect(),
        vips: vips.into_iter().collect(),
        backends: backends.into_iter().collect(),
        ..Pretended::default()
    }
}

#[test]
fn an_interface_that_goes_is_told_of_and_one_that_comes_is_taken() {
    let (path, machine) = (path("interface"), machine());
    let (eth0, dead) = (Arc::clone(&machine.eth0), Arc::clone(&machine.dead));
    let mut control = control_over(&path, TWO, Box::new(machine));
    let look = |control: &mut Control| {
        control.layer4.care.next_look = Time::default();
        control.look_after_datapath();
        let up = control.metrics().contains("\npenstock_datapath_up 1\n");
        let fails = control.status().datapath_fails;
        assert_eq!(up, fails.is_none());
        (control.is_ready(), fails)
    };
    assert_eq!(look(&mut control), (true, None));
    eth0.store(0, Relaxed);
    assert_eq!(look(&mut control), (false, Some("there is no interface eth0".to_owned())));
    // Who is down is left out all the same.
    control.snapshot().clusters[0].balancer.endpoints()[1].load().health().set_probed(false);
    control.look_at_health();
    assert_eq!(states(&control), ["up", "down"]);
    eth0.store(7, Relaxed);
    assert_eq!(look(&mut control), (true, None));
    assert_eq!(running(&control.layer4).plan.interfaces, ["eth0"]);
    assert_eq!(states(&control), ["up", "down"]);
    // It may be made anew between two looks.
    eth0.store(8, Relaxed);
    assert_eq!(look(&mut control), (true, None));
    // And a device can be taken away from the lanes that read it.
    dead.store(true, Relaxed);
    eth0.store(0, Relaxed);
    let (ready, why) = look(&mut control);
    assert!(!ready && why.expect("a reason").contains("there is no eth0"));
    assert!(!control.is_ready());
    eth0.store(9, Relaxed);
    assert_eq!(look(&mut control), (true, None));
    // New tables never knew of who is down.
    assert_eq!(states(&control), ["up"]);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn new_flows_pass_by_endpoints_that_checks_find_down_unless_all_are() {
    let path = path("fallen");
    let mut control = control_over(&path, TWO, Box::new(machine()));
    let say = |control: &mut Control, states: [bool; 2]| {
        let cluster = &control.snapshot().clusters[0];
        for (endpoint, up) in cluster.balancer.endpoints().iter().zip(states) {
            endpoint.load().health().set_probed(up);
        }
        control.look_at_health();
    };
    let check = |control: &mut Control, health: [bool; 2], expected: [&str; 2]| {
        say(control, health);
        assert_eq!(states(control), expected);
    };
    check(&mut control, [true, true], ["up", "up"]);
    check(&mut control, [false, true], ["down", "up"]);
    // A new config brings nobody back.
    std::fs::write(&path, TWO.replace("tcp/443", "tcp/444")).expect("written");
    control.reload().expect("it is in force");
    assert_eq!(states(&control), ["down", "up"]);
    // With nobody to go to instead, both may as well be tried.
    check(&mut control, [false, false], ["up", "up"]);
    check(&mut control, [true, false], ["up", "down"]);
    // Nor does one that lets go of who is down.
    std::fs::write(&path, TWO.replace(", \"10.1.0.2\"", "")).expect("written");
    control.reload().expect("it is in force");
    assert_eq!(states(&control), ["up", "down"]);
    std::fs::remove_file(path).expect("removed");
}
