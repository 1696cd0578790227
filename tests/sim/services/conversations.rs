//! Conversations that come to their end, and what becomes of the others when one does not.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, StreamExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Death, Faults, Limits, Path, check_few_seeds};

use super::{Ledger, SECOND, config, settle, talk, talker};
use crate::proxy::Proxy;

#[test]
fn every_byte_arrives_both_ways_and_so_do_the_ends() {
    let (spliced, all) = (AtomicU64::new(0), AtomicU64::new(0));
    check_few_seeds("services, calm", Faults::CALM, |world| {
        let ledger: Rc<Ledger> = Rc::default();
        let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
        let proxy = Proxy::serve_on(world, &[config(&ends, "", "")], 2);
        talk(world, &proxy.front, 8, 40_000, &ledger);
        settle(world, &ledger, 8);
        assert_eq!((ledger.whole.get(), ledger.broken.get()), (8, 0));
        assert!(world.run_until(60 * SECOND, || ledger.heard.get() == 8), "endpoints hear it all");
        assert_eq!(proxy.failures(), []);
        let bytes = proxy.service_bytes();
        assert_eq!(bytes, ledger.bytes.get());
        spliced.fetch_add(proxy.spliced_bytes(), Relaxed);
        all.fetch_add(bytes.0 + bytes.1, Relaxed);
        proxy.end(world);
    });
    let (spliced, all) = (spliced.load(Relaxed), all.load(Relaxed));
    assert!(spliced > all / 10 && spliced < all, "{spliced} of {all} bytes by conduits");
}

#[test]
fn a_connection_that_breaks_is_no_end_and_no_other_connections() {
    check_few_seeds("services, rough", Faults::ROUGH, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..3).map(|_| talker(world, &ledger).1).collect();
        let proxy = Proxy::serve(world, &config(&ends, "", ""));
        talk(world, &proxy.front, 12, 20_000, &ledger);
        settle(world, &ledger, 12);
        proxy.end(world);
    });
}

#[test]
fn an_endpoint_that_dies_takes_its_own_connections_with_it() {
    for death in [Death::Reset, Death::Silent] {
        check_few_seeds("services, death", Faults::CALM, |world| {
            let ledger = Rc::default();
            let talkers: Vec<_> = (0..2).map(|_| talker(world, &ledger)).collect();
            let ends: Vec<_> = talkers.iter().map(|(_, address)| address.clone()).collect();
            let service = "timeouts.idle = \"20s\"";
            let proxy = Proxy::serve(world, &config(&ends, service, "balance = \"round-robin\""));
            talk(world, &proxy.front, 8, 20_000, &ledger);
            let wait = Duration::from_micros(u64::from(world.rng().below(20_000)));
            let dying = talkers[0].0.clone();
            world.after(wait, move |world| world.kill(&dying, death));
            settle(world, &ledger, 8);
            // Those of the other endpoint, at least: new ones go there when the first is gone.
            assert!(ledger.whole.get() >= 4, "{} whole", ledger.whole.get());
            proxy.end(world);
        });
    }
}

#[test]
fn another_endpoint_is_tried_where_one_cannot_be_connected_to() {
    for (path, cause) in [
        (Path::Refused, Cause::ConnectRefused),
        (Path::Hole, Cause::ConnectTimeout),
        (Path::Fails(113), Cause::ConnectFailed),
    ] {
        check_few_seeds("services, retry", Faults::NONE, |world| {
            let ledger = Rc::default();
            let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
            world.set_path(&ends[0], path);
            let proxy = Proxy::serve(world, &config(&ends, "", "balance = \"round-robin\""));
            talk(world, &proxy.front, 6, 2_000, &ledger);
            settle(world, &ledger, 6);
            assert_eq!(ledger.whole.get(), 6);
            // What another endpoint made good is no failure of the service's.
            assert_eq!(proxy.failures(), []);
            let failed = match proxy.tries_failed()[..] {
                [(found, count)] if found == cause => count,
                ref other => panic!("{other:?}"),
            };
            // Nobody left: as many tries as there are endpoints, and a reset.
            world.set_path(&ends[1], path);
            talk(world, &proxy.front, 2, 2_000, &ledger);
            settle(world, &ledger, 8);
            assert_eq!(ledger.broken.get(), 2);
            assert_eq!(proxy.failures(), [(cause, 2)]);
            assert_eq!(proxy.tries_failed(), [(cause, failed + 4)]);
            proxy.end(world);
        });
    }
}

#[test]
fn a_source_meets_the_endpoint_that_its_address_hashes_to() {
    check_few_seeds("services, maglev", Faults::NONE, |world| {
        let seen: Rc<RefCell<Vec<(Address, usize)>>> = Rc::default();
        let ends: Vec<_> = (0..4)
            .map(|number| {
                let env = world.node("endpoint", Limits::AMPLE);
                let (address, seen) = (env.address(8080), seen.clone());
                let own = env.clone();
                env.listen(&address, move |stream| {
                    let seen = seen.clone();
                    own.spawn(async move {
                        if let Ok(Some(chunk)) = stream.recv().await {
                            let text = std::str::from_utf8(&chunk).expect("an address");
                            let who = text.parse().expect("an address");
                            seen.borrow_mut().push((who, number));
                        }
                    });
                });
                address
            })
            .collect();
        let proxy = Proxy::serve_on(world, &[config(&ends, "", "balance = \"maglev\"")], 3);
        for _ in 0..6 {
            let env = world.node("client", Limits::AMPLE);
            let (own, front, name) = (env.clone(), proxy.front.clone(), env.address(1));
            env.spawn(async move {
                for _ in 0..5 {
                    let stream = own.connect(&front).await.expect("the proxy listens");
                    stream.start_send(SendBuf::of(name.to_string().into_bytes()));
                    let _ = stream.recv().await;
                }
            });
        }
        assert!(world.run_until(60 * SECOND, || seen.borrow().len() == 30));
        let seen = seen.borrow();
        for (who, number) in &*seen {
            let (_, first) = seen.iter().find(|(other, _)| other == who).expect("itself");
            assert_eq!(number, first, "{who}");
        }
        proxy.end(world);
    });
}

#[test]
fn no_change_of_config_closes_a_connection() {
    check_few_seeds("services, reload", Faults::CALM, |world| {
        let ledger = Rc::default();
        let ends: Vec<_> = (0..2).map(|_| talker(world, &ledger).1).collect();
        // Another endpoint, no service at all, and back.
        let gone = format!("[cluster.other]\nendpoints = [\"{}\"]\n", ends[1]);
        let texts = [config(&ends[..1], "", ""), config(&ends[1..], "", ""), gone];
        let proxy = Proxy::serve_on(world, &texts, 1);
        talk(world, &proxy.front, 6, 60_000, &ledger);
        // A connection that comes to a socket which is about to close is served, too.
        for round in 1..6 {
            let proxy = proxy.clone();
            world.after(Duration::from_millis(4 * round), move |_| proxy.reload());
        }
        settle(world, &ledger, 6);
        assert_eq!(ledger.whole.get(), 6);
        assert!(world.run_until(60 * SECOND, || ledger.heard.get() == 6), "endpoints hear it all");
        assert_eq!(proxy.failures(), []);
        proxy.end(world);
    });
}
