//! When endpoints fall out, when they come back, and what is left to be picked.

use std::time::Duration;

use penstock_config::{Balance, Outlier};
use penstock_env::{Address, Rng, Time};

use super::{Fault, HealthState, Probe, View};
use crate::{Balancer, EndpointId, EndpointSpec, FleetSeed, UsableSet};

fn balancer(count: u16) -> Balancer {
    let endpoint =
        |port| EndpointSpec { address: Address::Ip(([10, 0, 0, 1], port).into()), weight: 1 };
    let endpoints = (1..=count).map(endpoint).collect();
    Balancer::new(&Balance::RoundRobin, endpoints, &FleetSeed::new("t"), None).expect("few")
}

fn at(ms: u64) -> Time {
    Time::from_ns(1_000_000_000 + ms * 1_000_000)
}

/// Whom a request may try that tried nobody yet.
fn anybody(_: EndpointId) -> bool {
    true
}

/// The first endpoint fails a request; whether that ejects it.
fn fail(balancer: &Balancer, index: usize, fault: Fault, now: Time) -> bool {
    let (id, outlier) = (EndpointId::new(index), Outlier::default());
    let in_flight = balancer.endpoint(id).begin();
    balancer.fail(id, in_flight, fault, &outlier, now, &mut Rng::new(now.as_ns()))
}

fn succeed(balancer: &Balancer, index: usize, now: Time) {
    let endpoint = balancer.endpoint(EndpointId::new(index));
    endpoint.begin().finish(Duration::from_millis(1), now);
}

fn state(balancer: &Balancer, index: usize) -> HealthState {
    balancer.endpoint(EndpointId::new(index)).load().health().state()
}

#[test]
fn three_of_a_kind_in_a_row_eject() {
    for fault in [Fault::Connect, Fault::Answer] {
        let cluster = balancer(3);
        assert!(!fail(&cluster, 0, fault, at(0)) && !fail(&cluster, 0, fault, at(1)));
        succeed(&cluster, 0, at(2));
        assert!(!fail(&cluster, 0, fault, at(3)) && !fail(&cluster, 0, fault, at(4)));
        assert_eq!(state(&cluster, 0), HealthState::Up);
        assert!(fail(&cluster, 0, fault, at(5)));
        assert_eq!(state(&cluster, 0), HealthState::Ejected);
    }
    let cluster = balancer(3);
    for turn in 0..4 {
        let fault = if turn % 2 == 0 { Fault::Connect } else { Fault::Answer };
        assert!(!fail(&cluster, 0, fault, at(turn)), "two of each are not three");
    }
}

#[test]
fn fewer_than_half_of_twenty_in_ten_seconds_eject() {
    let cluster = balancer(3);
    for turn in 0..19 {
        match turn % 2 {
            0 => assert!(!fail(&cluster, 0, Fault::Other, at(turn)), "{turn}"),
            _ => succeed(&cluster, 0, at(turn)),
        }
    }
    assert!(fail(&cluster, 0, Fault::Other, at(19)), "eleven of twenty");
    let cluster = balancer(3);
    for turn in 0..200 {
        match turn % 2 {
            1 => succeed(&cluster, 0, at(turn)),
            _ => assert!(!fail(&cluster, 0, Fault::Other, at(turn * 1_100)), "few in ten seconds"),
        }
    }
}

#[test]
fn half_of_them_may_be_out_and_never_the_last_that_is_up() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (9, 4)] {
        let cluster = balancer(count);
        let mut out = 0;
        for index in 0..usize::from(count) {
            out += (0..6).filter(|_| fail(&cluster, index, Fault::Connect, at(0))).count().min(1);
        }
        assert_eq!(out, most, "of {count}");
        // The others are said to fail, until one of their requests ends well.
        let failing = |index: &usize| state(&cluster, *index) == HealthState::Failing;
        assert_eq!((0..usize::from(count)).filter(failing).count(), usize::from(count) - most);
    }
    // The other one is down: it stays, however it fails.
    let cluster = balancer(2);
    cluster.endpoint(EndpointId::new(1)).load().health().set_probed(false);
    assert!((0..9).all(|_| !fail(&cluster, 0, Fault::Connect, at(0))));
    assert_eq!(state(&cluster, 0), HealthState::Failing);
    let mut view = View::new(&cluster);
    cluster.look(&mut view, &UsableSet::all(2), at(1));
    assert!(view.usable().contains(EndpointId::new(0)) && !view.panics());
    succeed(&cluster, 0, at(2));
    assert_eq!(state(&cluster, 0), HealthState::Up);
}

