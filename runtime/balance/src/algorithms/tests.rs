//! One table of properties that every algorithm passes, and what the hashing ones promise beyond.

use std::time::Duration;

use penstock_config::{Balance, HashKey, Ratio};
use penstock_env::{Rng, Time};

use super::ShardState;
use crate::load::InFlight;
use crate::tests::specs;
use crate::{Balancer, EndpointId, EndpointSpec, FleetSeed, Pick, TriedSet, UsableSet};

const MAGLEV: Balance = Balance::Maglev { hash: HashKey::Source, load_max: Ratio::percent(125) };

/// Every algorithm, and whether it honours weights.
const ALL: [(Balance, bool); 5] = [
    (Balance::RoundRobin, false),
    (Balance::WeightedRoundRobin, true),
    (Balance::Random, true),
    (Balance::LeastRequest, true),
    (MAGLEV, true),
];

/// A shard that picks from one cluster.
struct Shard {
    balancer: Balancer,
    state: ShardState,
    rng: Rng,
    usable: UsableSet,
    tried: TriedSet,
    now: Time,
}

impl Shard {
    fn new(algorithm: &Balance, endpoints: Vec<EndpointSpec>) -> Self {
        let seed = FleetSeed::new("test");
        let balancer = Balancer::new(algorithm, endpoints, &seed, None).unwrap();
        let mut rng = Rng::new(42);
        let state = balancer.shard_state(&mut rng);
        let usable = UsableSet::all(balancer.endpoints().len());
        Shard { balancer, state, rng, usable, tried: TriedSet::default(), now: Time::default() }
    }

    fn pick_key(&mut self, key: Option<u64>) -> Option<usize> {
        let pick = Pick { key, usable: &self.usable, tried: &self.tried, now: self.now };
        self.balancer.pick(&pick, &mut self.rng, &mut self.state).map(EndpointId::index)
    }

    /// A pick with a key of its own.
    fn pick(&mut self) -> Option<usize> {
        let key = self.rng.next_u64();
        self.pick_key(Some(key))
    }

    fn begin(&self, index: usize) -> InFlight {
        self.balancer.endpoints()[index].begin()
    }

    /// How often each endpoint is picked in a closed loop of `at_once` requests, which end in
    /// random order after a latency of about a millisecond.
    fn share(&mut self, at_once: usize, requests: usize) -> Vec<usize> {
        let mut counts = vec![0; self.balancer.endpoints().len()];
        let mut in_flight: Vec<InFlight> = Vec::new();
        for _ in 0..requests {
            self.now = self.now + Duration::from_micros(100);
            if in_flight.len() == at_once {
                let ended = in_flight.swap_remove(self.rng.below(at_once as u32) as usize);
                let latency = Duration::from_micros(900 + u64::from(self.rng.below(200)));
                ended.finish(latency, self.now);
            }
            let picked = self.pick().unwrap();
            counts[picked] += 1;
            in_flight.push(self.begin(picked));
        }
        counts
    }
}

/// Each endpoint's count is its weight's share of all, give or take `tolerance`.
#[track_caller]
fn check_shares(what: &Balance, counts: &[usize], weights: &[u16], tolerance: f64) {
    let (all, total) = (counts.iter().sum::<usize>(), weights.iter().map(|&w| f64::from(w)).sum());
    let total: f64 = total;
    for (index, (&count, &weight)) in counts.iter().zip(weights).enumerate() {
        let expected = all as f64 * f64::from(weight) / total;
        let off = (count as f64 - expected).abs() / expected.max(1.0);
        assert!(off <= tolerance, "{what:?}: {index} got {count} of {counts:?} for {weights:?}");
    }
}

