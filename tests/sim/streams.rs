//! Services whose connections run through filters: what these let go arrives whole and in order,
//! and what they close, lose or hold for too long ends with its cause.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_env::Env;
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, Path, World, check_few_seeds};

use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::Proxy;
use crate::services::{Ledger, config, settle, sit, talk, talker};

const SECOND: Duration = Duration::from_secs(1);

/// Blocks of filters with these modules, each with more of its own, and the chain of all.
fn filtered(filters: &[(&str, &str)]) -> (String, String) {
    let names: Vec<String> = filters.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let block =
        |(name, more): &(&str, &str)| format!("[filter.{name}]\nwasm = \"/{name}.wasm\"\n{more}\n");
    let blocks = filters.iter().map(block).collect();
    (format!("filters = [{}]", names.join(", ")), blocks)
}

/// Conversations through these filters all of which arrive whole; how many bytes conduits moved.
fn all_whole(world: &World, filters: &[(&str, &str)], service: &str, bytes_max: u32) -> u64 {
    let ledger: Rc<Ledger> = Rc::default();
    let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
    let (chain, blocks) = filtered(filters);
    let text = config(&ends, &format!("{chain}\n{service}"), "") + &blocks;
    let proxy = Proxy::serve_on(world, &[text], 2);
    talk(world, &proxy.front, 8, bytes_max, &ledger);
    settle(world, &ledger, 8);
    assert_eq!(ledger.whole(), 8, "{:?}", proxy.failures());
    assert!(world.run_until(60 * SECOND, || ledger.heard() == 8), "endpoints hear it all");
    assert_eq!(proxy.failures(), []);
    assert_eq!(proxy.service_bytes(), ledger.bytes());
    let spliced = proxy.spliced_bytes();
    proxy.end(world);
    spliced
}

#[test]
fn every_byte_arrives_whatever_filters_hold() {
    check_few_seeds("streams, hold", Faults::CALM, |world| {
        assert_eq!(all_whole(world, &[("hold", "")], "", 40_000), 0, "all of it was shown");
    });
}

#[test]
fn what_one_filter_adds_the_other_takes_away() {
    check_few_seeds("streams, wrap", Faults::CALM, |world| {
        all_whole(world, &[("wrap", ""), ("hold", ""), ("unwrap", "")], "", 20_000);
    });
}

#[test]
fn who_holds_all_it_may_has_the_sender_wait() {
    check_few_seeds("streams, limit", Faults::CALM, |world| {
        let limit = "body_buffer_max = \"2KiB\"";
        all_whole(world, &[("tick", limit)], "", 10_000);
    });
}

#[test]
fn what_no_filter_wants_to_see_takes_the_short_way() {
    let spliced = AtomicU64::new(0);
    check_few_seeds("streams, unseen", Faults::CALM, |world| {
        spliced.fetch_add(all_whole(world, &[("end", "")], "", 40_000), Relaxed);
    });
    assert!(spliced.load(Relaxed) > 0);
}

#[test]
fn a_filter_that_fails_costs_its_own_connections_or_nothing() {
    for isolation in ["shared", "request"] {
        check_few_seeds("streams, trap, deny", Faults::CALM, |world| {
            let ledger = Rc::default();
            let end = talker(world, &ledger).1;
            let (chain, blocks) = filtered(&[("trip", &format!("isolation = \"{isolation}\""))]);
            let proxy = Proxy::serve(world, &(config(&[end], &chain, "") + &blocks));
            talk(world, &proxy.front, 8, 10_000, &ledger);
            settle(world, &ledger, 8);
            let failures = proxy.failures();
            let broken = u64::from(8 - ledger.whole());
            match failures[..] {
                [] => assert_eq!(broken, 0),
                // A connection may be whole for its client, and then fail on its last bytes.
                [(Cause::FilterFailed, count)] => assert!(count >= broken, "{count} {broken}"),
                ref other => panic!("{other:?}"),
            }
            proxy.end(world);
        });
        check_few_seeds("streams, trap, allow", Faults::CALM, |world| {
            let more = format!("isolation = \"{isolation}\"\non_error = \"allow\"");
            all_whole(world, &[("wrap", ""), ("trip", &more), ("unwrap", "")], "", 10_000);
        });
    }
}

#[test]
fn a_connection_that_breaks_is_no_end_for_filters_either() {
    check_few_seeds("streams, rough", Faults::ROUGH, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..3).map(|_| talker(world, &ledger).1).collect();
        let (chain, blocks) = filtered(&[("wrap", ""), ("hold", ""), ("unwrap", ""), ("end", "")]);
        let proxy = Proxy::serve(world, &(config(&ends, &chain, "") + &blocks));
        talk(world, &proxy.front, 12, 20_000, &ledger);
        settle(world, &ledger, 12);
        let failed = proxy.failures().iter().any(|(cause, _)| *cause == Cause::FilterFailed);
        assert!(!failed, "{:?}", proxy.failures());
        proxy.end(world);
    });
}

