//! The actors held against each other, with nothing in between or with something that cheats.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, StreamExt};
use penstock_tests::sim::{
    Death, Faults, Limits, SimEnv, SimStream, World, check_few_seeds, run_seed,
};

use super::ledger::{Ledger, Outcome, Policy};
use super::plan::Menu;
use super::scene::Scene;
use super::wire::Wire;
use crate::relay::{both, copy, relay_one};

const TAME: Menu = Menu {
    faults: false,
    malformed: false,
    aborts: false,
    idle_closes: false,
    marks: false,
    body_bytes_max: 20_000,
};
const WILD: Menu = Menu { faults: true, aborts: true, idle_closes: true, ..TAME };

/// Clients and an origin, with `between` in front of the origin.
fn play(
    world: &World,
    menu: Menu,
    death: Option<Death>,
    between: impl Fn(&World, Address) -> Address,
) -> Rc<Ledger> {
    let mut stage = Scene { menu, proxied: false, death, filters: Policy::NONE }.set(world);
    let front = between(world, stage.origins[0].clone());
    stage.play(&front);
    world.finish(Duration::from_secs(1200));
    stage.ledger.judge(&stage.rules);
    stage.ledger
}

fn nothing(_: &World, origin: Address) -> Address {
    origin
}

/// A node with few buffers that hands each connection and a new one to the origin to `join`.
fn joined<F: Future<Output = ()> + 'static>(
    world: &World,
    origin: &Address,
    join: impl Fn(SimEnv, SimStream, Address) -> F + 'static,
) -> Address {
    let env = world.node("between", Limits::tight(&mut world.rng()));
    let (own, to, front) = (env.clone(), origin.clone(), env.address(80));
    env.listen(&front, move |stream| own.spawn(join(own.clone(), stream, to.clone())));
    front
}

#[test]
fn clients_and_origins_understand_each_other() {
    check_few_seeds("direct, tame", Faults::CALM, |world| {
        let ledger = play(world, TAME, None, nothing);
        assert!(ledger.count(|outcome| outcome == Outcome::Exact) > 0);
    });
}

#[test]
fn what_goes_wrong_is_what_was_planned() {
    check_few_seeds("direct, wild", Faults::CALM, |world| drop(play(world, WILD, None, nothing)));
}

#[test]
fn what_goes_wrong_by_itself_leaves_no_wrong_byte() {
    check_few_seeds("direct, rough", Faults::ROUGH, |world| drop(play(world, WILD, None, nothing)));
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("direct, death", Faults::CALM, |world| {
            drop(play(world, TAME, Some(death), nothing));
        });
    }
}

#[test]
fn a_relay_of_bytes_changes_nothing() {
    check_few_seeds("relayed", Faults::CALM, |world| {
        play(world, TAME, None, |world, origin| joined(world, &origin, relay_one));
    });
}

#[test]
fn a_byte_in_another_session_is_found() {
    // The mistake: one scratch buffer for all sessions, used again before the send was begun.
    check_caught(|world, origin| {
        let scratch = Rc::new(RefCell::new(Vec::new()));
        joined(world, &origin, move |env, downstream, to| {
            cheating_relay(env, downstream, to, Cheat::Scratch(scratch.clone()))
        })
    });
}

#[test]
fn a_lost_byte_and_a_byte_that_comes_twice_are_found() {
    check_caught(|world, origin| {
        joined(world, &origin, |env, downstream, to| {
            cheating_relay(env, downstream, to, Cheat::Lose)
        })
    });
    check_caught(|world, origin| {
        joined(world, &origin, |env, downstream, to| {
            cheating_relay(env, downstream, to, Cheat::Repeat)
        })
    });
}

enum Cheat {
    Scratch(Rc<RefCell<Vec<u8>>>),
    Lose,
    Repeat,
}

/// Forwards answers with a mistake.
async fn cheating_relay(env: SimEnv, downstream: SimStream, to: Address, cheat: Cheat) {
    let Ok(upstream) = env.connect(&to).await else { return };
    let there = copy(&env, &downstream, &upstream);
    let back = async {
        let mut passed = 0;
        while let Some(chunk) = upstream.recv().await? {
            let mut bytes = chunk.to_vec();
            let middle = (passed..passed + bytes.len()).contains(&500);
            passed += bytes.len();
            match &cheat {
                Cheat::Scratch(scratch) => {
                    *scratch.borrow_mut() = std::mem::take(&mut bytes);
                    Wire::sleep_on(&env, Duration::from_millis(1)).await;
                    bytes = scratch.borrow().clone();
                }
                Cheat::Lose if middle => drop(bytes.pop()),
                Cheat::Repeat if middle => bytes.extend(bytes.last().copied()),
                Cheat::Lose | Cheat::Repeat => {}
            }
            let mut data = SendBuf::new(env.buffer());
            data.push(&bytes);
            downstream.send(data).await?;
        }
        downstream.shutdown_write();
        io::Result::Ok(())
    };
    both(there, back).await;
}

/// At least a quarter of the seeds must notice; many have but one session or short answers.
#[track_caller]
fn check_caught(between: impl Fn(&World, Address) -> Address) {
    let scenario = |world: &World| drop(play(world, TAME, None, &between));
    let caught = (0..40).filter(|&seed| run_seed(seed, Faults::CALM, &scenario).1.is_err()).count();
    assert!(caught >= 10, "{caught} of 40 seeds noticed");
}
