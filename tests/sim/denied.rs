//! Sources that a service does not serve, and clients whose addresses endpoints are to see.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, SendBuf, Stream, StreamExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use crate::proxy::Proxy;
use crate::services::{Fate, config, settle, sit, talk, talker};

const SECOND: Duration = Duration::from_secs(1);

/// Words for a service that denies `env`'s address.
fn denies(env: &SimEnv, tarpit: &str) -> String {
    let penstock_env::Address::Ip(address) = env.address(1) else { unreachable!("nodes have one") };
    format!("deny = [\"{}/32\"]\n{tarpit}", address.ip())
}

/// How long it took from now on until `fate` was known, `limit` at most.
fn wait(world: &World, fate: &Fate, limit: Duration) -> Option<Duration> {
    let begun = world.now();
    world.run_until(limit, || fate.get().is_some()).then(|| world.now().since(begun))
}

/// Lets others talk through the proxy, and finds them served.
fn others_are_served(world: &World, proxy: &Proxy, talker: &Rc<crate::services::Ledger>) {
    let before = talker.whole();
    talk(world, &proxy.front, 3, 10_000, talker);
    settle(world, talker, before + 3);
    assert_eq!(talker.whole(), before + 3);
}

#[test]
fn a_denied_source_is_reset_at_once_and_takes_nobodys_place() {
    check_few_seeds("denied, reset", Faults::CALM, |world| {
        let (ledger, denied) = (Rc::default(), world.node("denied", Limits::AMPLE));
        let end = talker(world, &ledger).1;
        let service = denies(&denied, "limits.connections_per_source = 1\n");
        let proxy = Proxy::serve(world, &config(&[end], &service, ""));
        let leave = Rc::new(Cell::new(false));
        for number in 1..=5 {
            let fate = sit(&denied, &proxy.front, &leave);
            let took = wait(world, &fate, 10 * SECOND).expect("it is told");
            assert!(fate.get() == Some(true) && took < SECOND, "{:?} in {took:?}", fate.get());
            assert_eq!(proxy.failures(), [(Cause::SourceDenied, number)]);
        }
        assert_eq!((proxy.service_connections(), proxy.tarpitted()), (0, 0));
        // What one of them says before it hears of it goes nowhere.
        let (own, front) = (denied.clone(), proxy.front.clone());
        denied.spawn(async move {
            let stream = own.connect(&front).await.expect("the proxy listens");
            let _ = stream.send(SendBuf::of(b"a question".to_vec())).await;
            while let Ok(more) = stream.recv().await {
                assert!(more.is_none(), "an answer");
                if more.is_none() {
                    return;
                }
            }
        });
        world.run(SECOND);
        assert_eq!(ledger.heard(), 0);
        proxy.end(world);
    });
}

#[test]
fn a_tarpit_keeps_whom_it_has_room_for_as_long_as_it_says_and_resets_the_rest() {
    check_few_seeds("denied, kept", Faults::CALM, |world| {
        let (ledger, denied) = (Rc::default(), world.node("denied", Limits::AMPLE));
        let end = talker(world, &ledger).1;
        let tarpit = "tarpit = { hold = \"30s\", connections = 2 }\n";
        let proxy = Proxy::serve(world, &config(&[end], &denies(&denied, tarpit), ""));
        let (leave, early) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let begun = world.now();
        let kept = sit(&denied, &proxy.front, &leave);
        let goes = sit(&denied, &proxy.front, &early);
        world.after(SECOND, |_| {});
        world.run(SECOND);
        assert_eq!((proxy.tarpitted(), proxy.service_connections()), (2, 0));
        assert_eq!(proxy.failures(), [(Cause::SourceDenied, 2)]);
        let third = sit(&denied, &proxy.front, &leave);
        assert!(wait(world, &third, 10 * SECOND).is_some_and(|took| took < SECOND));
        assert_eq!(third.get(), Some(true), "a reset");
        assert_eq!(proxy.failures(), [(Cause::SourceDenied, 2), (Cause::TarpitFull, 1)]);
        // Who leaves gives its place to the next.
        early.set(true);
        assert!(wait(world, &goes, 10 * SECOND).is_some());
        assert!(world.run_until(10 * SECOND, || proxy.tarpitted() == 1));
        let fourth = sit(&denied, &proxy.front, &leave);
        assert!(world.run_until(10 * SECOND, || proxy.tarpitted() == 2));
        assert!(world.run_until(60 * SECOND, || kept.get().is_some()));
        let held = world.now().since(begun);
        assert!((30 * SECOND..32 * SECOND).contains(&held), "{held:?}");
        assert_eq!((kept.get(), fourth.get()), (Some(true), None));
        // A drain waits for none of them.
        let begun = world.now();
        proxy.end(world);
        assert!(world.now().since(begun) < 25 * SECOND, "{:?}", world.now().since(begun));
        assert_eq!(fourth.get(), Some(true));
    });
}