#[test]
fn one_request_tries_an_ejected_endpoint_and_each_failure_doubles_its_time() {
    let cluster = balancer(2);
    (0..3).for_each(|_| _ = fail(&cluster, 0, Fault::Answer, at(0)));
    let base = UsableSet::all(2);
    let (mut view, mut other) = (View::new(&cluster), View::new(&cluster));
    let mut now = at(0);
    for doublings in 0..8 {
        let whole = Duration::from_secs(10 << doublings).min(Duration::from_secs(300));
        let early = now + whole.mul_f64(0.79);
        assert_eq!(cluster.look_for_trial(&mut view, &base, anybody, early), None);
        assert!(!view.usable().contains(EndpointId::new(0)));
        now = now + whole.mul_f64(1.21);
        // Who only looks, or may not go there, leaves it to the next.
        cluster.look(&mut other, &base, now);
        let another = |id| id != EndpointId::new(0);
        assert_eq!(cluster.look_for_trial(&mut view, &base, another, now), None);
        let trial = cluster.look_for_trial(&mut view, &base, anybody, now);
        assert_eq!(trial, Some(EndpointId::new(0)));
        let second = cluster.look_for_trial(&mut other, &base, anybody, now);
        assert_eq!(second, None, "one is enough");
        assert!(fail(&cluster, 0, Fault::Other, now), "{doublings}");
    }
    now = now + Duration::from_secs(400);
    assert!(cluster.look_for_trial(&mut view, &base, anybody, now).is_some());
    succeed(&cluster, 0, now);
    assert_eq!(state(&cluster, 0), HealthState::Up);
    assert_eq!(cluster.look_for_trial(&mut view, &base, anybody, now), None);
    assert_eq!(view.usable().count(), 2);
    // Well for long: it begins with ten seconds again.
    now = now + Duration::from_secs(301);
    (0..3).for_each(|_| _ = fail(&cluster, 0, Fault::Answer, now));
    now = now + Duration::from_secs(13);
    assert!(cluster.look_for_trial(&mut view, &base, anybody, now).is_some());
}

#[test]
fn requests_from_before_the_ejection_change_nothing() {
    let cluster = balancer(2);
    let endpoint = cluster.endpoint(EndpointId::new(0));
    let (good, bad) = (endpoint.begin(), endpoint.begin());
    (0..3).for_each(|_| _ = fail(&cluster, 0, Fault::Connect, at(0)));
    good.finish(Duration::ZERO, at(1));
    let (id, mut rng) = (EndpointId::new(0), Rng::new(1));
    assert!(!cluster.fail(id, bad, Fault::Connect, &Outlier::default(), at(2), &mut rng));
    assert_eq!(state(&cluster, 0), HealthState::Ejected);
    assert_eq!(endpoint.load().health().ejections(), 1);
}

#[test]
fn requests_that_found_no_other_endpoint_prolong_no_ejection() {
    let cluster = balancer(2);
    (0..3).for_each(|_| _ = fail(&cluster, 0, Fault::Connect, at(0)));
    assert!((1..50).all(|ms| !fail(&cluster, 0, Fault::Connect, at(ms))));
    assert_eq!(cluster.endpoint(EndpointId::new(0)).load().health().ejections(), 1);
    // One tries it when its time is over, which is the first one's; of those that begin behind
    // it none does.
    let (base, now) = (UsableSet::all(2), at(12_100));
    let trial = cluster.look_for_trial(&mut View::new(&cluster), &base, anybody, now);
    assert!(trial.is_some());
    assert!(fail(&cluster, 0, Fault::Connect, now));
    assert!((0..50).all(|_| !fail(&cluster, 0, Fault::Connect, now)));
    assert_eq!(cluster.endpoint(EndpointId::new(0)).load().health().ejections(), 2);
    // One that is answered readmits it, whether it was sent to try it or not.
    succeed(&cluster, 0, at(12_200));
    assert_eq!(state(&cluster, 0), HealthState::Up);
}