#[test]
fn no_reload_reaches_into_a_connection() {
    check_few_seeds("streams, reload", Faults::CALM, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
        let text = |filters: &[(&str, &str)]| {
            let (chain, blocks) = filtered(filters);
            config(&ends, &chain, "") + &blocks
        };
        // New versions of both, the same in the other's place, none at all.
        let texts = [
            text(&[("wrap", ""), ("unwrap", "")]),
            text(&[("wrap", "config = \"2\""), ("unwrap", "config = \"2\"")]),
            text(&[("hold", "")]),
            text(&[]),
        ];
        let proxy = Proxy::serve_on(world, &texts, 1);
        talk(world, &proxy.front, 8, 60_000, &ledger);
        for round in 1..8 {
            let proxy = proxy.clone();
            world.after(Duration::from_millis(4 * round), move |_| proxy.reload());
        }
        settle(world, &ledger, 8);
        assert_eq!(ledger.whole(), 8, "{:?}", proxy.failures());
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}

/// An HTTP server that says yes to everything, after a while.
fn auth(world: &World) -> penstock_env::Address {
    let env = world.node("auth", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| {
        let env = own.clone();
        own.spawn(async move {
            let wire = Wire::new(env, stream);
            let Ok(Some(head)) = wire.head().await else { return };
            let mut body = Expected::anything("auth");
            if wire.body(head.framing(Framing::None), &mut body, &Pace::QUICK).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                // Whoever asked may be gone.
                let _ = wire.write(answer, &Pace::QUICK).await;
            }
        });
    });
    address
}

#[test]
fn a_connection_goes_on_when_another_cluster_was_asked_and_no_endpoint_hears_of_it_before() {
    check_few_seeds("streams, call", Faults::CALM, |world| {
        let ledger: Rc<Ledger> = Rc::default();
        let (end, auth) = (talker(world, &ledger).1, auth(world));
        let (chain, blocks) = filtered(&[("knock", "http_calls = [\"auth\"]")]);
        let auth_block = format!("[cluster.auth]\nendpoints = [\"{auth}\"]\n");
        let text = config(&[end], &chain, "") + &blocks + &auth_block;
        let proxy = Proxy::serve(world, &text);
        talk(world, &proxy.front, 6, 10_000, &ledger);
        settle(world, &ledger, 6);
        assert_eq!((ledger.whole(), proxy.failures()), (6, vec![]));
        assert!(world.run_until(60 * SECOND, || ledger.heard() == 6), "endpoints hear it all");
        // Nobody to ask: closed in order, and no endpoint was connected to.
        world.set_path(&auth, Path::Refused);
        let leave = Rc::default();
        let fate = sit(&world.node("silent", Limits::AMPLE), &proxy.front, &leave);
        assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
        assert_eq!(fate.get(), Some(false));
        assert_eq!(proxy.failures(), [(Cause::FilterCloses, 1)]);
        assert_eq!(ledger.heard(), 6);
        proxy.end(world);
    });
}

#[test]
fn a_filter_may_close_or_hold_a_connection_before_an_endpoint_hears_of_it() {
    for (name, cause, is_reset, after) in
        [("shut", Cause::FilterCloses, false, 0), ("stall", Cause::FilterStalled, true, 5)]
    {
        check_few_seeds("streams, refused", Faults::CALM, |world| {
            let env = world.node("endpoint", Limits::AMPLE);
            let (address, seen) = (env.address(8080), Rc::new(RefCell::new(0)));
            let counter = Rc::clone(&seen);
            env.listen(&address, move |_| *counter.borrow_mut() += 1);
            let (chain, blocks) = filtered(&[(name, "")]);
            let service = format!("{chain}\ntimeouts.idle = \"5s\"");
            let proxy = Proxy::serve(world, &(config(&[address], &service, "") + &blocks));
            let (leave, begun) = (Rc::default(), world.now());
            let fate = sit(&world.node("silent", Limits::AMPLE), &proxy.front, &leave);
            assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
            assert_eq!(fate.get(), Some(is_reset));
            let waited = world.now().since(begun);
            assert!((after * SECOND..(after + 1) * SECOND).contains(&waited), "{waited:?}");
            assert_eq!((proxy.failures(), *seen.borrow()), (vec![(cause, 1)], 0));
            proxy.end(world);
        });
    }
}

#[test]
fn what_is_held_for_too_long_ends_with_the_filters_cause() {
    check_few_seeds("streams, stalled", Faults::CALM, |world| {
        let ledger: Rc<Ledger> = Rc::default();
        let end = talker(world, &ledger).1;
        let (chain, blocks) = filtered(&[("stick", "")]);
        let service = format!("{chain}\ntimeouts.idle = \"5s\"");
        let proxy = Proxy::serve(world, &(config(&[end], &service, "") + &blocks));
        let (env, front) = (world.node("client", Limits::AMPLE), proxy.front.clone());
        let fate = Rc::new(Cell::new(None));
        let (own, told) = (env.clone(), Rc::clone(&fate));
        env.spawn(async move {
            let stream = own.connect(&front).await.expect("the proxy listens");
            let wire = Wire::new(own, stream);
            wire.write(b"something", &Pace::QUICK).await.expect("it reads");
            told.set(Some(wire.head().await.is_err()));
        });
        assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
        assert_eq!(proxy.failures(), [(Cause::FilterStalled, 1)]);
        proxy.end(world);
    });
}
