//! Who says nothing, reads nothing, or is one too many.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, StreamExt, Timer, TimerExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use super::{SECOND, config, settle, talk, talker};
use crate::proxy::Proxy;

/// Whether a connection was reset, once it is over.
pub(crate) type Fate = Rc<Cell<Option<bool>>>;

/// [`sit`] from a node of its own.
fn silent(world: &World, front: &Address, leave: &Rc<Cell<bool>>) -> Fate {
    sit(&world.node("silent", Limits::AMPLE), front, leave)
}

/// Connects and says nothing until `leave`; whether its connection was reset before.
pub(crate) fn sit(env: &SimEnv, front: &Address, leave: &Rc<Cell<bool>>) -> Fate {
    let fate = Rc::new(Cell::new(None));
    let (own, front, leave, told) = (env.clone(), front.clone(), leave.clone(), fate.clone());
    env.spawn(async move {
        let stream = own.connect(&front).await.expect("the proxy listens");
        let timer = own.timer();
        while !leave.get() {
            timer.set(own.now() + SECOND / 10);
            if let Some(received) = timer.race(stream.recv()).await {
                return told.set(Some(received.is_err()));
            }
        }
        told.set(Some(false));
    });
    fate
}

#[test]
fn who_says_nothing_for_too_long_is_cut_by_a_reset() {
    check_few_seeds("services, idle", Faults::CALM, |world| {
        let ledger = Rc::default();
        let end = talker(world, &ledger).1;
        let proxy = Proxy::serve(world, &config(&[end], "timeouts.idle = \"5s\"", ""));
        let (leave, begun) = (Rc::default(), world.now());
        let fate = silent(world, &proxy.front, &leave);
        assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
        assert_eq!(fate.get(), Some(true), "a reset");
        let waited = world.now().since(begun);
        assert!((5 * SECOND..6 * SECOND).contains(&waited), "{waited:?}");
        assert_eq!(proxy.failures(), [(Cause::TunnelIdle, 1)]);
        proxy.end(world);
    });
}

/// An endpoint that sends without end, and reads nothing.
fn fountain(world: &World) -> (SimEnv, Address) {
    let env = world.node("endpoint", Limits::AMPLE);
    let (address, own) = (env.address(9_000), env.clone());
    env.listen(&address, move |stream| {
        let env = own.clone();
        own.spawn(async move {
            loop {
                let mut data = SendBuf::new(env.buffer());
                data.push(&[7; 1_000]);
                if stream.send(data).await.is_err() {
                    return;
                }
            }
        });
    });
    (env, address)
}

/// Connects, sends a byte now and again, and reads so many bytes each time; whether its connection
/// was cut within the time.
fn reader(world: &World, front: &Address, bytes: usize, time: Duration) -> Rc<Cell<Option<bool>>> {
    let env = world.node("client", Limits::AMPLE);
    let (own, front, fate) = (env.clone(), front.clone(), Rc::new(Cell::new(None)));
    let told = Rc::clone(&fate);
    env.spawn(async move {
        let stream = own.connect(&front).await.expect("the proxy listens");
        let (timer, until) = (own.timer(), own.now() + time);
        while own.now() < until {
            let mut data = SendBuf::new(own.buffer());
            data.push(b"x");
            let mut cut = stream.send(data).await.is_err();
            let mut read = 0;
            while read < bytes && !cut {
                match stream.recv().await {
                    Ok(Some(chunk)) => read += chunk.len(),
                    _ => cut = true,
                }
            }
            if cut {
                return told.set(Some(true));
            }
            timer.set(own.now() + SECOND / 2);
            timer.expired().await;
        }
        told.set(Some(false));
    });
    fate
}

#[test]
fn who_does_not_read_is_cut_though_it_sends() {
    for (name, timeouts, bytes, cut) in [
        ("services, unread", "{ idle = \"5s\" }", 0, true),
        ("services, unread sooner", "{ idle = \"1h\", write_stall = \"5s\" }", 0, true),
        ("services, read", "{ idle = \"5s\" }", 1, false),
        ("services, slow", "{ write_stall = \"5s\", write_rate_min = \"64KiB\" }", 1, true),
        ("services, fast", "{ write_stall = \"5s\", write_rate_min = \"1KiB\" }", 2_000, false),
    ] {
        check_few_seeds(name, Faults::NONE, |world| {
            let end = fountain(world).1;
            let more = format!("timeouts = {timeouts}");
            let proxy = Proxy::serve(world, &config(&[end], &more, ""));
            let fate = reader(world, &proxy.front, bytes, 30 * SECOND);
            assert!(world.run_until(60 * SECOND, || fate.get().is_some()));
            assert_eq!(fate.get(), Some(cut), "{timeouts}");
            let causes: Vec<Cause> = proxy.failures().iter().map(|(cause, _)| *cause).collect();
            let expected = if cut { vec![Cause::DownstreamStalled] } else { vec![] };
            assert_eq!(causes, expected, "{timeouts}");
            proxy.end(world);
        });
    }
}

#[test]
fn a_cluster_has_no_more_connections_than_it_may() {
    check_few_seeds("services, full", Faults::NONE, |world| {
        let ledger = Rc::default();
        let end = talker(world, &ledger).1;
        let limits = "limits.connections = 2\ntimeouts.queue = \"500ms\"";
        let proxy = Proxy::serve(world, &config(&[end], "", limits));
        let leave = Rc::new(Cell::new(false));
        let there: Vec<_> = (0..2).map(|_| silent(world, &proxy.front, &leave)).collect();
        world.after(SECOND, |_| {});
        world.run(SECOND);
        // The third waits in vain, the fourth until there is a place.
        let third = silent(world, &proxy.front, &leave);
        assert!(world.run_until(10 * SECOND, || third.get().is_some()));
        assert_eq!((third.get(), there[0].get()), (Some(true), None));
        assert_eq!(proxy.failures(), [(Cause::QueueTimeout, 1)]);
        leave.set(true);
        talk(world, &proxy.front, 1, 1_000, &ledger);
        settle(world, &ledger, 1);
        assert_eq!(ledger.whole.get(), 1);
        proxy.end(world);
    });
}

#[test]
fn a_service_takes_no_more_connections_than_it_may() {
    for (limit, cause) in [
        ("limits.connections = 2", Cause::ConnectionsMax),
        ("limits.connections_per_source = 2", Cause::SourceConnectionsMax),
    ] {
        check_few_seeds("services, limits", Faults::NONE, |world| {
            let ledger = Rc::default();
            let end = talker(world, &ledger).1;
            let proxy = Proxy::serve(world, &config(&[end], limit, ""));
            let (env, leave) = (world.node("silent", Limits::AMPLE), Rc::new(Cell::new(false)));
            let there: Vec<_> = (0..2).map(|_| sit(&env, &proxy.front, &leave)).collect();
            world.after(SECOND, |_| {});
            world.run(SECOND);
            assert_eq!(proxy.service_connections(), 2);
            let third = sit(&env, &proxy.front, &leave);
            assert!(world.run_until(10 * SECOND, || third.get().is_some()));
            assert_eq!((there[0].get(), there[1].get()), (None, None));
            assert_eq!(proxy.failures(), [(cause, 1)]);
            leave.set(true);
            proxy.end(world);
        });
    }
}
