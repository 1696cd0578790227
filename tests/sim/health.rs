//! Endpoints that fall out, and come back: what clients see of it, and what endpoints are asked.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

/// An endpoint whose health is in `well`; how often it was asked.
fn listen(world: &World, well: &Rc<Cell<bool>>) -> (Address, Rc<Cell<u32>>) {
    listen_saying(world, well, "503 No")
}

/// The same, with a status of its own, and fields, where it is not well.
fn listen_saying(
    world: &World,
    well: &Rc<Cell<bool>>,
    says: &'static str,
) -> (Address, Rc<Cell<u32>>) {
    let env = world.node("origin", Limits::AMPLE);
    let address = env.address(8080);
    (address.clone(), begin(env, &address, well, says))
}

/// Listens there from now on.
fn begin(
    env: SimEnv,
    address: &Address,
    well: &Rc<Cell<bool>>,
    says: &'static str,
) -> Rc<Cell<u32>> {
    let (own, count) = (env.clone(), Rc::new(Cell::new(0)));
    let (counted, well) = (count.clone(), well.clone());
    env.listen(address, move |stream| {
        let wire = Wire::new(own.clone(), stream);
        let (count, well) = (counted.clone(), well.clone());
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                let (framing, mut body) = (head.framing(Framing::None), Expected::anything("o"));
                if wire.body(framing, &mut body, &Pace::QUICK).await.is_err() {
                    return;
                }
                count.set(count.get() + 1);
                let status = if well.get() { "200 OK" } else { says };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                if wire.write(answer.as_bytes(), &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    count
}

/// Asks `count` requests, one each `every`; those that were answered 200. What is behind the method
/// are fields.
fn ask(world: &World, proxy: &Proxy, method: &'static str, count: u32, every: Duration) -> u32 {
    let (method, fields) = method.split_once('\n').unwrap_or((method, ""));
    let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(count)));
    let (own, front, good) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(0)));
    let (told, heard) = (left.clone(), good.clone());
    env.spawn(async move {
        for _ in 0..count {
            let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
            let wire = Wire::new(own.clone(), stream);
            let request = format!(
                "{method} / HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 0\r\n\
                 Connection: close\r\n{fields}\r\n"
            );
            wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is taken");
            let head = wire.head().await.expect("an answer").expect("an answer");
            heard.set(heard.get() + u32::from(head.line.contains(" 200 ")));
            told.set(told.get() - 1);
            Wire::sleep_on(&own, every).await;
        }
    });
    let done = || left.get() == 0 || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(36_000), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    good.get()
}

fn text(endpoints: &[Address], more: &str) -> String {
    config(endpoints, "", "") + "balance = \"round-robin\"\n" + more
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_endpoint_that_cannot_serve_is_asked_three_times_and_then_now_and_again() {
    check_few_seeds("health ejected", Faults::CALM, |world| {
        let (sick, well) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(true)));
        let ((one, asked), (two, _)) = (listen(world, &sick), listen(world, &well));
        let proxy = Proxy::serve(world, &text(&[one, two], ""));
        assert_eq!(ask(world, &proxy, "GET", 80, MS), 80, "each has its answer");
        assert_eq!(asked.get(), 3);
        // 8 to 12 s later one request tries it: that is answered by the other one, too.
        assert_eq!(ask(world, &proxy, "GET", 130, MS * 100), 130);
        assert_eq!(asked.get(), 4);
        // And 16 to 24 s later, when it is well again, it has its share.
        sick.set(true);
        assert_eq!(ask(world, &proxy, "GET", 300, MS * 100), 300);
        assert!((20..=150).contains(&(asked.get() - 4)), "{}", asked.get());
        proxy.end(world);
    });
}

/// Each answer of the other one is a reason to look for somebody else, and none to keep the ejected
/// one out: whoever looks and does not go there has not tried it.
#[test]
fn who_looks_for_another_endpoint_does_not_use_up_its_trial() {
    check_few_seeds("health looks", Faults::CALM, |world| {
        let sick = Rc::new(Cell::new(false));
        let (one, asked) = listen(world, &sick);
        let env = world.node("origin", Limits::AMPLE);
        let (own, two, other_is_well) = (env.clone(), env.address(8080), sick.clone());
        env.listen(&two, move |stream| {
            let (wire, other_is_well) = (Wire::new(own.clone(), stream), other_is_well.clone());
            own.spawn(async move {
                while let Ok(Some(_)) = wire.head().await {
                    // Whenever the time of the first one is over, a request is here.
                    Wire::sleep_on(&wire.env, MS * 1_000).await;
                    let status = if other_is_well.get() { "503 No" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    if wire.write(answer.as_bytes(), &Pace::QUICK).await.is_err() {
                        return;
                    }
                }
            });
        });
        let proxy = Proxy::serve(world, &text(&[one, two], "outlier.consecutive_errors = 1\n"));
        assert_eq!(ask(world, &proxy, "GET", 3, Duration::ZERO), 3);
        assert_eq!(asked.get(), 1);
        sick.set(true);
        assert!(ask(world, &proxy, "GET", 25, Duration::ZERO) > 0);
        proxy.end(world);
    });
}

#[test]
fn what_may_not_be_asked_twice_fails_three_times_and_no_more() {
    check_few_seeds("health post", Faults::CALM, |world| {
        let (sick, well) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(true)));
        let ((one, asked), (two, _)) = (listen(world, &sick), listen(world, &well));
        let proxy = Proxy::serve(world, &text(&[one, two], ""));
        assert_eq!(ask(world, &proxy, "POST", 80, MS), 77);
        assert_eq!(asked.get(), 3);
        proxy.end(world);
    });
}

