//! What goes to endpoints that speak HTTP/2: every request is answered by its origin, on
//! connections that many share.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, Rng};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds};

use super::client;
use super::exchanges::{Wanted, run};
use super::origin::{self, Log};
use super::raw::{ACK, END_HEADERS, END_STREAM, Frame, HEADERS, PING, fields, frame, say};
use crate::http::origin::HOST;
use crate::http::plan::{Framing, Pace, Text};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

/// The proxy in front of `count` origins of HTTP/2, with what they log.
fn set(world: &World, count: usize, streams: u32, listener: &str) -> (Proxy, Vec<Rc<Log>>) {
    let (mut origins, mut logs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let env = world.node("origin", Limits::AMPLE);
        let (address, log) = (env.address(8080), Rc::new(Log::default()));
        origin::listen(&env, &address, streams, &log);
        origins.push(address);
        logs.push(log);
    }
    let text = config(&origins, listener, "") + "balance = \"round-robin\"\nprotocol = \"h2\"\n";
    (Proxy::serve(world, &text), logs)
}

/// Asks `streams` requests at a time on one connection of HTTP/2; how they went.
fn ask_http2(world: &World, proxy: &Proxy, streams: u32, left: &Rc<Cell<u32>>) {
    let env = world.node("client", Limits::AMPLE);
    let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
    let mut rng = Rng::new(world.seed());
    env.spawn(async move {
        let (sender, _) = client::connect(&own, &front).await;
        for _ in 0..streams {
            let (wanted, sender, left) = (Wanted::draw(&mut rng), sender.clone(), left.clone());
            own.spawn(async move {
                wanted.judge(&wanted.ask(&sender).await.expect("a whole answer"));
                left.set(left.get() - 1);
            });
        }
    });
}

#[test]
fn streams_go_from_http2_to_http2_whole() {
    check_some_seeds("h2 to h2", Faults::CALM, |world| {
        let (proxy, logs) = set(world, 2, 100, "");
        let streams = 1 + world.rng().below(12);
        let left = Rc::new(Cell::new(streams));
        ask_http2(world, &proxy, streams, &left);
        run(world, proxy, &left);
        assert_eq!(logs.iter().map(|log| log.answered.get()).sum::<u32>(), streams);
        let connections: Vec<_> = logs.iter().map(|log| log.connections.get()).collect();
        assert!(connections.iter().all(|&count| count <= 1), "one is enough: {connections:?}");
    });
}

/// A request of HTTP/1, its body in one piece, and its answer.
async fn ask_http1(env: SimEnv, front: penstock_env::Address, mut rng: Rng) {
    let stream = Wire::connect(&env, &front).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    for _ in 0..1 + rng.below(4) {
        let (id, sends, gets) = (rng.next_u64(), rng.below(30_000), rng.below(100_000));
        let chunked = rng.below(2) == 0;
        let more = if chunked { "X-Chunked: 1\r\nTE: trailers\r\n" } else { "" };
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Id: {id:x}\r\nX-Bytes: {gets}\r\n{more}\
             Content-Length: {sends}\r\n\r\n"
        )
        .into_bytes();
        request.extend(Text::new(id, 0).next(sends as usize));
        wire.write(&request, &Pace::QUICK).await.expect("it is taken");
        let head = wire.head().await.expect("an answer").expect("an answer");
        assert!(head.line.starts_with("HTTP/1.1 200 "), "{head:?}");
        assert_eq!(head.field("x-got"), Some(&*sends.to_string()));
        assert_eq!(head.field("via"), Some("2 penstock"));
        let mut expected = Expected::text("client", Text::new(id, 1));
        let read = wire.body(head.framing(Framing::None), &mut expected, &Pace::QUICK).await;
        read.expect("all of it");
        assert_eq!(expected.passed, u64::from(gets));
    }
}

#[test]
fn requests_go_from_http1_to_http2_whole() {
    check_some_seeds("h1 to h2", Faults::CALM, |world| {
        let (proxy, _) = set(world, 2, 100, "");
        let env = world.node("client", Limits::AMPLE);
        let clients = 1 + world.rng().below(6);
        let left = Rc::new(Cell::new(clients));
        for number in 0..clients {
            let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
            let rng = Rng::new(world.seed().wrapping_add(u64::from(number)));
            env.spawn(async move {
                ask_http1(own, front, rng).await;
                left.set(left.get() - 1);
            });
        }
        run(world, proxy, &left);
    });
}

/// RFC 9113 §5.1.2: no more streams than the endpoint allows; another connection instead.
#[test]
fn a_second_connection_is_opened_before_requests_wait_for_a_stream() {
    check_few_seeds("h2 streams max", Faults::CALM, |world| {
        let (proxy, logs) = set(world, 1, 4, "");
        let left = Rc::new(Cell::new(12));
        ask_http2(world, &proxy, 12, &left);
        run(world, proxy, &left);
        assert_eq!(logs[0].answered.get(), 12);
        assert!(logs[0].streams_max.get() <= 4, "{}", logs[0].streams_max.get());
    });
}

