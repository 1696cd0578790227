//! Configs in, tables out.

use std::time::Duration;

use penstock_balance::FleetSeed;
use penstock_env::Time;
use penstock_l4::value::VipKey;

use super::Change;
use super::assign::Assignment;
use super::plan::{BadPlan, Plan, address_of};
use super::running::Layer4;
use world::{FOUR, THREE, facts, parse, planned, put, running, seed, site, sound};

mod care;
mod detour;
mod refused;
mod ways;
mod world;

#[test]
fn no_change_leads_a_packet_to_nothing() {
    let mut layer4 = sound();
    let steps = [
        site(THREE),
        site(FOUR),
        site("\"10.1.0.3\", \"fd01::1\", \"fd01::2\""),
        // Every set of backends at once.
        site("\"10.1.0.7\", \"fd01::7\""),
        parse(
            "[service.x]\nvip = \"10.9.0.1\"\nports = \"tcp/80\"\nmode = \"dsr\"\nto = \"c\"\n\
             interface = [\"eth0\", \"eth1\"]\n[cluster.c]\nendpoints = [\"10.1.0.7\"]\n\
             [runtime.layer4]\nsources = [{ from = \"192.0.2.0/24\", action = \"deny\" }]\n",
        ),
        site(THREE),
    ];
    // `Pretended::check` holds every single one to it.
    for config in &steps {
        put(&mut layer4, config);
    }
    let running = running(&layer4);
    assert_eq!(running.plan.interfaces, ["eth0"]);
    assert_eq!(running.assignment.vips.len(), 5);
    assert_eq!(running.plan.sources, []);
}

#[test]
fn what_stays_keeps_its_number_and_what_goes_gives_it_a_new_generation() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let vips = |layer4: &Layer4| running(layer4).assignment.vips.clone();
    let vip = |layer4: &Layer4, number| *running(layer4).assignment.vip(number).expect("one");
    let key = VipKey::new(address_of("10.9.0.3".parse().expect("an address")), 443_u16.to_be(), 6);
    let (before, number) = (vips(&layer4), vips(&layer4)[&key]);
    let generation = vip(&layer4, number).generation;
    put(&mut layer4, &site(FOUR));
    assert_eq!(vips(&layer4), before);
    assert_eq!(vip(&layer4, number).generation, generation, "its flows go on");
    let alone = "[service.d]\nvip = \"10.9.0.4\"\nports = \"tcp/443\"\nmode = \"dsr\"\n\
                 interface = \"eth0\"\nto = \"c\"\n[cluster.c]\nendpoints = [\"10.1.0.1\"]\n";
    put(&mut layer4, &parse(alone));
    let mode_before = running(&layer4).assignment.vip(number).expect("it was one");
    assert_ne!(mode_before.generation, generation, "its flows have ended");
    let nat = alone.replace("dsr", "nat");
    let key = *vips(&layer4).keys().next().expect("one VIP");
    let before = vip(&layer4, vips(&layer4)[&key]);
    put(&mut layer4, &parse(&nat));
    let after = vip(&layer4, vips(&layer4)[&key]);
    assert_ne!((before.mode, before.generation), (after.mode, after.generation));
    assert_ne!(before.generation, after.generation, "another mode ends flows");
}