#[test]
fn a_pick_is_usable_untried_and_made_whenever_it_can_be() {
    for (algorithm, _) in ALL {
        for weights in [&[1][..], &[1, 1], &[3, 0, 1, 1, 7], &[1; 100], &[500, 1, 1, 0]] {
            let mut shard = Shard::new(&algorithm, specs(weights));
            for _ in 0..3_000 {
                shard.tried = TriedSet::default();
                for index in 0..weights.len() {
                    let usable = shard.rng.below(3) > 0;
                    shard.usable.set(EndpointId::new(index), usable);
                    if shard.rng.below(4) == 0 && shard.tried.count() < 10 {
                        shard.tried.insert(EndpointId::new(index));
                    }
                }
                let allowed = |index: usize| {
                    let id = EndpointId::new(index);
                    weights[index] > 0 && shard.usable.contains(id) && !shard.tried.contains(id)
                };
                let any = (0..weights.len()).any(allowed);
                let allowed: Vec<bool> = (0..weights.len()).map(allowed).collect();
                match shard.pick() {
                    None => assert!(!any, "{algorithm:?} found nobody in {allowed:?}"),
                    Some(index) => assert!(allowed[index], "{algorithm:?}: {index}"),
                }
            }
        }
    }
}

#[test]
fn nobody_starves_and_equals_share_equally() {
    for (algorithm, _) in ALL {
        for count in [1, 2, 3, 10, 50] {
            let weights = vec![1; count];
            for at_once in [1, 4, 200] {
                let mut shard = Shard::new(&algorithm, specs(&weights));
                let counts = shard.share(at_once, 2_000 * count);
                check_shares(&algorithm, &counts, &weights, 0.12);
            }
        }
    }
}

#[test]
fn weights_are_honoured_at_rest_and_at_work() {
    for (algorithm, weighted) in ALL {
        for weights in [&[1, 3][..], &[5, 1, 1], &[10, 0, 20, 30], &[1, 1, 1, 1, 100]] {
            for at_once in [1, 20, 200] {
                let mut shard = Shard::new(&algorithm, specs(weights));
                let counts = shard.share(at_once, 40_000);
                let equal: Vec<u16> = weights.iter().map(|&weight| weight.min(1)).collect();
                let expected = if weighted { weights } else { &equal };
                // An endpoint of a small weight that is busy with its one request is passed over:
                // with 20 in flight by 100 to 1, a weight of 1 gets three quarters of its share.
                // For the others, three deviations of a random count of 384.
                let tolerance = if algorithm == Balance::LeastRequest { 0.3 } else { 0.16 };
                check_shares(&algorithm, &counts, expected, tolerance);
            }
        }
    }
}

#[test]
fn the_share_of_who_is_out_goes_to_all_others() {
    for (algorithm, _) in ALL {
        let mut shard = Shard::new(&algorithm, specs(&[1; 10]));
        for out in [3, 4] {
            shard.usable.set(EndpointId::new(out), false);
        }
        let counts = shard.share(1, 40_000);
        check_shares(&algorithm, &counts, &[1, 1, 1, 0, 0, 1, 1, 1, 1, 1], 0.12);
        // Back in, there is neither a burst nor a famine.
        for out in [3, 4] {
            shard.usable.set(EndpointId::new(out), true);
        }
        let counts = shard.share(1, 2_000);
        check_shares(&algorithm, &counts, &[1; 10], 0.35);
    }
}

#[test]
fn a_heavy_endpoint_that_comes_back_catches_up_on_nothing() {
    for (algorithm, weighted) in ALL {
        let mut shard = Shard::new(&algorithm, specs(&[50, 1]));
        shard.usable.set(EndpointId::new(0), false);
        assert_eq!(shard.share(1, 1_000), [0, 1_000]);
        shard.usable.set(EndpointId::new(0), true);
        let counts = shard.share(1, 5_000);
        check_shares(&algorithm, &counts, if weighted { &[50, 1] } else { &[1, 1] }, 0.35);
    }
}

#[test]
fn retries_meet_every_endpoint_once() {
    for (algorithm, _) in ALL {
        let mut shard = Shard::new(&algorithm, specs(&[1, 9, 1, 1, 4]));
        for _ in 0..200 {
            shard.tried = TriedSet::default();
            let key = shard.rng.next_u64();
            for _ in 0..5 {
                let picked = shard.pick_key(Some(key)).unwrap();
                shard.tried.insert(EndpointId::new(picked));
            }
            assert_eq!(shard.tried.count(), 5, "{algorithm:?}");
            assert_eq!(shard.pick_key(Some(key)), None);
        }
    }
}