/// RFC 9113 §8.7: a refused stream was not looked at.
#[test]
fn refused_requests_are_asked_again_whatever_their_method() {
    check_few_seeds("h2 refused", Faults::CALM, |world| {
        let (proxy, logs) = set(world, 3, 100, "");
        logs[0].refuses.set(1);
        logs[1].refuses.set(1);
        let left = Rc::new(Cell::new(1));
        ask_small(world, &proxy, 1, &left);
        run(world, proxy, &left);
        assert_eq!(logs.iter().map(|log| log.answered.get()).sum::<u32>(), 1);
    });
}

/// RFC 9113 §6.8: what is under way ends, what comes later goes elsewhere.
#[test]
fn a_goaway_costs_no_request() {
    check_few_seeds("h2 goaway upstream", Faults::CALM, |world| {
        let (proxy, logs) = set(world, 1, 100, "");
        logs[0].leaves_after.set(1 + world.rng().below(4));
        let left = Rc::new(Cell::new(12));
        ask_small(world, &proxy, 12, &left);
        run(world, proxy, &left);
        assert_eq!(logs[0].answered.get(), 12);
        assert!(logs[0].connections.get() > 1, "{}", logs[0].connections.get());
    });
}

/// Asks for something small, `count` times one after the other, with a method that is not
/// idempotent.
fn ask_small(world: &World, proxy: &Proxy, count: u32, left: &Rc<Cell<u32>>) {
    let env = world.node("client", Limits::AMPLE);
    let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
    env.spawn(async move {
        let (sender, _) = client::connect(&own, &front).await;
        for id in 0..count {
            let wanted = Wanted::small(u64::from(id));
            wanted.judge(&wanted.ask(&sender).await.expect("a whole answer"));
            left.set(left.get() - 1);
        }
    });
}

/// A client that says nothing more, not even that it is gone, while it is waited for.
#[test]
fn a_client_that_answers_no_ping_is_given_up() {
    check_few_seeds("h2 client liveness", Faults::CALM, |world| {
        let env = world.node("origin", Limits::AMPLE);
        let (address, held) = (env.address(8080), Rc::new(std::cell::RefCell::new(Vec::new())));
        let kept = held.clone();
        env.listen(&address, move |stream| kept.borrow_mut().push(stream));
        let text = config(&[address], "", "") + "timeouts.response_head = \"10m\"\n";
        let (proxy, left) = (Proxy::serve(world, &text), Rc::new(Cell::new(2)));
        let client = world.node("client", Limits::AMPLE);
        let (own, front, told) = (client.clone(), proxy.front.clone(), left.clone());
        client.spawn(async move {
            let (begun, asked) = (
                own.now(),
                fields(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", HOST),
                ]),
            );
            let asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, &asked);
            let (heard, ended) = say(&own, &front, asked, Duration::from_secs(60)).await;
            let took = own.now().since(begun);
            assert!(ended && (24..30).contains(&took.as_secs()), "{took:?}");
            let asked = |frame: &&Frame| frame.kind == PING && frame.flags & ACK == 0;
            assert_eq!(heard.frames.iter().filter(asked).count(), 1);
            told.set(told.get() - 1);
        });
        // One that answers them is waited for.
        let (own, front, told) = (client.clone(), proxy.front.clone(), left.clone());
        client.spawn(async move {
            let (sender, over) = client::connect(&own, &front).await;
            let asked = client::request("POST", "/", &[("x-id", "1")]);
            let (answer, _) = client::send(&sender, asked, true).await.expect("it is taken");
            Wire::sleep_on(&own, Duration::from_secs(120)).await;
            assert!(!over.get());
            held.borrow_mut().clear();
            assert_eq!(answer.await.expect("an answer").status(), 502);
            told.set(told.get() - 1);
        });
        let done = || left.get() == 0 || world.panicked().is_some();
        assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
        let failures = proxy.failures();
        assert!(failures.contains(&(Cause::PingUnanswered, 1)), "{failures:?}");
        run(world, proxy, &left);
    });
}

/// An endpoint that says nothing more, not even that it is gone, with a request under way.
#[test]
fn an_endpoint_that_answers_no_ping_is_given_up() {
    check_few_seeds("h2 liveness", Faults::CALM, |world| {
        let env = world.node("origin", Limits::AMPLE);
        let (address, held) = (env.address(8080), Rc::new(std::cell::RefCell::new(Vec::new())));
        let kept = held.clone();
        let own = env.clone();
        env.listen(&address, move |stream| {
            let (io, kept) = (client::Io(own.clone(), stream), kept.clone());
            own.spawn(async move {
                // Its SETTINGS, and then nothing any more.
                let connection = h2::server::handshake(io).await.ok();
                kept.borrow_mut().extend(connection);
            });
        });
        let text =
            config(&[address], "", "") + "protocol = \"h2\"\ntimeouts.response_head = \"10m\"\n";
        let (proxy, left) = (Proxy::serve(world, &text), Rc::new(Cell::new(1)));
        let client = world.node("client", Limits::AMPLE);
        let (own, front, told) = (client.clone(), proxy.front.clone(), left.clone());
        client.spawn(async move {
            let (sender, _) = client::connect(&own, &front).await;
            let begun = own.now();
            let asked = client::request("POST", "/", &[("x-id", "1")]);
            let (answer, _) = client::send(&sender, asked, true).await.expect("it is taken");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), 502);
            let took = own.now().since(begun);
            assert!((20..40).contains(&took.as_secs()), "{took:?}");
            held.borrow_mut().clear();
            told.set(0);
        });
        run(world, proxy, &left);
    });
}
