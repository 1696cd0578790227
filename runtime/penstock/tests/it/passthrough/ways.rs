//! The way to backends: the appliance's own routes, where they lead by interfaces of services.

use std::collections::BTreeSet;

use super::site::{BACKENDS, Site, VIPS, can_be};

#[test]
fn backends_that_the_router_does_not_know_are_reached_by_other_interfaces() {
    if !can_be() {
        return;
    }
    let site = Site::new(1);
    let mut config = site.config("lb0", "nat", &BACKENDS, "");
    let mut interfaces = "[\"eth0\"".to_owned();
    for (name, leg) in BACKENDS.into_iter().zip(5..) {
        let (door, own) = (format!("to-{name}"), format!("10.1{leg}.0.1/24,fd00:1{leg}::1/64"));
        let theirs = format!("10.1{leg}.0.2/24,fd00:1{leg}::2/64");
        site.net.pair(("lb0", &door, &own), (name, "eth1", &theirs));
        // Answers come back by the same leg.
        site.net.ip(name, &format!("route add 10.2.0.2 via 10.1{leg}.0.1"));
        site.net.ip(name, &format!("-6 route add fd00:2::2 via fd00:1{leg}::1"));
        config = config
            .replace(&format!("10.{leg}.0.2:8080"), &format!("10.1{leg}.0.2:8080"))
            .replace(&format!("[fd00:{leg}::2]"), &format!("[fd00:1{leg}::2]"));
        interfaces += &format!(", \"{door}\"");
    }
    let config = config
        .replace("interface = \"eth0\"", &format!("interface = {interfaces}]"))
        .replace("pin = false", "pin = false\ndatapath = \"xdp\"");
    let _penstock = site.start("lb0", &config);
    for (vip, own) in VIPS.into_iter().zip(["10.2.0.2", "fd00:2::2"]) {
        let url = format!("http://{vip}/who");
        // From the first one on: of these backends the router knows nothing.
        let answers: BTreeSet<String> = (0..40).map(|_| site.curl(&[&url])).collect();
        let expected = BACKENDS.map(|name| format!("{name} {own}\n"));
        assert_eq!(answers, BTreeSet::from(expected), "{vip}");
    }
}