#[test]
fn a_backend_that_goes_drains_and_takes_its_place_again_when_it_comes_back() {
    let mut layer4 = sound();
    put(&mut layer4, &site(FOUR));
    let of = |layer4: &Layer4, ip: &str| {
        let address = address_of(ip.parse().expect("an address"));
        let all = running(layer4).assignment.backends.clone();
        all.into_iter().filter(|(key, _)| key.address == address).map(|(_, one)| one).collect()
    };
    let before: Vec<_> = of(&layer4, "10.1.0.3");
    assert_eq!(before.iter().filter(|one| one.drains).count(), 0);
    put(&mut layer4, &site(THREE));
    let gone: Vec<_> = of(&layer4, "10.1.0.3");
    assert!(!gone.is_empty() && gone.iter().all(|one| one.drains));
    let view = running(&layer4).packets_view("d", &seed(), None);
    let states: Vec<_> = view.backends.iter().map(|one| (&*one.address, one.state)).collect();
    assert!(states.contains(&("10.1.0.3", "draining")), "{states:?}");
    put(&mut layer4, &site(FOUR));
    assert_eq!(of(&layer4, "10.1.0.3"), before);
    // Weight 0 drains as well.
    put(&mut layer4, &site(&format!("{THREE}, {{ address = \"10.1.0.3\", weight = 0 }}")));
    assert!(of(&layer4, "10.1.0.3").iter().all(|one| one.drains));
    // And is forgotten when no packet came for as long as a flow may be silent.
    let at = |seconds| Time::default() + Duration::from_secs(seconds);
    layer4.tend(at(100));
    layer4.tend(at(699));
    assert_eq!(of(&layer4, "10.1.0.3").len(), before.len());
    layer4.tend(at(701));
    assert!(of(&layer4, "10.1.0.3").is_empty());
    put(&mut layer4, &site(FOUR));
    let again: Vec<_> = of(&layer4, "10.1.0.3");
    assert!(again.iter().zip(&before).all(|(one, before)| one != before), "a new generation");
}

#[test]
fn a_restart_finds_the_numbers_that_flows_know() {
    let mut first = sound();
    put(&mut first, &site(FOUR));
    put(&mut first, &site(THREE));
    let kept = running(&first).datapath.kept().expect("they say");
    let adopted = Assignment::adopt(kept);
    let plan = planned(&site(THREE)).expect("a plan").expect("services");
    let (next, changes) = adopted.change(&plan).expect("room");
    let assignment = &running(&first).assignment;
    assert_eq!((&next.vips, &next.backends), (&assignment.vips, &assignment.backends));
    for number in next.vips.values() {
        let generation = |of: &Assignment| of.vip(*number).map(|vip| vip.generation);
        assert_eq!(generation(&next), generation(assignment));
    }
    let touched = changes.iter().filter(|change| matches!(change, Change::Backend(..)));
    assert_eq!(touched.count(), 0);
    // A process that comes with another config takes away what it does not know.
    let other = planned(&site("\"10.1.0.1\", \"fd01::1\""));
    let mut plan = other.expect("a plan").expect("services");
    plan.vips.retain(|vip| vip.service == "d");
    let (next, _) = adopted.change(&plan).expect("room");
    assert_eq!(next.vips.len(), 1);
}

#[test]
fn the_appliance_answers_by_an_address_of_its_interface() {
    let plan = planned(&site(THREE)).expect("a plan").expect("services");
    // Not 10.9.0.1, which is a VIP.
    let own = address_of("10.0.0.2".parse().expect("an address"));
    assert_eq!(plan.settings.pool_v4.address, own);
    assert_eq!(plan.settings.tunnel_v4, own);
    assert_eq!(plan.settings.pool_v4.lane_ports, 22_528 / 4);
    let service = "[service.n]\nvip = \"fd09::1\"\nports = \"tcp/80\"\nmode = \"nat\"\nto = \"c\"\n\
                   interface = \"v4\"\n[cluster.c]\nendpoints = [\"fd01::1\"]\n";
    let refused = |text: &str| planned(&parse(text)).expect_err("not so");
    assert_eq!(
        refused(service).to_string(),
        "service.n: v4 has no IPv6 address that packets to backends could be from: give it one, or \
         set runtime.layer4.nat"
    );
    let told = format!("{service}[runtime.layer4]\nnat = \"fd00::7\"\nnat_ports = \"1000-1002\"\n");
    assert!(matches!(refused(&told), BadPlan::TooFewPorts { ports: 3, lanes: 4 }));
    let plan = planned(&parse(&told.replace("1002", "1999")));
    let plan = plan.expect("a plan").expect("services");
    assert_eq!(plan.settings.pool_v6.address, address_of("fd00::7".parse().expect("an address")));
}