#[test]
fn so_few_that_are_well_are_not_left_alone() {
    for (count, down, usable) in [
        (1, 1, 1),
        (2, 1, 1),
        (2, 2, 2),
        (3, 2, 1),
        (3, 3, 3),
        // 30 % of ten are enough, 20 % are not.
        (10, 7, 3),
        (10, 8, 10),
    ] {
        let cluster = balancer(count);
        for index in 0..down {
            cluster.endpoint(EndpointId::new(index)).load().health().set_probed(false);
        }
        let (base, mut view) = (UsableSet::all(usize::from(count)), View::new(&cluster));
        cluster.look(&mut view, &base, at(0));
        let seen = (view.usable().count(), view.panics());
        assert_eq!(seen, (usable, usable == usize::from(count)), "{down} of {count}");
    }
}

#[test]
fn verdicts_outlive_a_reload() {
    let cluster = balancer(2);
    (0..3).for_each(|_| _ = fail(&cluster, 0, Fault::Connect, at(0)));
    let specs = cluster.endpoints().iter().rev();
    let specs = specs.map(|one| EndpointSpec { address: one.address().clone(), weight: 7 });
    let seed = FleetSeed::new("t");
    let next = Balancer::new(&Balance::RoundRobin, specs.collect(), &seed, Some(&cluster));
    let next = next.expect("few");
    assert_eq!(state(&next, 0), HealthState::Ejected);
    assert_eq!(state(&next, 1), HealthState::Up);
}

#[test]
fn checks_need_as_many_in_a_row_as_the_config_says() {
    let mut probe = Probe::new(true);
    let rows = [
        (false, true, false),
        (false, true, false),
        (true, true, false),
        (false, true, false),
        (false, true, false),
        (false, false, true),
        (true, false, false),
        (false, false, false),
        (true, false, false),
        (true, true, true),
    ];
    for (index, (good, up, changes)) in rows.into_iter().enumerate() {
        assert_eq!(probe.observe(good, 3, 2), changes, "{index}");
        assert_eq!(probe.is_up(), up, "{index}");
    }
}

#[test]
fn an_endpoint_rests_for_as_long_as_it_asks_and_may() {
    let (cluster, outlier) = (balancer(3), Outlier::default());
    let base = UsableSet::all(3);
    let (mut view, rest) = (View::new(&cluster), |index, seconds, now| {
        cluster.rest(EndpointId::new(index), Duration::from_secs(seconds), &outlier, now)
    });
    assert!(rest(0, 4, at(0)));
    assert_eq!(state(&cluster, 0), HealthState::Resting);
    // One of three may be out, and no second one.
    assert!(!rest(1, 4, at(0)));
    cluster.look(&mut view, &base, at(3_999));
    assert!(!view.usable().contains(EndpointId::new(0)));
    // It asks for more, and has no more than there is.
    assert!(rest(0, 1_000, at(1_000)));
    cluster.look(&mut view, &base, at(10_999));
    assert_eq!(view.usable().count(), 2);
    let trial = cluster.look_for_trial(&mut view, &base, anybody, at(11_000));
    assert_eq!(trial, None, "nobody has to try it");
    assert_eq!((view.usable().count(), state(&cluster, 0)), (3, HealthState::Up));
    let never = Outlier { retry_after_max: Duration::ZERO, ..Outlier::default() };
    assert!(!cluster.rest(EndpointId::new(0), Duration::from_secs(9), &never, at(12_000)));
}

#[test]
fn the_last_one_has_no_rest() {
    let cluster = balancer(1);
    let asked = Duration::from_secs(4);
    assert!(!cluster.rest(EndpointId::new(0), asked, &Outlier::default(), at(0)));
    assert_eq!(state(&cluster, 0), HealthState::Up);
}
