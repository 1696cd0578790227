//! Filters on the simulated proxy: exactly those requests fail whose filter does, bodies come
//! through whole, and nothing of an exchange stays behind in a filter.

use std::time::Duration;

use penstock_env::{Address, CloseKind, Env, Stream};
use penstock_tests::sim::{
    Faults, Limits, SimEnv, SimStream, World, check_seeds, check_some_seeds,
};

use crate::http::ledger::Policy;
use crate::http::plan::{Framing, Menu, Pace};
use crate::http::scene::Scene;
use crate::http::wire::{Expected, Wire};
use crate::modules::{CHAIN, blocks};
use crate::proxy::{Proxy, config, perform};

const TAME: Menu = Menu {
    faults: false,
    malformed: false,
    aborts: false,
    idle_closes: false,
    marks: true,
    body_bytes_max: 20_000,
};
const WILD: Menu = Menu { faults: true, malformed: true, aborts: true, idle_closes: true, ..TAME };

#[test]
fn exactly_the_requests_fail_whose_filter_does() {
    check_some_seeds("filters, tame", Faults::CALM, |world| play(world, TAME));
}

#[test]
fn filters_and_what_goes_wrong_elsewhere_keep_apart() {
    check_seeds("filters, wild", Faults::CALM, |world| play(world, WILD));
}

#[test]
fn filters_stand_a_network_that_breaks_connections() {
    check_seeds("filters, rough", Faults::ROUGH, |world| play(world, WILD));
}

fn play(world: &World, menu: Menu) {
    let mut rng = world.rng();
    let denies = rng.below(2) == 0;
    let (conduct, mut answers) = [
        (Conduct::Answer, Some(true)),
        (Conduct::Reset, Some(false)),
        (Conduct::Mute, Some(false)),
        (Conduct::AtTimes, None),
    ][rng.below(4) as usize];
    if world.faults().resets_per_mille > 0 {
        answers = answers.filter(|answers| !answers);
    }
    let filters = Policy { denies, answers };
    let mut stage = Scene { menu, proxied: true, death: None, filters }.set(world);
    let env = world.node("auth", Limits::AMPLE);
    let auth = env.address(8081);
    authorize(&env, &auth, conduct);
    // Some of the chain are the route's own, and come once the others chose it.
    let (listeners, own) = CHAIN.split_at([0, 2, 3, CHAIN.len()][rng.below(4) as usize]);
    let (listener, own) = [listeners, own].map(|part| format!("filters = {part:?}\n")).into();
    let on_error = if denies { "deny" } else { "allow" };
    let auth_block = format!("[cluster.auth]\nendpoints = [\"{auth}\"]\n");
    // A reload swaps every filter, and takes endpoints away or gives them back.
    let texts = [0, 1].map(|turn| {
        let count = stage.origins.len() >> turn;
        let blocks = format!("{own}{}{auth_block}", blocks(on_error, turn));
        config(&stage.origins[..count.max(1)], &listener, &blocks)
    });
    let proxy = Proxy::serve_in_turn(world, &texts);
    perform(world, &mut stage, proxy);
}

/// What the cluster that filters ask does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Answer,
    Reset,
    /// Nothing, longer than the filter waits.
    Mute,
    /// Any of these.
    AtTimes,
}

/// A cluster that filters ask, and that answers.
pub(crate) fn auth(world: &World) -> Address {
    let env = world.node("auth", Limits::AMPLE);
    let address = env.address(8081);
    authorize(&env, &address, Conduct::Answer);
    address
}

fn authorize(env: &SimEnv, address: &Address, conduct: Conduct) {
    let own = env.clone();
    env.listen(address, move |stream| own.spawn(answer_calls(own.clone(), stream, conduct)));
}

async fn answer_calls(env: SimEnv, stream: SimStream, conduct: Conduct) {
    let wire = Wire::new(env, stream);
    while let Ok(Some(head)) = wire.head().await {
        assert_eq!(head.line, "GET / HTTP/1.1");
        let mut body = Expected::anything("auth");
        let read = wire.body(head.framing(Framing::None), &mut body, &Pace::QUICK).await;
        if read.is_err() {
            return;
        }
        assert_eq!(body.passed, 3, "the call's own body");
        let conduct = match (conduct, wire.env.random() % 3) {
            (Conduct::AtTimes, 0) => Conduct::Reset,
            (Conduct::AtTimes, 1) => Conduct::Mute,
            (Conduct::AtTimes, _) => Conduct::Answer,
            (always, _) => always,
        };
        match conduct {
            Conduct::Reset => return wire.stream.close(CloseKind::Reset),
            Conduct::Mute => {
                return while let Ok(true) = wire.more().await {
                    wire.take_all();
                };
            }
            Conduct::Answer | Conduct::AtTimes => {}
        }
        let wait = Duration::from_micros(wire.env.random() % 20_000);
        Wire::sleep_on(&wire.env, wait).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if wire.write(answer, &Pace::QUICK).await.is_err() {
            return;
        }
    }
}
