//! What endpoints' load, the sets and the balancer promise, whatever the algorithm.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use penstock_config::{Balance, HashKey, Ratio};
use penstock_env::{Rng, Time};

use crate::{
    Balancer, BalancerError, ENDPOINTS_MAX, EndpointId, EndpointSpec, FleetSeed, LoadReading, Pick,
    TRIED_MAX, TriedSet, UsableSet,
};

pub(crate) fn specs(weights: &[u16]) -> Vec<EndpointSpec> {
    let each = weights.iter().enumerate().map(|(index, &weight)| EndpointSpec {
        address: format!("10.{}.{}.7:80", index / 250, index % 250).parse().unwrap(),
        weight,
    });
    each.collect()
}

fn balancer(weights: &[u16], previous: Option<&Balancer>) -> Balancer {
    let (balance, seed) = (Balance::LeastRequest, FleetSeed::new("test"));
    Balancer::new(&balance, specs(weights), &seed, previous).unwrap()
}

fn at(ms: u64) -> Time {
    Time::from_ns(ms * 1_000_000)
}

#[test]
fn a_request_in_flight_is_taken_back_however_it_ends() {
    let balancer = balancer(&[1], None);
    let endpoint = &balancer.endpoints()[0];
    endpoint.begin().finish(Duration::from_millis(20), at(1));
    endpoint.begin().fail();
    drop(endpoint.begin());
    let panicking = catch_unwind(AssertUnwindSafe(|| {
        let _in_flight = endpoint.begin();
        panic!("a bug in the proxy");
    }));
    assert!(panicking.is_err());
    let held = endpoint.begin();
    let LoadReading { in_flight, requests, failures, latency } = endpoint.load().read();
    assert_eq!((in_flight, requests, failures), (1, 5, 1));
    assert_eq!(latency.unwrap().as_millis(), 20);
    drop(held);
    assert_eq!(endpoint.load().in_flight(), 0);
}

#[test]
fn counts_are_exact_over_threads() {
    let balancer = balancer(&[1], None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    drop(balancer.endpoints()[0].begin());
                }
            });
        }
    });
    let read = balancer.endpoints()[0].load().read();
    assert_eq!((read.in_flight, read.requests), (0, 40_000));
}

#[test]
fn latency_follows_what_is_new_and_fades_without_it() {
    let balancer = balancer(&[1], None);
    let endpoint = &balancer.endpoints()[0];
    let near = |ms, expected: f32| {
        let found = endpoint.load().latency_us(at(ms)).unwrap() / 1e3;
        assert!((found / expected - 1.0).abs() < 0.02, "{found} ms, should be {expected}");
    };
    assert_eq!(endpoint.load().latency_us(at(0)), None);
    endpoint.begin().finish(Duration::from_millis(100), at(0));
    near(0, 100.0);
    near(5_000, 50.0);
    near(15_000, 12.5);
    // Half a second is a tenth of the half-life: the new sample counts for a twentieth.
    endpoint.begin().finish(Duration::from_millis(300), at(500));
    near(500, 110.0);
    for _ in 0..2_000 {
        endpoint.begin().finish(Duration::from_millis(10), at(500));
    }
    near(500, 10.0);
    // The 32 bits of milliseconds wrap after 49 days.
    let wrap = 1 << 32;
    endpoint.begin().finish(Duration::from_millis(40), at(wrap - 1));
    endpoint.begin().finish(Duration::from_millis(40), at(wrap - 1));
    let before = endpoint.load().latency_us(at(wrap - 1)).unwrap();
    let after = endpoint.load().latency_us(at(wrap)).unwrap();
    assert!((after / before - 1.0).abs() < 0.001, "{before} became {after}");
    endpoint.begin().finish(Duration::from_millis(2 * before as u64 / 1_000), at(wrap + 4_999));
    near(wrap + 4_999, before * 1.5 / 1e3);
}

#[test]
fn endpoints_that_stay_keep_their_load() {
    let before = balancer(&[1, 1, 1], None);
    let in_flight = before.endpoints()[2].begin();
    let after = balancer(&[0, 1, 9, 1], Some(&before));
    let address = before.endpoints()[2].address();
    assert_eq!(after.find(address).unwrap().load().in_flight(), 1);
    assert_eq!(after.find(address).unwrap().weight(), 9);
    drop(in_flight);
    assert_eq!(after.find(address).unwrap().load().in_flight(), 0);
    assert_eq!(after.endpoints()[3].load().read(), LoadReading::default());
    assert!(after.find(&"10.9.9.9:80".parse().unwrap()).is_none());
}