#[test]
fn an_endpoint_that_refuses_connections_is_tried_three_times() {
    check_few_seeds("health refused", Faults::CALM, |world| {
        let well = Rc::new(Cell::new(true));
        let nobody = world.node("nobody", Limits::AMPLE).address(9);
        let (one, _) = listen(world, &well);
        let proxy = Proxy::serve(world, &text(&[nobody, one], "timeouts.keep_alive = \"0s\"\n"));
        assert_eq!(ask(world, &proxy, "POST", 80, MS), 80);
        let refused = proxy.tries_failed().iter().map(|(_, count)| *count).sum::<u64>();
        assert_eq!(refused, 3);
        proxy.end(world);
    });
}

#[test]
fn an_endpoint_that_takes_requests_and_never_answers_is_asked_three_times() {
    check_few_seeds("health mute", Faults::CALM, |world| {
        let (mute, asked) = mute(world, Duration::from_secs(20));
        let (well, _) = listen(world, &Rc::new(Cell::new(true)));
        let timeouts = "timeouts.response_head = \"2s\"\n";
        let proxy = Proxy::serve(world, &text(&[mute, well], timeouts));
        assert_eq!(ask(world, &proxy, "GET", 80, MS), 77);
        assert_eq!(asked.get(), 3);
        proxy.end(world);
    });
}

/// Who asks says how long they wait, and that is nothing that an endpoint could fail at.
#[test]
fn calls_that_wait_for_nothing_eject_nobody() {
    check_few_seeds("health impatient", Faults::CALM, |world| {
        let (one, asked) = mute(world, MS * 500);
        let (two, other) = mute(world, MS * 500);
        let proxy = Proxy::serve(world, &text(&[one, two], ""));
        let call = "POST\nContent-Type: application/grpc\r\nTE: trailers\r\ngrpc-timeout: 20m\r\n";
        assert_eq!(ask(world, &proxy, call, 60, MS), 60);
        // Each of them has its turn, as before.
        let before = (asked.get(), other.get());
        assert_eq!(ask(world, &proxy, "GET", 4, MS), 4);
        assert_eq!((asked.get() - before.0, other.get() - before.1), (2, 2));
        proxy.end(world);
    });
}

