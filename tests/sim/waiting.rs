//! Who waits for a place of a cluster: what ends the wait, and what makes room.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, CloseKind, Env, Stream, Time};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

const SECOND: Duration = Duration::from_secs(1);

/// An origin that takes `work` for each answer.
fn origin(world: &World, work: Duration) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| own.spawn(serve(own.clone(), stream, work)));
    address
}

async fn serve(env: SimEnv, stream: SimStream, work: Duration) {
    let wire = Wire::new(env, stream);
    while let Ok(Some(_)) = wire.head().await {
        Wire::sleep_on(&wire.env, work).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if wire.write(answer, &Pace::QUICK).await.is_err() {
            return;
        }
    }
}

/// What clients were answered, and when: by their number.
type Answers = Rc<RefCell<Vec<(u32, u16, Time)>>>;

/// Asks at `begin`; goes away `patience` later, if there is such a limit.
async fn ask(
    (env, to): (SimEnv, Address),
    (number, path): (u32, &'static str),
    begin: Duration,
    patience: Option<Duration>,
    answers: Answers,
) {
    Wire::sleep_on(&env, begin).await;
    let stream = Wire::connect(&env, &to).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: sim.test\r\n\r\n");
    wire.write(request.as_bytes(), &Pace::QUICK).await.expect("the proxy reads");
    if let Some(patience) = patience {
        Wire::sleep_on(&wire.env, patience).await;
        wire.stream.close(CloseKind::Reset);
        return;
    }
    let head = wire.head().await.expect("the proxy answers").expect("it has an answer");
    let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let now = wire.env.now();
    answers.borrow_mut().push((number, status.expect("a status line"), now));
}

#[test]
fn who_leaves_while_it_waits_gives_its_turn_to_the_next() {
    for limit in ["requests = 1", "requests_per_endpoint = 1", "connections = 1"] {
        check_few_seeds(limit, Faults::CALM, |world| {
            let origins = [origin(world, 6 * SECOND)];
            let cluster = format!("limits = {{ {limit}, queued = 1 }}\ntimeouts.queue = \"30s\"\n");
            let proxy = Proxy::serve(world, &(config(&origins, "", "") + &cluster));
            let answers = Answers::default();
            let client = world.node("client", Limits::AMPLE);
            // The first is served, the second leaves the queue, and so the third finds room in it.
            for (number, patience) in [(0, None), (1, Some(SECOND)), (2, None)] {
                let (from, begin) = ((client.clone(), proxy.front.clone()), 2 * SECOND * number);
                client.spawn(ask(from, (number, "/a"), begin, patience, answers.clone()));
            }
            let both = || answers.borrow().len() == 2;
            assert!(world.run_until(600 * SECOND, both), "{:#?}", world.leaks());
            let served: Vec<_> =
                answers.borrow().iter().map(|&(who, what, _)| (who, what)).collect();
            assert_eq!(served, [(0, 200), (2, 200)]);
            assert_eq!(proxy.failures(), [(Cause::DownstreamGone, 1)]);
            proxy.end(world);
        });
    }
}

/// An origin that resets what asks for `/bad`, and is quick with all else.
fn origin_with_a_bad_path(world: &World) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| {
        let wire = Wire::new(own.clone(), stream);
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                if head.line.contains("/bad") {
                    return wire.stream.close(CloseKind::Reset);
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if wire.write(answer, &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    address
}

#[test]
fn who_waits_for_one_endpoint_holds_nobody_up_who_wants_another() {
    check_few_seeds("waiting, lines", Faults::CALM, |world| {
        let origins = [origin_with_a_bad_path(world), origin(world, 40 * SECOND)];
        let cluster = "balance = \"round-robin\"\nlimits = { requests_per_endpoint = 1 }\n\
            outlier.consecutive_errors = 0\n\
            timeouts = { queue = \"60s\", response_head = \"90s\" }\n";
        let text = config(&origins, "", "").replace("timeouts.upgrade_idle = \"120s\"\n", "");
        let proxy = Proxy::serve(world, &(text + cluster));
        let answers = Answers::default();
        let client = world.node("client", Limits::AMPLE);
        // One of the first two keeps the slow one busy. The third fails at the other, and waits.
        for (number, path) in [(0, "/a"), (1, "/a"), (2, "/bad"), (3, "/a"), (4, "/a")] {
            let (from, begin) = ((client.clone(), proxy.front.clone()), 5 * SECOND * number);
            client.spawn(ask(from, (number, path), begin, None, answers.clone()));
        }
        let all = || answers.borrow().len() == 5;
        assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
        for &(number, status, at) in &*answers.borrow() {
            assert_eq!(status, 200);
            let soon = at < Time::default() + 5 * SECOND * number + 4 * SECOND;
            assert!(soon || number < 3, "{number}: {at:?}");
        }
        proxy.end(world);
    });
}

/// Nobody was connected to, so nobody failed: it is not tried again elsewhere, to wait once more.
#[test]
fn who_waited_for_a_connection_in_vain_does_not_wait_twice() {
    check_few_seeds("waiting, in vain", Faults::CALM, |world| {
        let origins = [(); 3].map(|()| origin(world, 60 * SECOND));
        let cluster = "limits = { connections = 1 }\n\
            timeouts = { queue = \"4s\", response_head = \"90s\" }\n";
        let text = config(&origins, "", "").replace("timeouts.upgrade_idle = \"120s\"\n", "");
        let proxy = Proxy::serve(world, &(text + cluster));
        let answers = Answers::default();
        let client = world.node("client", Limits::AMPLE);
        for number in 0..2 {
            let (from, begin) = ((client.clone(), proxy.front.clone()), 5 * SECOND * number);
            client.spawn(ask(from, (number, "/a"), begin, None, answers.clone()));
        }
        let all = || answers.borrow().len() == 2;
        assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
        let (number, status, at) = answers.borrow()[0];
        assert_eq!((number, status), (1, 503));
        assert!(at < Time::default() + 12 * SECOND, "{at:?}");
        assert_eq!(proxy.failures(), [(Cause::QueueTimeout, 1)]);
        proxy.end(world);
    });
}

/// A tunnel is a request in flight as long as it lasts.
#[test]
fn a_tunnel_is_in_flight_at_its_endpoint() {
    check_few_seeds("waiting, tunnel", Faults::CALM, |world| {
        let env = world.node("origin", Limits::AMPLE);
        let (own, address) = (env.clone(), env.address(8080));
        env.listen(&address, move |stream| {
            let wire = Wire::new(own.clone(), stream);
            own.spawn(async move {
                let Ok(Some(head)) = wire.head().await else { return };
                let answer: &[u8] = match head.connection_has("upgrade") {
                    true => b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: sim-echo\r\n\r\n",
                    false => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                };
                let _ = wire.write(answer, &Pace::QUICK).await;
                while let Ok(true) = wire.more().await {
                    wire.take_all();
                }
            });
        });
        let cluster = "limits = { requests_per_endpoint = 1 }\ntimeouts.queue = \"4s\"\n";
        let proxy = Proxy::serve(world, &(config(&[address], "", "") + cluster));
        let answers = Answers::default();
        let client = world.node("client", Limits::AMPLE);
        let (own, front) = (client.clone(), proxy.front.clone());
        client.spawn(async move {
            let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
            let wire = Wire::new(own, stream);
            let request = b"GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: upgrade\r\n\
                Upgrade: sim-echo\r\n\r\n";
            wire.write(request, &Pace::QUICK).await.expect("the proxy reads");
            let head = wire.head().await.expect("an answer").expect("an answer");
            assert!(head.line.contains(" 101 "), "{head:?}");
            Wire::sleep_on(&wire.env, 20 * SECOND).await;
            wire.stream.shutdown_write();
            while let Ok(true) = wire.more().await {
                wire.take_all();
            }
        });
        // One while it lasts, and one behind it.
        for number in [1, 6] {
            let (from, begin) = ((client.clone(), proxy.front.clone()), 5 * SECOND * number);
            client.spawn(ask(from, (number, "/a"), begin, None, answers.clone()));
        }
        let all = || answers.borrow().len() == 2 || world.panicked().is_some();
        assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
        assert_eq!(world.panicked(), None);
        let told: Vec<_> = answers.borrow().iter().map(|&(who, what, _)| (who, what)).collect();
        assert_eq!(told, [(1, 503), (6, 200)]);
        proxy.end(world);
    });
}

#[test]
fn a_route_does_not_let_its_requests_wait_longer_than_they_may_take() {
    check_few_seeds("waiting, route", Faults::CALM, |world| {
        let origins = [origin(world, 30 * SECOND)];
        let route = "[[listener.web.route]]\nhost = \"sim.test\"\npath = \"/a\"\nto = \"app\"\n\
            timeout = \"3s\"\n";
        let cluster = "limits = { requests = 1 }\ntimeouts.queue = \"60s\"\n\
            timeouts.response_head = \"60s\"\n";
        let proxy = Proxy::serve(world, &(config(&origins, route, "") + cluster));
        let answers = Answers::default();
        let client = world.node("client", Limits::AMPLE);
        // The first may take as long as it wants, and the others wait behind it.
        for (number, path) in [(0, "/b"), (1, "/a"), (2, "/a")] {
            let (from, begin) = ((client.clone(), proxy.front.clone()), 5 * SECOND * number);
            client.spawn(ask(from, (number, path), begin, None, answers.clone()));
        }
        let all = || answers.borrow().len() == 3;
        assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
        let seen = answers.borrow();
        let told: Vec<_> = seen.iter().map(|&(who, what, _)| (who, what)).collect();
        assert_eq!(told, [(1, 504), (2, 504), (0, 200)]);
        assert_eq!(proxy.failures(), [(Cause::RouteTimeout, 2)]);
        drop(seen);
        proxy.end(world);
    });
}

#[test]
fn an_unused_connection_to_another_endpoint_gives_way() {
    room("waiting, room", 1);
}

#[test]
fn an_unused_connection_of_another_shard_gives_way() {
    room("waiting, room elsewhere", 3);
}

#[track_caller]
fn room(name: &str, shards: usize) {
    check_few_seeds(name, Faults::CALM, |world| {
        let origins = [(); 3].map(|()| origin(world, Duration::ZERO));
        let cluster = "balance = \"round-robin\"\nlimits = { connections = 2 }\n\
            timeouts.queue = \"60s\"\ntimeouts.keep_alive = \"10m\"\n";
        let text = config(&origins, "", "") + cluster;
        let proxy = Proxy::serve_on(world, &[text], shards);
        let answers = Answers::default();
        let client = world.node("client", Limits::AMPLE);
        // One after the other to three endpoints in turn, over the two connections there may be.
        for number in 0..9 {
            let (from, begin) = ((client.clone(), proxy.front.clone()), 20 * SECOND * number);
            client.spawn(ask(from, (number, "/a"), begin, None, answers.clone()));
        }
        let all = || answers.borrow().len() == 9;
        assert!(world.run_until(600 * SECOND, all), "{:#?}", world.leaks());
        for &(number, status, at) in &*answers.borrow() {
            assert_eq!(status, 200);
            // Another shard looks once a second whether somebody waits for its places; the rest is
            // the network's.
            assert!(at < Time::default() + SECOND * (20 * number + 10), "{number}: {at:?}");
        }
        assert!(proxy.pooled_count() <= 2);
        proxy.end(world);
    });
}
