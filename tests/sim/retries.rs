//! Retries: which requests are asked again, of whom, how often, and which never are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use penstock_env::{Address, Env, Map};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds};

use crate::http::plan::{Framing, Pace, Text};
use crate::http::wire::{Expected, Head, Wire};
use crate::http2::{client, origin};
use crate::proxy::{Proxy, config};

/// What endpoints saw: the id of each request, as often as it came whole.
type Seen = Rc<RefCell<Map<u64, u32>>>;

/// An endpoint that answers what `says` gives for a request and the bytes of its body; nothing and
/// a close where that is empty.
fn listen(
    world: &World,
    seen: &Seen,
    says: impl Fn(&Head, u64) -> String + Clone + 'static,
) -> (Address, Rc<Cell<u32>>) {
    let (env, count) = (world.node("origin", Limits::AMPLE), Rc::new(Cell::new(0)));
    let (own, address) = (env.clone(), env.address(8080));
    let (counted, seen) = (count.clone(), seen.clone());
    env.listen(&address, move |stream| {
        let (wire, says) = (Wire::new(own.clone(), stream), says.clone());
        let (count, seen) = (counted.clone(), seen.clone());
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Expected::anything("origin");
                let framing = head.framing(Framing::None);
                if wire.body(framing, &mut body, &Pace::QUICK).await.is_err() {
                    return;
                }
                count.set(count.get() + 1);
                *seen.borrow_mut().entry(head.id().expect("an id")).or_insert(0) += 1;
                let answer = says(&head, body.passed);
                if answer.is_empty() || wire.write(answer.as_bytes(), &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    (address, count)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Two endpoints that are asked in turn, and what is said of retries.
fn text(endpoints: &[&Address], retry: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|&endpoint| endpoint.clone()).collect();
    // Nobody is ejected here.
    let cluster = "balance = \"round-robin\"\noutlier.consecutive_errors = 0\n";
    config(&endpoints, "", retry) + cluster
}

/// One request: its status, and its body.
async fn ask(wire: &Wire, method: &str, id: u64, body: &[u8]) -> (String, Vec<u8>) {
    let length = body.len();
    let mut request = format!(
        "{method} / HTTP/1.1\r\nHost: sim.test\r\nX-Id: {id:x}\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend(body);
    wire.write(&request, &Pace::QUICK).await.expect("it is taken");
    let head = wire.head().await.expect("an answer").expect("an answer");
    let (_, length) = head.framing(Framing::None);
    let mut content = Vec::new();
    while (content.len() as u64) < length {
        assert!(wire.more().await.expect("more"), "all of it");
        content.extend(wire.take_all());
    }
    let status = head.line.split(' ').nth(1).expect("a status").to_owned();
    (status, content)
}

/// Asks `count` requests one after the other on one connection; their statuses and bodies.
fn ask_all(
    world: &World,
    proxy: &Proxy,
    (method, count): (&'static str, u64),
    body: Vec<u8>,
) -> Vec<(String, Vec<u8>)> {
    let (env, heard) = (world.node("client", Limits::AMPLE), Rc::new(RefCell::new(Vec::new())));
    let (own, front, told) = (env.clone(), proxy.front.clone(), heard.clone());
    env.spawn(async move {
        let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
        let wire = Wire::new(own, stream);
        for id in 0..count {
            let answer = ask(&wire, method, id, &body).await;
            told.borrow_mut().push(answer);
        }
    });
    let done = || heard.borrow().len() as u64 == count || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    heard.take()
}

fn count_of(proxy: &Proxy, cause: Cause) -> u64 {
    proxy.tries_failed().iter().find(|(one, _)| *one == cause).map_or(0, |(_, count)| *count)
}

#[test]
fn one_of_two_endpoints_that_answers_503_costs_no_client_an_answer() {
    check_some_seeds("retries 503", Faults::CALM, |world| {
        let seen = Seen::default();
        let (sick, asked) = listen(world, &seen, |_, _| answer("503 No", "sick"));
        let (well, answered) = listen(world, &seen, |_, _| answer("200 OK", "well"));
        let proxy = Proxy::serve(world, &text(&[&sick, &well], ""));
        for (status, body) in ask_all(world, &proxy, ("GET", 40), Vec::new()) {
            assert_eq!((&*status, &*body), ("200", &b"well"[..]));
        }
        assert_eq!(answered.get(), 40);
        assert_eq!(count_of(&proxy, Cause::UpstreamUnavailable), u64::from(asked.get()));
        assert!(asked.get() > 0 && seen.borrow().values().all(|&count| count <= 2));
        proxy.end(world);
    });
}

#[test]
fn a_request_that_may_not_be_done_twice_gets_the_answer_that_there_is() {
    let rows: [(&str, &str, usize); 5] = [
        // RFC 9110 §9.2.2: a POST is not idempotent.
        ("POST", "", 5),
        ("GET", "retry = { attempts = 0 }\n", 0),
        ("GET", "retry = { answers = 0 }\n", 0),
        ("GET", "retry = { on = [\"502\", \"504\"] }\n", 0),
        // More than is kept to be sent again.
        ("PUT", "", 64 * 1024 + 1),
    ];
    for (method, retry, bytes) in rows {
        check_few_seeds("retries not", Faults::CALM, |world| {
            let seen = Seen::default();
            let (one, _) = listen(world, &seen, |_, _| answer("503 No", "sick"));
            let (other, _) = listen(world, &seen, |_, _| answer("503 No", "sick"));
            let proxy = Proxy::serve(world, &text(&[&one, &other], retry));
            for (status, body) in ask_all(world, &proxy, (method, 5), vec![b'x'; bytes]) {
                assert_eq!((&*status, &*body), ("503", &b"sick"[..]), "it is the endpoint's own");
            }
            assert!(seen.borrow().values().all(|&count| count == 1), "{method} {retry}");
            assert_eq!(proxy.failures(), [], "no answer is ours");
            proxy.end(world);
        });
    }
}

#[test]
fn the_last_answer_goes_down_where_no_other_is_better() {
    for (count, asked) in [(1, 1), (2, 2), (3, 2)] {
        check_few_seeds("retries last", Faults::CALM, |world| {
            let seen = Seen::default();
            let endpoints = (0..count).map(|_| listen(world, &seen, |_, _| answer("502 No", "no")));
            let endpoints: Vec<_> = endpoints.map(|(address, _)| address).collect();
            let proxy = Proxy::serve(world, &text(&endpoints.iter().collect::<Vec<_>>(), ""));
            for (status, body) in ask_all(world, &proxy, ("GET", 5), Vec::new()) {
                assert_eq!((&*status, &*body), ("502", &b"no"[..]));
            }
            assert!(seen.borrow().values().all(|&count| count == asked), "{:?}", seen.borrow());
            proxy.end(world);
        });
    }
}

#[test]
fn a_body_is_sent_again_whole_where_the_route_says_that_it_may_be() {
    check_some_seeds("retries body", Faults::CALM, |world| {
        let seen = Seen::default();
        let bytes = world.rng().below(64 * 1024 + 1) as usize;
        let says = move |_: &Head, got: u64| answer("200 OK", &got.to_string());
        let (sick, asked) = listen(world, &seen, |_, _| answer("504 No", ""));
        let (well, _) = listen(world, &seen, says);
        let proxy = Proxy::serve(world, &text(&[&sick, &well], "retry.idempotent = true\n"));
        for (status, got) in ask_all(world, &proxy, ("POST", 6), vec![b'b'; bytes]) {
            assert_eq!((&*status, got), ("200", bytes.to_string().into_bytes()));
        }
        assert!(asked.get() > 0);
        proxy.end(world);
    });
}

#[test]
fn retries_end_with_their_budget() {
    check_few_seeds("retries budget", Faults::CALM, |world| {
        let seen = Seen::default();
        let (one, _) = listen(world, &seen, |_, _| answer("503 No", ""));
        let (other, _) = listen(world, &seen, |_, _| answer("503 No", ""));
        let proxy = Proxy::serve(world, &text(&[&one, &other], "retry.budget = \"10%\"\n"));
        let begun = world.now();
        ask_all(world, &proxy, ("GET", 300), Vec::new());
        let seconds = world.now().since(begun).as_secs_f64();
        let retries = count_of(&proxy, Cause::UpstreamUnavailable);
        // 10 % of them, and ten a second of the ten seconds that are looked at.
        let most = 30 + 100 + (seconds / 10.0) as u64 * 100;
        assert!((100..=most).contains(&retries), "{retries} in {seconds} s");
        assert_eq!(proxy.retries_refused(), 300 - retries);
        proxy.end(world);
    });
}

/// RFC 9113 §8.7: a refused stream may be asked again, whatever its method; not without end.
#[test]
fn retries_of_refused_streams_end_with_their_budget() {
    check_few_seeds("retries refused", Faults::CALM, |world| {
        let logs = [(); 2].map(|()| Rc::new(origin::Log::default()));
        let origins = logs.each_ref().map(|log| {
            log.refuses.set(u32::MAX);
            let env = world.node("origin", Limits::AMPLE);
            origin::listen(&env, &env.address(8080), 100, log);
            env.address(8080)
        });
        let text = text(&origins.each_ref(), "retry.budget = \"10%\"\n") + "protocol = \"h2\"\n";
        let proxy = Proxy::serve(world, &text);
        let begun = world.now();
        for (status, _) in ask_all(world, &proxy, ("POST", 300), Vec::new()) {
            assert_eq!(status, "503");
        }
        let seconds = world.now().since(begun).as_secs_f64();
        let asked = logs.iter().map(|log| u32::MAX - log.refuses.get()).sum::<u32>();
        let most = 30 + 100 + (seconds / 10.0) as u32 * 100;
        assert!((100..=most).contains(&(asked - 300)), "{asked} in {seconds} s");
        assert!(proxy.retries_refused() > 0);
        proxy.end(world);
    });
}

/// A request's body that a filter held goes up whole, whoever else was to have it first.
#[test]
fn a_body_that_was_held_is_not_lost_with_an_endpoint_that_is_gone() {
    for (protocol, bytes) in [("http1", 6), ("http1", 70_000), ("h2", 6), ("h2", 70_000)] {
        // Nor in crumbs: `h2` ends a connection of which so many frames hold next to nothing.
        let whole = Faults { cuts: false, ..Faults::CALM };
        check_few_seeds("retries held", whole, |world| {
            let gone = world.node("nobody", Limits::AMPLE).address(9);
            let env = world.node("origin", Limits::AMPLE);
            let there = env.address(8080);
            match protocol {
                "h2" => origin::listen(&env, &there, 100, &Rc::default()),
                _ => client::listen(&env, &there, &Rc::default()),
            }
            let blocks = format!(
                "[filter.hear]\nwasm = \"/hear.wasm\"\nhttp_calls = [\"auth\"]\n\
                 pause_headers = \"headers-only\"\n[cluster.auth]\nendpoints = [\"{}\"]\n",
                crate::filters::auth(world)
            );
            let cluster = format!(
                "balance = \"round-robin\"\noutlier.consecutive_errors = 0\n\
                 protocol = \"{protocol}\"\n"
            );
            let text = config(&[gone, there], "filters = [\"hear\"]\n", &blocks) + &cluster;
            let proxy = Proxy::serve(world, &text);
            let (env, got) = (world.node("client", Limits::AMPLE), Rc::new(RefCell::new(vec![])));
            let (own, front, told) = (env.clone(), proxy.front.clone(), got.clone());
            env.spawn(async move {
                let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
                let wire = Wire::new(own, stream);
                for id in 0..4 {
                    let mut request = format!(
                        "PUT / HTTP/1.1\r\nHost: sim.test\r\nX-Id: {id:x}\r\nX-Mark: query\r\n\
                         X-Bytes: 0\r\nContent-Length: {bytes}\r\n\r\n"
                    )
                    .into_bytes();
                    request.extend(Text::new(id, 0).next(bytes));
                    wire.write(&request, &Pace::QUICK).await.expect("it is taken");
                    let head = wire.head().await.expect("an answer").expect("an answer");
                    told.borrow_mut().push(head.field("x-got").map(str::to_owned));
                }
            });
            let done = || got.borrow().len() == 4 || world.panicked().is_some();
            assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
            assert_eq!(world.panicked(), None);
            assert_eq!(got.take(), vec![Some(bytes.to_string()); 4]);
            assert!(count_of(&proxy, Cause::ConnectRefused) > 0);
            proxy.end(world);
        });
    }
}

#[test]
fn a_try_has_its_own_time() {
    check_few_seeds("retries per try", Faults::CALM, |world| {
        let (seen, slow) = (Seen::default(), world.node("slow", Limits::AMPLE));
        let silent = slow.address(8080);
        // It takes everything, and says nothing.
        let own = slow.clone();
        slow.listen(&silent, move |stream| {
            let wire = Wire::new(own.clone(), stream);
            own.spawn(async move {
                while let Ok(true) = wire.more().await {
                    wire.take_all();
                }
            });
        });
        let (well, _) = listen(world, &seen, |_, _| answer("200 OK", ""));
        let retry = "retry.per_try_timeout = \"300ms\"\n";
        let proxy = Proxy::serve(world, &text(&[&silent, &well], retry));
        let begun = world.now();
        for (status, _) in ask_all(world, &proxy, ("GET", 4), Vec::new()) {
            assert_eq!(status, "200");
        }
        assert!(world.now().since(begun) < Duration::from_secs(5));
        assert!(count_of(&proxy, Cause::UpstreamTimeout) > 0, "some went there first");
        proxy.end(world);
    });
}

/// Whatever the network and endpoints do: what may not be done twice is not.
#[test]
fn no_post_reaches_endpoints_twice() {
    check_some_seeds("retries rough", Faults::ROUGH, |world| {
        let seen = Seen::default();
        let endpoints: Vec<_> = (0..3)
            .map(|_| {
                let rng = RefCell::new(world.rng());
                let says = Rc::new(move |_: &Head, _: u64| match rng.borrow_mut().below(4) {
                    0 => answer("503 No", "no"),
                    1 => String::new(),
                    _ => answer("200 OK", "yes"),
                });
                listen(world, &seen, move |head, got| says(head, got)).0
            })
            .collect();
        let proxy = Proxy::serve(world, &text(&endpoints.iter().collect::<Vec<_>>(), ""));
        let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(8)));
        for client in 0..8_u64 {
            let (own, front, left) = (env.clone(), proxy.front.clone(), left.clone());
            env.spawn(async move {
                try_all(&own, &front, client).await;
                left.set(left.get() - 1);
            });
        }
        let done = || left.get() == 0 || world.panicked().is_some();
        assert!(world.run_until(Duration::from_secs(3_600), done), "{:#?}", world.leaks());
        assert_eq!(world.panicked(), None);
        for (id, count) in &*seen.borrow() {
            // Those that are even are of GET: once, twice more by its connection, once by answer.
            let most = if id.is_multiple_of(2) { 3 } else { 1 };
            assert!(*count <= most, "{id:x} came {count} times");
        }
        proxy.end(world);
    });
}

/// Requests on a connection for as long as it lasts, in a network that breaks them.
async fn try_all(env: &SimEnv, front: &Address, client: u64) {
    for turn in 0..6 {
        let Some(stream) = Wire::connect(env, front).await else { continue };
        let wire = Wire::new(env.clone(), stream);
        let id = client << 8 | turn;
        let method = if id.is_multiple_of(2) { "GET" } else { "POST" };
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: sim.test\r\nX-Id: {id:x}\r\nContent-Length: 3\r\n\r\nabc"
        );
        if wire.write(request.as_bytes(), &Pace::QUICK).await.is_err() {
            continue;
        }
        if let Ok(Some(head)) = wire.head().await {
            let mut body = Expected::anything("client");
            let _ = wire.body(head.framing(Framing::None), &mut body, &Pace::QUICK).await;
        }
    }
}

/// How an endpoint of gRPC ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// In its head.
    Head(&'static str),
    /// In its trailers, behind this many messages.
    Trailers(&'static str, usize),
    /// With UNAVAILABLE in its head, and this as `grpc-retry-pushback-ms`.
    HeadOff(&'static str),
    /// The same in its trailers.
    TrailersOff(&'static str),
}

/// An endpoint of gRPC; how often it was asked.
fn listen_grpc(world: &World, ends: Ends) -> (Address, Rc<Cell<u32>>) {
    let (env, count) = (world.node("origin", Limits::AMPLE), Rc::new(Cell::new(0)));
    let (own, address, counted) = (env.clone(), env.address(8080), count.clone());
    env.listen(&address, move |stream| {
        let (env, count) = (own.clone(), counted.clone());
        own.spawn(async move {
            let io = crate::http2::Io(env, stream);
            let builder = h2::server::Builder::new();
            let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                drop(request);
                count.set(count.get() + 1);
                let head = http::Response::builder().header("content-type", "application/grpc");
                let (code, messages, put_off) = match ends {
                    Ends::Head(_) | Ends::HeadOff(_) => {
                        let head = match ends {
                            Ends::HeadOff(off) => head.header(PUT_OFF, off),
                            _ => head,
                        };
                        let code = if let Ends::Head(code) = ends { code } else { "14" };
                        let head = head.header("grpc-status", code).body(()).expect("a head");
                        let _ = respond.send_response(head, true);
                        continue;
                    }
                    Ends::Trailers(code, messages) => (code, messages, None),
                    Ends::TrailersOff(off) => ("14", 0, Some(off)),
                };
                let head = head.body(()).expect("a head");
                let Ok(mut stream) = respond.send_response(head, false) else { continue };
                for _ in 0..messages {
                    let _ = stream.send_data(Bytes::from_static(&[0; 5]), false);
                }
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", code.parse().expect("a value"));
                if let Some(off) = put_off {
                    trailers.insert(PUT_OFF, off.parse().expect("a value"));
                }
                let _ = stream.send_trailers(trailers);
            }
        });
    });
    (address, count)
}

const PUT_OFF: &str = "grpc-retry-pushback-ms";

#[test]
fn calls_that_end_with_unavailable_are_asked_again_by_their_route() {
    let (marked, plain) = ("retry.idempotent = true\n", "");
    let exhausted = "retry = { idempotent = true, on = [\"resource-exhausted\"] }\n";
    let rows = [
        (Ends::Head("14"), marked, true),
        (Ends::Trailers("14", 0), marked, true),
        // A message is an answer.
        (Ends::Trailers("14", 1), marked, false),
        // A call is a POST: nobody said that it may be done twice.
        (Ends::Head("14"), plain, false),
        (Ends::Head("8"), marked, false),
        (Ends::Head("8"), exhausted, true),
        (Ends::Trailers("8", 0), exhausted, true),
        (Ends::Head("14"), exhausted, false),
        (Ends::Head("5"), marked, false),
        // The endpoint says when, and whether at all; not for ever.
        (Ends::HeadOff("200"), marked, true),
        (Ends::TrailersOff("200"), marked, true),
        (Ends::HeadOff("-1"), marked, false),
        (Ends::TrailersOff("soon"), marked, false),
        (Ends::TrailersOff("60000"), marked, false),
    ];
    for (ends, retry, again) in rows {
        check_few_seeds("retries grpc", Faults::CALM, |world| {
            let (sick, asked) = listen_grpc(world, ends);
            let (well, answered) = listen_grpc(world, Ends::Trailers("0", 1));
            let proxy =
                Proxy::serve(world, &(text(&[&sick, &well], retry) + "protocol = \"h2\"\n"));
            let begun = world.now();
            let codes = crate::http2::call_all(world, &proxy, 8);
            let took = world.now().since(begun);
            let well_ended = codes.iter().filter(|code| **code == "0").count();
            if again {
                assert_eq!((well_ended, answered.get()), (8, 8), "{ends:?} {retry}");
                assert!(asked.get() > 0);
                let off = matches!(ends, Ends::HeadOff(_) | Ends::TrailersOff(_));
                let waited = Duration::from_millis(200) * if off { asked.get() } else { 0 };
                assert!(took >= waited, "{took:?} {ends:?}");
            } else {
                assert_eq!((well_ended, asked.get() + answered.get()), (4, 8), "{ends:?} {retry}");
            }
            proxy.end(world);
        });
    }
}