/// An endpoint that answers after so long; how often it was asked.
fn mute(world: &World, work: Duration) -> (Address, Rc<Cell<u32>>) {
    let (env, count) = (world.node("origin", Limits::AMPLE), Rc::new(Cell::new(0)));
    let (own, address, counted) = (env.clone(), env.address(8080), count.clone());
    env.listen(&address, move |stream| {
        let (wire, count) = (Wire::new(own.clone(), stream), counted.clone());
        own.spawn(async move {
            while let Ok(Some(_)) = wire.head().await {
                count.set(count.get() + 1);
                Wire::sleep_on(&wire.env, work).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if wire.write(answer, &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    (address, count)
}

/// As servers do whose time for unused connections is over just when the next request comes.
#[test]
fn an_endpoint_that_closes_kept_connections_is_not_ejected() {
    check_few_seeds("health stale", Faults::CALM, |world| {
        let ends = [(); 2].map(|()| {
            let (env, count) = (world.node("origin", Limits::AMPLE), Rc::new(Cell::new(0)));
            let (own, counted, address) = (env.clone(), count.clone(), env.address(8080));
            env.listen(&address, move |stream| {
                let (wire, count) = (Wire::new(own.clone(), stream), counted.clone());
                own.spawn(async move {
                    if let Ok(Some(_)) = wire.head().await {
                        count.set(count.get() + 1);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        let _ = wire.write(answer, &Pace::QUICK).await;
                        let _ = wire.head().await;
                    }
                });
            });
            (address, count)
        });
        let addresses = ends.each_ref().map(|(address, _)| address.clone());
        let proxy = Proxy::serve(world, &text(&addresses, ""));
        assert_eq!(ask(world, &proxy, "GET", 200, MS * 10), 200);
        let counts = ends.each_ref().map(|(_, count)| count.get());
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
        proxy.end(world);
    });
}

#[test]
fn an_outage_of_all_is_forgotten_soon_after_it() {
    check_few_seeds("health outage", Faults::CALM, |world| {
        let well = Rc::new(Cell::new(true));
        let nodes = [(); 2].map(|()| world.node("origin", Limits::AMPLE));
        let addresses = nodes.each_ref().map(|env| env.address(8080));
        let proxy = Proxy::serve(world, &text(&addresses, ""));
        // Each falls back on the one that is ejected, when the other one has refused it.
        assert_eq!(ask(world, &proxy, "GET", 20, MS * 50), 0);
        let mut counts = nodes.into_iter().zip(&addresses);
        let mut count = || counts.next().map(|(env, address)| begin(env, address, &well, ""));
        let (first, second) = (count().expect("two"), count().expect("two"));
        // One is ejected, for 8 to 12 s.
        assert_eq!(ask(world, &proxy, "GET", 130, MS * 100), 130);
        let before = (first.get(), second.get());
        assert_eq!(ask(world, &proxy, "GET", 20, MS), 20);
        assert_eq!((first.get(), second.get()), (before.0 + 10, before.1 + 10));
        proxy.end(world);
    });
}

#[test]
fn the_last_ones_are_asked_however_they_answer() {
    for count in [1, 2, 3, 5] {
        check_few_seeds("health last", Faults::CALM, |world| {
            let sick = Rc::new(Cell::new(false));
            let (endpoints, counts): (Vec<_>, Vec<_>) =
                (0..count).map(|_| listen(world, &sick)).unzip();
            let proxy = Proxy::serve(world, &text(&endpoints, ""));
            assert_eq!(ask(world, &proxy, "POST", 100, MS), 0);
            let asked = counts.iter().map(|count| count.get()).sum::<u32>();
            assert_eq!(asked, 100, "each by one of them: no answer is ours");
            assert_eq!(proxy.failures(), []);
            sick.set(true);
            // None waits for its ejection to end: one that is left answers.
            assert_eq!(ask(world, &proxy, "POST", 20, MS), 20);
            proxy.end(world);
        });
    }
}

#[test]
fn a_config_that_ejects_nobody_is_obeyed() {
    check_few_seeds("health off", Faults::CALM, |world| {
        let (sick, well) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(true)));
        let ((one, asked), (two, _)) = (listen(world, &sick), listen(world, &well));
        let more = "outlier.consecutive_errors = 0\n";
        let proxy = Proxy::serve(world, &text(&[one, two], more));
        assert_eq!(ask(world, &proxy, "POST", 100, MS), 50);
        assert_eq!(asked.get(), 50);
        proxy.end(world);
    });
}

const NO_OUTLIERS: &str = "outlier.consecutive_errors = 0\n";
const REST_OF_3_S: &str = "outlier = { consecutive_errors = 0, retry_after_max = \"3s\" }\n";
const REST_OF_NONE: &str = "outlier = { consecutive_errors = 0, retry_after_max = \"0s\" }\n";

#[test]
fn an_endpoint_that_asks_for_a_pause_has_it() {
    // The world's time of day is not ours: a date that is over asks for nothing.
    let over = "503 No\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT";
    for (says, more, asked_in_8_s) in [
        ("503 No\r\nRetry-After: 3", NO_OUTLIERS, 3),
        // No longer than the config allows, or not at all.
        ("503 No\r\nRetry-After: 100", REST_OF_3_S, 3),
        ("503 No\r\nRetry-After: 3", REST_OF_NONE, 40),
        ("503 No", NO_OUTLIERS, 40),
        (over, NO_OUTLIERS, 40),
        // Of an answer of another status it is about who asked, or what for.
        ("429 Slow\r\nRetry-After: 3", "", 40),
        ("404 Gone\r\nRetry-After: 3", "", 40),
    ] {
        check_few_seeds("health rest", Faults::CALM, |world| {
            let (sick, well) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(true)));
            let ((one, asked), (two, _)) =
                (listen_saying(world, &sick, says), listen(world, &well));
            let proxy = Proxy::serve(world, &text(&[one, two], more));
            ask(world, &proxy, "POST", 80, MS * 100);
            assert_eq!(asked.get(), asked_in_8_s, "{says}");
            // It is welcome as soon as it is well.
            sick.set(true);
            let before = asked.get();
            ask(world, &proxy, "POST", 60, MS * 100);
            assert!(asked.get() > before + 10, "{says}");
            proxy.end(world);
        });
    }
}