#[test]
fn those_beside_a_tarpit_are_served() {
    check_few_seeds("denied, beside", Faults::CALM, |world| {
        let (ledger, denied) = (Rc::default(), world.node("denied", Limits::AMPLE));
        let end = talker(world, &ledger).1;
        let service = denies(&denied, "tarpit = { hold = \"600s\" }\nlimits.connections = 3\n");
        let proxy = Proxy::serve(world, &config(&[end], &service, ""));
        let leave = Rc::new(Cell::new(false));
        let kept: Vec<_> = (0..8).map(|_| sit(&denied, &proxy.front, &leave)).collect();
        assert!(world.run_until(10 * SECOND, || proxy.tarpitted() == 8));
        // They are none of the service's three.
        others_are_served(world, &proxy, &ledger);
        assert!(kept.iter().all(|fate| fate.get().is_none()));
        assert_eq!(proxy.failures(), [(Cause::SourceDenied, 8)]);
        proxy.end(world);
    });
}

#[test]
fn a_reload_decides_about_connections_that_come_behind_it() {
    check_few_seeds("denied, reload", Faults::CALM, |world| {
        let (ledger, other) = (Rc::default(), world.node("other", Limits::AMPLE));
        let end = talker(world, &ledger).1;
        let kept = denies(&other, "tarpit = { hold = \"30s\" }\n");
        let texts = [kept, String::new(), denies(&other, "")];
        let texts = texts.map(|service| config(std::slice::from_ref(&end), &service, ""));
        let proxy = Proxy::serve_in_turn(world, &texts);
        let (leave, begun) = (Rc::new(Cell::new(false)), world.now());
        let first = sit(&other, &proxy.front, &leave);
        assert!(world.run_until(10 * SECOND, || proxy.tarpitted() == 1));
        // Allowed again: those that come are served, the one that is kept stays so.
        proxy.reload();
        let second = sit(&other, &proxy.front, &leave);
        assert!(world.run_until(10 * SECOND, || proxy.service_connections() == 1));
        assert_eq!((proxy.tarpitted(), first.get(), second.get()), (1, None, None));
        // Denied again, without a tarpit: the one that is served stays so.
        proxy.reload();
        let third = sit(&other, &proxy.front, &leave);
        assert!(wait(world, &third, 10 * SECOND).is_some_and(|took| took < SECOND));
        assert_eq!((third.get(), proxy.service_connections()), (Some(true), 1));
        assert!(world.run_until(60 * SECOND, || first.get().is_some()));
        let held = world.now().since(begun);
        assert!((30 * SECOND..32 * SECOND).contains(&held), "{held:?}");
        assert_eq!((second.get(), proxy.service_connections()), (None, 1));
        assert_eq!(proxy.failures(), [(Cause::SourceDenied, 2)]);
        leave.set(true);
        proxy.end(world);
    });
}

/// The addresses that an endpoint sees connections from, with `service` for the service, and
/// those of the clients.
fn seen_and_sent(world: &World, service: &str) -> [Vec<String>; 2] {
    let (end, seen) = (world.node("endpoint", Limits::AMPLE), Rc::new(RefCell::new(Vec::new())));
    let (own, told) = (end.clone(), seen.clone());
    end.listen(&end.address(8080), move |stream| {
        told.borrow_mut().push(ip_of(stream.peer()));
        own.spawn(async move { while let Ok(Some(_)) = stream.recv().await {} });
    });
    let proxy = Proxy::serve(world, &config(&[end.address(8080)], service, ""));
    let clients: Vec<_> = (0..3).map(|_| world.node("client", Limits::AMPLE)).collect();
    let leave = Rc::new(Cell::new(false));
    for client in clients.iter().chain(&clients) {
        sit(client, &proxy.front, &leave);
    }
    assert!(world.run_until(10 * SECOND, || seen.borrow().len() == 6), "{:?}", proxy.failures());
    assert_eq!((proxy.service_connections(), proxy.failures()), (6, vec![]));
    leave.set(true);
    proxy.end(world);
    let mut seen = seen.take();
    seen.sort_unstable();
    let mut sent: Vec<_> =
        clients.iter().chain(&clients).map(|client| ip_of(&client.address(1))).collect();
    sent.sort_unstable();
    [seen, sent]
}

fn ip_of(address: &penstock_env::Address) -> String {
    match address {
        penstock_env::Address::Ip(address) => address.ip().to_string(),
        other => other.to_string(),
    }
}

#[test]
fn endpoints_see_clients_where_a_service_is_transparent_and_only_there() {
    check_few_seeds("transparent", Faults::CALM, |world| {
        let [seen, sent] = seen_and_sent(world, "transparent = true\n");
        assert_eq!(seen, sent);
    });
    check_few_seeds("not transparent", Faults::CALM, |world| {
        let [seen, sent] = seen_and_sent(world, "");
        assert!(seen.iter().all(|one| !sent.contains(one)), "{seen:?}");
    });
}
