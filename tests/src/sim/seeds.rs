//! Runs a scenario for many seeds, each twice, and says which seed to look at when one fails.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use penstock_env::Rng;

use super::faults::Faults;
use super::trace::Trace;
use super::world::World;

/// Runs `scenario` in a world of each seed, twice, and compares the two traces.
///
/// `PENSTOCK_SIM_SEEDS` says how many seeds, `PENSTOCK_SEED` asks for a certain one (decimal, or
/// hexadecimal after `0x`) and no other.
///
/// # Panics
/// As the scenario does, or when two runs of one seed differ; the seed and the last events are
/// printed before.
pub fn check_seeds(name: &str, faults: Faults, scenario: impl Fn(&World) + Sync) {
    check(name, seed_count(), faults, scenario);
}

/// [`check_seeds`] with a quarter of the seeds, for scenarios that others have in them.
///
/// # Panics
/// As [`check_seeds`] does.
pub fn check_some_seeds(name: &str, faults: Faults, scenario: impl Fn(&World) + Sync) {
    check(name, seed_count().div_ceil(4), faults, scenario);
}

/// [`check_seeds`] with an eighth of the seeds, for scenarios that leave little to chance.
///
/// # Panics
/// As [`check_seeds`] does.
pub fn check_few_seeds(name: &str, faults: Faults, scenario: impl Fn(&World) + Sync) {
    check(name, seed_count().div_ceil(8), faults, scenario);
}

/// [`check_seeds`] with a 64th of the seeds, for scenarios that move megabytes.
///
/// # Panics
/// As [`check_seeds`] does.
pub fn check_heavy_seeds(name: &str, faults: Faults, scenario: impl Fn(&World) + Sync) {
    check(name, seed_count().div_ceil(64), faults, scenario);
}

fn check(name: &str, count: u64, faults: Faults, scenario: impl Fn(&World) + Sync) {
    if let Some(seed) = asked_seed() {
        check_seed(name, seed, faults, &scenario);
        return;
    }
    let next = AtomicU64::new(0);
    let failures: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                check_seed(name, nth_seed(number), faults, &scenario);
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        // All of them are joined: a thread that nobody joins would replace the failure's words.
        threads.into_iter().filter_map(|thread| thread.join().err()).collect()
    });
    if let Some(failure) = failures.into_iter().next() {
        resume_unwind(failure);
    }
}

/// Runs `scenario` once; the trace, and what it panicked with if it did.
pub fn run_seed(
    seed: u64,
    faults: Faults,
    scenario: &dyn Fn(&World),
) -> (Trace, Result<(), Box<dyn Any + Send>>) {
    let world = World::new(seed, faults);
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&world)));
    (world.trace(), outcome)
}

/// How many seeds [`check_seeds`] runs.
pub fn seed_count() -> u64 {
    let count = std::env::var("PENSTOCK_SIM_SEEDS").ok();
    count.map_or(SEEDS_DEFAULT, |count| count.parse().expect("PENSTOCK_SIM_SEEDS is a number"))
}

fn asked_seed() -> Option<u64> {
    let seed = std::env::var("PENSTOCK_SEED").ok()?;
    let parsed = match seed.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => seed.parse(),
    };
    Some(parsed.expect("PENSTOCK_SEED is a number"))
}

/// Seeds that look like nothing in particular, but the same in every run.
fn nth_seed(number: u64) -> u64 {
    Rng::new(number).next_u64()
}

fn check_seed(name: &str, seed: u64, faults: Faults, scenario: &dyn Fn(&World)) {
    let (first, outcome) = run_seed(seed, faults, scenario);
    if let Err(failure) = outcome {
        report(name, seed, &first.tail(usize::MAX, TAIL_RECORDS));
        resume_unwind(failure);
    }
    let (second, _) = run_seed(seed, faults, scenario);
    if let Some((at, ours, theirs)) = first.parts_from(&second) {
        report(name, seed, &first.tail(at, TAIL_RECORDS));
        let [ours, theirs] = [ours, theirs]
            .map(|record| record.map_or("nothing".to_owned(), |record| record.to_string()));
        panic!("two runs of one seed part at event {at}:\n  {ours}\n  {theirs}");
    }
}

fn report(name: &str, seed: u64, tail: &str) {
    eprintln!("{tail}{name} failed after these events. To see it again: PENSTOCK_SEED={seed:#x}");
}

const SEEDS_DEFAULT: u64 = 256;
const TAIL_RECORDS: usize = 60;
/// The machines that this must be quick on have two cores.
const THREADS: usize = 2;