#[test]
fn appliances_with_the_same_config_have_the_same_table() {
    let (mut first, mut second) = (sound(), sound());
    put(&mut first, &site(FOUR));
    put(&mut first, &site(THREE));
    // Another history, and another order.
    put(&mut second, &site("\"fd01::1\", \"10.1.0.2\", \"10.1.0.1\""));
    let sum = |layer4: &Layer4| running(layer4).checksum(&seed());
    assert_eq!(sum(&first), sum(&second));
    let of = |layer4: &Layer4, name: &str| running(layer4).packets_view(name, &seed(), None).table;
    assert_eq!(of(&first, "d"), of(&second, "d"));
    assert_ne!(of(&first, "d"), of(&first, "n"));
    put(&mut second, &site(FOUR));
    assert_ne!(sum(&first), sum(&second), "one has a backend more");
    let other = Plan::of(&site(THREE), &FleetSeed::new("other"), &facts(&site(THREE)));
    let other = other.expect("a plan").expect("services");
    assert_ne!(other.checksum(None, &FleetSeed::new("other")), sum(&first), "the seed is another");
}

#[test]
fn counts_are_of_who_has_the_number() {
    let mut layer4 = sound();
    put(&mut layer4, &site(THREE));
    let view = running(&layer4).packets_view("n", &seed(), None);
    assert_eq!(view.vips.len(), 4);
    assert!(view.vips.iter().all(|vip| vip.packets == 0), "7 were of somebody else");
    assert!(view.backends.iter().all(|one| one.packets == 0 && one.flows.is_none()));
}

#[test]
fn what_tables_have_no_room_for_is_refused_by_number() {
    let service = |number: usize| {
        format!(
            "[service.s{number}]\nvip = \"10.9.{}.{}\"\nports = \"tcp/80\"\nmode = \"dsr\"\n\
             interface = \"eth0\"\nto = \"c{number}\"\n[cluster.c{number}]\n\
             endpoints = [\"10.1.{0}.{1}\"]\n",
            number / 250,
            number % 250 + 1
        )
    };
    let text: String = (0..64).map(service).collect();
    let error = planned(&parse(&text)).expect_err("64 sets");
    let expected = "64 sets of backends of services in `nat` and `dsr`: at most 63";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn flows_leave_who_is_down_by_transport_and_a_restart_knows_who_was() {
    for (line, expected) in [
        ("", [false, true]),
        ("move_when_down = \"all\"\n", [true, true]),
        ("move_when_down = \"none\"\n", [false, false]),
    ] {
        let text = format!(
            "[service.d]\nvip = \"10.9.0.3\"\nports = [\"tcp/53\", \"udp/53\"]\n{line}\
             mode = \"dsr\"\ninterface = \"eth0\"\nto = \"c\"\n[cluster.c]\n\
             endpoints = [\"10.1.0.1\", \"10.1.0.2\"]\n"
        );
        let mut layer4 = sound();
        let ip = "10.1.0.2".parse().expect("an address");
        let down = [(0, penstock_env::Address::Ip(std::net::SocketAddr::new(ip, 0)))];
        let well = parse(&text.replace(", \"10.1.0.2\"", ""));
        put(&mut layer4, &parse(&text));
        layer4.apply(&well, &down, &seed()).unwrap_or_else(|error| panic!("{error}"));
        let kept = running(&layer4).datapath.kept().expect("they say");
        let moves: Vec<bool> = kept.vips.iter().map(|(_, vip)| vip.moves != 0).collect();
        assert_eq!(moves, expected, "{line}");
        let adopted = Assignment::adopt(kept);
        assert_eq!(adopted.backends, running(&layer4).assignment.backends);
        let failed: Vec<bool> = adopted.backends.values().map(|one| one.failed).collect();
        assert_eq!(failed, [false, true]);
    }
}
