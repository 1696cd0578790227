//! HTTP/2 inside of TLS: one proxy speaks it to another, on a network that cuts, delays and resets.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, Rng};
use penstock_tests::sim::{Faults, Limits, World, check_some_seeds};

use super::client;
use super::exchanges::{Wanted, ask_roughly};
use super::origin;
use crate::proxy::Proxy;
use crate::tls;

/// Two proxies with TLS between them, in front of two origins; all of them speak HTTP/2.
fn chain(world: &World) -> (Proxy, Proxy) {
    world.veil();
    let origins: Vec<_> = (0..2)
        .map(|_| {
            let env = world.node("origin", Limits::AMPLE);
            let address = env.address(8080);
            origin::listen(&env, &address, 100, &Rc::default());
            address
        })
        .collect();
    tls::chain(world, &origins, ["protocol = \"h2\"\n"; 2])
}

fn settle(world: &World, (outer, inner): (Proxy, Proxy), left: &Cell<u32>) {
    let done = || left.get() == 0 || world.panicked().is_some();
    let settled = world.run_until(Duration::from_secs(3_600), done);
    assert_eq!(world.panicked(), None, "a task panicked there");
    assert!(settled, "{} without an answer: {:#?}", left.get(), world.leaks());
    tls::end(world, outer, inner);
}

#[test]
fn sealed_streams_are_answered_as_those_in_the_clear_are() {
    check_some_seeds("h2 sealed", Faults::CALM, |world| {
        let proxies = chain(world);
        let env = world.node("client", Limits::AMPLE);
        let streams = 1 + world.rng().below(8);
        let (own, front, left) =
            (env.clone(), proxies.0.front.clone(), Rc::new(Cell::new(streams)));
        let (told, mut rng) = (left.clone(), Rng::new(world.seed()));
        env.spawn(async move {
            let (sender, _) = client::connect(&own, &front).await;
            for _ in 0..streams {
                let (wanted, sender, told) = (Wanted::draw(&mut rng), sender.clone(), told.clone());
                own.spawn(async move {
                    wanted.judge(&wanted.ask(&sender).await.expect("a whole answer"));
                    told.set(told.get() - 1);
                });
            }
        });
        settle(world, proxies, &left);
    });
}

#[test]
fn sealed_streams_that_break_or_are_given_up_leave_nothing_behind() {
    check_some_seeds("h2 sealed, rough", Faults::ROUGH, |world| {
        let proxies = chain(world);
        let left = ask_roughly(world, &proxies.0);
        settle(world, proxies, &left);
    });
}