#[test]
fn the_same_endpoints_in_any_order_make_the_same_picks() {
    for (algorithm, _) in ALL {
        let (sorted, mut shuffled) = (specs(&[1, 2, 3, 4, 5, 6]), specs(&[1, 2, 3, 4, 5, 6]));
        shuffled.reverse();
        shuffled.swap(1, 4);
        let (mut one, mut other) =
            (Shard::new(&algorithm, sorted), Shard::new(&algorithm, shuffled));
        for _ in 0..1_000 {
            assert_eq!(one.pick(), other.pick(), "{algorithm:?}");
        }
    }
}

#[test]
fn weighted_round_robin_interleaves() {
    let mut shard = Shard::new(&Balance::WeightedRoundRobin, specs(&[5, 1, 1]));
    let picks: Vec<usize> = (0..700).map(|_| shard.pick().unwrap()).collect();
    for round in picks.windows(7) {
        let first = round.iter().filter(|&&index| index == 0).count();
        assert!((4..=6).contains(&first), "{round:?}");
    }
    let longest = picks.chunk_by(|one, next| one == next).map(<[usize]>::len).max();
    assert!(longest <= Some(5), "{longest:?}");
}

#[test]
fn a_schedule_is_set_back_before_it_overflows() {
    let mut shard = Shard::new(&Balance::WeightedRoundRobin, specs(&[2, 1]));
    if let super::State::Schedule(schedule) = &mut shard.state.0 {
        // Without that, the turns of these 30,000 picks would pass the last number.
        schedule.advance(u64::MAX - (1 << 40));
    }
    let counts = shard.share(1, 30_000);
    check_shares(&Balance::WeightedRoundRobin, &counts, &[2, 1], 0.01);
}

#[test]
fn least_request_avoids_the_busy_and_the_slow_and_tries_them_again() {
    let mut shard = Shard::new(&Balance::LeastRequest, specs(&[1, 1]));
    let busy = shard.begin(0);
    for _ in 0..100 {
        assert_eq!(shard.pick(), Some(1));
    }
    drop(busy);
    let at = |seconds: u64| Time::from_ns(seconds * 1_000_000_000);
    shard.begin(0).finish(Duration::from_millis(100), at(0));
    shard.begin(1).finish(Duration::from_millis(1), at(0));
    for _ in 0..100 {
        assert_eq!(shard.pick(), Some(1));
    }
    // The fast one goes on being fast, the slow one's latency fades: 2^-7 of it is below 1 ms.
    shard.begin(1).finish(Duration::from_millis(1), at(36));
    shard.now = at(36);
    let again = (0..100).filter(|_| shard.pick() == Some(0)).count();
    assert!(again > 20, "tried again {again} times");
}

#[test]
fn least_request_is_even_over_endpoints_that_differ_by_less_than_a_network_does() {
    let mut shard = Shard::new(&Balance::LeastRequest, specs(&[1; 4]));
    // 0.1 to 0.7 ms, and none is ever busy.
    let mut counts = [0_u32; 4];
    for _ in 0..20_000 {
        let endpoint = shard.pick().expect("all may be picked");
        counts[endpoint] += 1;
        let latency = Duration::from_micros(100 + 200 * endpoint as u64);
        shard.begin(endpoint).finish(latency, shard.now);
    }
    assert!(counts.iter().all(|count| (4_500..=5_500).contains(count)), "{counts:?}");
}

/// Which endpoint each of 20,000 keys meets, by address.
fn places(shard: &mut Shard) -> Vec<String> {
    let mut keys = Rng::new(99);
    let keys: Vec<u64> = (0..20_000).map(|_| keys.next_u64()).collect();
    let mut place = |key| {
        let index = shard.pick_key(Some(key)).unwrap();
        shard.balancer.endpoints()[index].address().to_string()
    };
    keys.into_iter().map(&mut place).collect()
}

#[test]
fn a_hashed_key_stays_while_others_come_and_go() {
    for count in [3, 10, 100] {
        let mut before = Shard::new(&MAGLEV, specs(&vec![1; count]));
        let before_places = places(&mut before);
        assert_eq!(before_places, places(&mut before));

        // One is out but still listed: only its keys move.
        let gone = before.balancer.endpoints()[1].address().to_string();
        before.usable.set(EndpointId::new(1), false);
        for (was, is) in before_places.iter().zip(places(&mut before)) {
            assert!(*was == is || *was == gone, "{was} was usable and lost a key to {is}");
        }

        // One is gone from the list: its 1/n of the keys move, and few others (the paper's
        // figure 12: below 2 % of them at this size).
        let mut remaining = specs(&vec![1; count]);
        remaining.remove(1);
        let after_places = places(&mut Shard::new(&MAGLEV, remaining));
        let pairs = || before_places.iter().zip(&after_places);
        assert!(pairs().all(|(_, is)| *is != gone));
        let moved = pairs().filter(|(was, is)| was != is).count() as f64 / 20_000.0;
        let share = 1.0 / count as f64;
        assert!(moved < share * 1.1 + 0.02, "{moved} of the keys moved with one of {count} gone");
    }
}