#[test]
fn a_load_that_counts_for_no_cluster_is_begun_anew() {
    let before = balancer(&[1, 1], None);
    let _in_flight = before.endpoints()[0].begin();
    let load_max = Ratio::percent(125);
    let maglev = Balance::Maglev { hash: HashKey::Source, load_max };
    let seed = FleetSeed::new("test");
    let after = Balancer::new(&maglev, specs(&[1, 1]), &seed, Some(&before)).unwrap();
    assert_eq!(after.endpoints()[0].load().in_flight(), 0);
    let _other = after.endpoints()[0].begin();
    let again = Balancer::new(&maglev, specs(&[1, 1]), &seed, Some(&after)).unwrap();
    assert_eq!(again.endpoints()[0].load().in_flight(), 1);
}

#[test]
fn the_list_is_sorted_and_without_doubles() {
    let mut doubled = specs(&[1, 2, 3]);
    doubled.reverse();
    doubled.extend(specs(&[5]));
    let seed = FleetSeed::new("test");
    let balancer = Balancer::new(&Balance::Random, doubled, &seed, None).unwrap();
    let weights: Vec<u32> = balancer.endpoints().iter().map(super::Endpoint::weight).collect();
    assert_eq!(weights, [5, 2, 3]);

    let many = specs(&vec![1; ENDPOINTS_MAX + 1]);
    let refused = Balancer::new(&Balance::Random, many, &seed, None);
    let count = ENDPOINTS_MAX + 1;
    assert_eq!(refused.err(), Some(BalancerError::TooManyEndpoints { count }));
}

#[test]
fn no_endpoint_is_picked_where_there_is_none() {
    let mut rng = Rng::new(5);
    for weights in [&[][..], &[0, 0]] {
        let balancer = balancer(weights, None);
        let mut state = balancer.shard_state(&mut rng);
        let (usable, tried) = (UsableSet::all(weights.len()), TriedSet::default());
        let pick = Pick { key: None, usable: &usable, tried: &tried, now: at(0) };
        assert_eq!(balancer.pick(&pick, &mut rng, &mut state), None);
    }
}

#[test]
fn a_usable_set_counts_and_ranks_its_bits() {
    let (mut set, mut rng, mut model) = (UsableSet::none(200), Rng::new(1), vec![false; 200]);
    let all = UsableSet::all(200);
    assert_eq!(all.count(), 200);
    for _ in 0..2_000 {
        let (index, usable) = (rng.below(200) as usize, rng.below(2) == 1);
        set.set(EndpointId::new(index), usable);
        model[index] = usable;
        let ids: Vec<usize> = (0..200).filter(|&index| model[index]).collect();
        assert_eq!(set.count(), ids.len());
        assert_eq!(set.count_with(&all), ids.len());
        let rank = rng.below(200) as usize;
        let found = set.nth_with(&all, rank).map(EndpointId::index);
        assert_eq!(found, ids.get(rank).copied());
        assert_eq!(set.contains(EndpointId::new(index)), usable);
    }
}

#[test]
fn a_tried_set_forgets_the_oldest_when_full() {
    let mut tried = TriedSet::default();
    for index in (0..=TRIED_MAX).chain(3..6) {
        tried.insert(EndpointId::new(index));
    }
    assert_eq!(tried.count(), TRIED_MAX);
    assert!(!tried.contains(EndpointId::new(0)));
    assert!((1..=TRIED_MAX).all(|index| tried.contains(EndpointId::new(index))));
}

#[test]
fn hashes_are_keyed_and_never_change() {
    let (prod, test) = (FleetSeed::new("prod-2026"), FleetSeed::new("test"));
    assert_ne!(prod.hash(b"key"), test.hash(b"key"));
    // If these change, appliances of two versions send the same key to different endpoints.
    assert_eq!(prod.hash(b"key"), PINNED_KEY);
    assert_eq!(prod.hash_address(&"10.0.0.1:80".parse().unwrap()), PINNED_ADDRESS);
}

const PINNED_KEY: u64 = 4_513_544_336_278_449_417;
const PINNED_ADDRESS: [u64; 2] = [8_789_038_434_332_583_958, 15_904_070_436_558_099_801];
