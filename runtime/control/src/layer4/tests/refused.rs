//! What can't be put in force: flows go on as before.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use penstock_config::Config;

use super::super::running::Layer4;
use super::world::{
    Pretended, THREE, layer4, machine, meaning, parse, put, running, seed, site, sound,
};

#[test]
fn a_change_that_fails_anywhere_changes_nothing() {
    let other = site("\"10.1.0.2\", \"10.1.0.9\", \"fd01::9\"");
    for failing in 1..100 {
        let writes = Arc::new(AtomicUsize::new(usize::MAX));
        let mut layer4 = layer4(&writes, Pretended::default());
        put(&mut layer4, &site(THREE));
        let before = meaning(&layer4);
        let flows = layer4.generations();
        writes.store(failing, Relaxed);
        if layer4.apply(&other, &[], &seed()).is_ok() {
            assert!(failing > 5, "there was nothing to write");
            return;
        }
        // Who was to come may be there, draining; nobody is sent to it.
        let after = meaning(&layer4);
        let lost: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
        assert!(lost.is_empty(), "write {failing}: {lost:?}\n{after}");
        assert_eq!(layer4.generations(), flows, "write {failing}");
        assert_eq!(running(&layer4).plan.interfaces, ["eth0"]);
    }
    panic!("it never ended");
}

/// One VIP goes, four are of another mode, others and a rule come.
fn all_otherwise() -> Config {
    let text = "[service.n]\nvip = [\"10.9.0.1\", \"fd09::1\"]\nports = [\"tcp/80\", \"udp/53\"]\n\
                mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c\"\n\
                [service.x]\nvip = [\"10.9.0.7\", \"fd09::7\"]\nports = \"tcp/443\"\n\
                mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c\"\n\
                [cluster.c]\nendpoints = [\"10.1.0.1\", \"fd01::9\"]\n\
                [runtime.layer4]\nsources = [{ from = \"192.0.2.0/24\", action = \"deny\" }]\n";
    parse(text)
}

#[test]
fn a_change_that_finds_no_room_ends_no_flow() {
    for room in 1..100 {
        let machine = machine();
        let limit = Arc::clone(&machine.room);
        let mut layer4 = Layer4::new(Box::new(machine));
        put(&mut layer4, &site(THREE));
        let (before, flows) = (meaning(&layer4), layer4.generations());
        limit.store(room, Relaxed);
        if layer4.apply(&all_otherwise(), &[], &seed()).is_ok() {
            assert_eq!(room, 6, "a rule, two VIPs and their addresses");
            assert_ne!(layer4.generations(), flows);
            return;
        }
        let after = meaning(&layer4);
        let lost: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
        assert!(lost.is_empty(), "room for {room}: {lost:?}\n{after}");
        assert_eq!(layer4.generations(), flows, "room for {room}");
    }
    panic!("there was never room");
}

#[test]
fn where_old_and_new_have_no_room_beside_each_other_the_old_go_first() {
    let sets = |from: usize| {
        let service = |number: usize| {
            format!(
                "[service.s{number}]\nvip = \"10.9.0.{number}\"\nports = \"tcp/80\"\n\
                 mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c{number}\"\n[cluster.c{number}]\n\
                 endpoints = [\"10.1.0.{number}\"]\n"
            )
        };
        parse(&(from..from + 40).map(service).collect::<String>())
    };
    let mut layer4 = sound();
    put(&mut layer4, &sets(10));
    put(&mut layer4, &sets(60));
    assert_eq!(running(&layer4).assignment.vips.len(), 40);
}

#[test]
fn an_interface_that_takes_no_program_changes_nothing() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let flows = layer4.generations();
    let text = "[service.n]\nvip = \"10.9.0.1\"\nports = \"tcp/80\"\nmode = \"nat\"\nto = \"c\"\n\
                interface = \"eth9\"\n[cluster.c]\nendpoints = [\"10.1.0.1\"]\n";
    let before = meaning(&layer4);
    let error = layer4.apply(&parse(text), &[], &seed()).expect_err("not on eth9");
    assert_eq!(error.to_string(), "eth9 has no native XDP");
    assert_eq!(meaning(&layer4), before);
    // Nor one that is not there.
    let error = layer4.apply(&parse(&text.replace("eth9", "eth7")), &[], &seed()).err();
    let error = error.expect("there is no eth7").to_string();
    assert_eq!(error, "service.n.interface: there is no interface eth7");
    assert_eq!(layer4.generations(), flows, "VIPs that the other config has not are there still");
    // And without services there is no datapath.
    put(&mut layer4, &parse(""));
    assert!(layer4.running.is_none());
}