#[test]
fn a_maglev_table_is_even_within_a_slot_and_its_bytes_are_pinned() {
    let slots = |weights: &[u16], seed: &str| -> Vec<u32> {
        let seed = FleetSeed::new(seed);
        let balancer = Balancer::new(&MAGLEV, specs(weights), &seed, None).unwrap();
        let super::Tables::Maglev(maglev) = &balancer.tables else { panic!("it is Maglev") };
        maglev.slots().iter().map(|&index| u32::from(index)).collect()
    };
    let count = |slots: &[u32], len: usize| {
        let mut counts = vec![0_u32; len];
        slots.iter().for_each(|&index| counts[index as usize] += 1);
        counts
    };
    // 65,537 slots for 1,000: 65 or 66 each, at most 0.9 % off the mean (the paper: below 1 %).
    let counts = count(&slots(&[1; 1_000], "test"), 1_000);
    assert!(counts.iter().all(|count| (65..=66).contains(count)), "{counts:?}");
    let counts = count(&slots(&[1, 2, 5, 0, 1_000], "test"), 5);
    // What the shares are rounded up by, the heaviest gives up.
    for (index, (expected, off)) in
        [(65, 1), (130, 1), (325, 1), (0, 0), (65_017, 3)].into_iter().enumerate()
    {
        assert!(counts[index].abs_diff(expected) <= off, "{counts:?}");
    }
    assert!(count(&slots(&[1, 65_535], "test"), 2)[0] > 0, "the lightest has a slot");
    assert_ne!(slots(&[1; 10], "test"), slots(&[1; 10], "other"), "the seed matters");
    // If this changes, appliances of two versions disagree on where a key lives.
    let bytes: Vec<u8> = slots(&[1, 2, 3], "test").iter().map(|&index| index as u8).collect();
    assert_eq!(FleetSeed::new("pin").hash(&bytes), PINNED_TABLE);
    // And so if this changes: who of ten has each key.
    let mut shard = Shard::new(&MAGLEV, specs(&[1; 10]));
    let places = [0, 1 << 60, 1 << 61, 1 << 62, 1 << 63, u64::MAX]
        .map(|key| shard.pick_key(Some(key)).unwrap());
    assert_eq!(places, [1, 1, 6, 4, 5, 9]);
}

const PINNED_TABLE: u64 = 5_522_957_896_710_216_513;

#[test]
fn a_hot_key_spills_over_when_its_endpoint_is_over_the_bound() {
    let mut shard = Shard::new(&MAGLEV, specs(&[1; 10]));
    let mut in_flight = Vec::new();
    let hot = shard.pick_key(Some(7)).unwrap();
    let mut counts = [0; 10];
    for _ in 0..1_000 {
        let picked = shard.pick_key(Some(7)).unwrap();
        counts[picked] += 1;
        in_flight.push(shard.begin(picked));
    }
    // 1,000 in flight over 10: 100 in the mean, 125 at most.
    assert!(counts.iter().all(|&count| count <= 125), "{counts:?}");
    assert_eq!(counts[hot], 125);
    // With half of them out, the mean of the others doubles, and so does the bound.
    for index in 0..5 {
        shard.usable.set(EndpointId::new(index), false);
    }
    in_flight.clear();
    for _ in 0..1_000 {
        let picked = shard.pick_key(Some(7)).unwrap();
        in_flight.push(shard.begin(picked));
    }
    let loads = shard.balancer.endpoints()[5..].iter().map(|one| one.load().in_flight());
    assert!(loads.clone().all(|load| load <= 250), "{:?}", loads.collect::<Vec<_>>());
    in_flight.clear();
    assert_eq!(shard.pick_key(Some(7)), shard.pick_key(Some(7)));
}
