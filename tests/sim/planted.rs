//! Mistakes planted on purpose: the simulator must find each of them.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, Map, MapSeed, Timer, TimerExt};
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, run_seed};

#[test]
fn an_order_that_no_seed_decides_is_found() {
    // `RandomState` is what a std `HashMap` hashes with: each one differs from the last.
    let found = catch_unwind(|| {
        check_few_seeds("planted: RandomState", Faults::CALM, |world| {
            sleepers(world, |_, number| RandomState::new().hash_one(number) % 50);
        });
    });
    let failure = found.expect_err("two runs of one seed part");
    let text = failure.downcast_ref::<String>().expect("a text says where");
    assert!(text.contains("two runs of one seed part at event"), "{text}");
}

#[test]
fn a_map_seeded_by_the_world_replays() {
    check_few_seeds("seeded map", Faults::CALM, |world| {
        sleepers(world, |env, number| {
            let mut map = Map::with_hasher(MapSeed::new(env.random()));
            map.extend((0..8).map(|key| (key, number)));
            map.keys().next().copied().unwrap_or(0) * 10
        });
    });
}

#[test]
fn an_address_of_memory_that_decides_is_found() {
    let parted = (0..50).any(|seed| {
        let scenario = |world: &World| {
            sleepers(world, |_, number| {
                let boxed = Box::new([number; 8]);
                let address = std::ptr::from_ref(&*boxed).addr() as u64;
                // Held until the end: the second run can't get the same piece of memory.
                Box::leak(boxed);
                (address >> 4) % 50
            });
        };
        let (first, _) = run_seed(seed, Faults::CALM, &scenario);
        let (second, _) = run_seed(seed, Faults::CALM, &scenario);
        first.hash() != second.hash()
    });
    assert!(parted);
}

#[test]
fn a_run_shows_the_seed_and_not_the_hour() {
    let scenario = |world: &World| sleepers(world, |env, _| env.random() % 50);
    let hash = |seed| run_seed(seed, Faults::CALM, &scenario).0.hash();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_task_that_never_ends_is_found() {
    check_finds("a task never ended", "never ended", |_, env| {
        env.spawn(std::future::pending());
    });
}

#[test]
fn a_stream_that_nobody_closes_is_found() {
    check_finds("an open stream", "is open", |_, env| {
        env.listen(&env.address(1), keep);
        let dialer = env.clone();
        env.spawn(async move { drop(dialer.connect(&dialer.address(1)).await) });
    });
}

#[test]
fn a_timer_that_outlives_its_task_is_found() {
    check_finds("a timer", "a timer was not dropped", |_, env| keep(env.timer()));
}

#[test]
fn a_task_that_is_busy_for_too_long_is_found() {
    check_finds("a busy task", "never ended", |_, env| {
        let later = env.clone();
        env.spawn(async move {
            let timer = later.timer();
            loop {
                timer.set(later.now() + Duration::from_secs(1));
                timer.expired().await;
                if later.now().as_ns() > 1_000_000_000_000 {
                    return;
                }
            }
        });
    });
}

/// Plants a mistake; the end of the run must tell of it in these words.
#[track_caller]
fn check_finds(name: &str, words: &str, plant: impl Fn(&World, &SimEnv)) {
    let scenario = |world: &World| {
        let env = world.node("planted", Limits::AMPLE);
        plant(world, &env);
        world.finish(Duration::from_secs(60));
    };
    let (_, outcome) = run_seed(1, Faults::CALM, &scenario);
    let failure = outcome.expect_err(name);
    let text = failure.downcast_ref::<String>().map_or("", |text| text.as_str());
    assert!(text.contains(words), "{name}: {text}");
}

/// Never drops `thing`.
fn keep<T>(thing: T) {
    Box::leak(Box::new(thing));
}

/// Tasks that sleep as long as `wait_ms` says.
fn sleepers(world: &World, wait_ms: impl Fn(&SimEnv, u64) -> u64 + 'static) {
    let env = world.node("sleepers", Limits::AMPLE);
    let wait_ms = Rc::new(wait_ms);
    let awake = Rc::new(Cell::new(0));
    for number in 0..10 {
        let (own, wait_ms, awake) = (env.clone(), wait_ms.clone(), awake.clone());
        env.spawn(async move {
            let timer = own.timer();
            timer.set(own.now() + Duration::from_millis(wait_ms(&own, number)));
            timer.expired().await;
            own.note("awake", number);
            awake.set(awake.get() + 1);
        });
    }
    world.finish(Duration::from_secs(60));
    assert_eq!(awake.get(), 10);
}
