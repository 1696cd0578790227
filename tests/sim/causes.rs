//! Everything that can go wrong has a name: in the answer, and counted once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{CloseKind, Env, Stream};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, Path, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::modules::blocks;
use crate::proxy::{Proxy, config};

/// What is provoked.
struct Case {
    request: &'static str,
    /// What the origin says to a whole head, and does then.
    says: &'static [u8],
    then: Then,
    /// How connects to it fare.
    path: Path,
    /// The listener's filters.
    filters: &'static str,
    /// More of the config, for the listener.
    listener: &'static str,
    /// No endpoint may be asked.
    deserted: bool,
}

#[derive(Clone, Copy)]
enum Then {
    Wait,
    End,
    Reset,
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\
    Content-Length: 2\r\n\r\nok";
const UPGRADE: &str = "GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: upgrade\r\n\
    Upgrade: sim-echo\r\n\r\n";
const MARKED: &str = "GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n";

const PLAIN: Case = Case {
    request: GET,
    says: b"",
    then: Then::Wait,
    path: Path::Open,
    filters: "[\"gate\"]",
    listener: "",
    deserted: false,
};

type Failures = Vec<(Cause, u64)>;

/// The answer to `case` begins with `status` and names `cause`, which is counted if it is a
/// failure; nothing else is.
#[track_caller]
fn check(cause: Cause, status: u16, case: &Case) {
    check_few_seeds(cause.name(), Faults::CALM, |world| {
        let (answer, failures) = run(world, case);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{cause:?}: {answer:?}");
        let field = format!("\r\nx-penstock-cause: {}\r\n", cause.name());
        assert!(answer.to_ascii_lowercase().contains(&field), "{cause:?}: {answer:?}");
        let counted = if cause.is_asked_for() { vec![] } else { vec![(cause, 1)] };
        assert_eq!(failures, counted);
    });
}

/// The answer to `case` is cut, and `cause` is counted, nothing else.
#[track_caller]
fn check_cut(cause: Cause, case: &Case) {
    check_few_seeds(cause.name(), Faults::CALM, |world| {
        let (answer, failures) = run(world, case);
        assert!(!answer.contains("x-penstock-cause"), "{answer:?}");
        assert_eq!(failures, [(cause, 1)], "{answer:?}");
    });
}

/// As [`check_cut`], of an answer that has begun: its head is there, whenever the rest broke off.
fn check_begun(cause: Cause, case: &Case) {
    check_cut(cause, case);
    check_few_seeds(cause.name(), Faults::CALM, |world| {
        let (answer, _) = run(world, case);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    });
}

fn run(world: &World, case: &Case) -> (String, Failures) {
    let (origin, client) =
        (world.node("origin", Limits::AMPLE), world.node("client", Limits::AMPLE));
    let (env, address) = (origin.clone(), origin.address(8080));
    let (says, then) = (case.says, case.then);
    origin.listen(&address, move |stream| {
        env.spawn(misbehave(env.clone(), stream, says, then));
    });
    world.set_path(&address, case.path);
    let auth = format!("[cluster.auth]\nendpoints = [\"{address}\"]\n");
    let listener = format!("filters = {}\n{}", case.filters, case.listener);
    let text = config(std::slice::from_ref(&address), &listener, &(blocks("deny", 0) + &auth));
    let proxy = Proxy::serve(world, &text);
    if case.deserted {
        proxy.take_endpoints_away();
    }
    let heard = Rc::new(RefCell::new(None));
    client.spawn(ask(client.clone(), proxy.clone(), case.request, heard.clone()));
    let done = world.run_until(Duration::from_secs(600), || heard.borrow().is_some());
    assert!(done, "no end: {:#?}", world.leaks());
    let failures = proxy.failures();
    proxy.end(world);
    (heard.take().unwrap_or_default(), failures)
}

async fn ask(env: SimEnv, proxy: Proxy, request: &'static str, heard: Rc<RefCell<Option<String>>>) {
    let stream = Wire::connect(&env, &proxy.front).await.expect("the proxy listens");
    drop(proxy);
    let wire = Wire::new(env, stream);
    // It may answer, and stop reading, before all is sent.
    let _ = wire.write(request.as_bytes(), &Pace::QUICK).await;
    let mut all = Vec::new();
    while let Ok(true) = wire.more().await {
        all.extend(wire.take_all());
    }
    *heard.borrow_mut() = Some(String::from_utf8_lossy(&all).into_owned());
}

async fn misbehave(env: SimEnv, stream: SimStream, says: &'static [u8], then: Then) {
    let wire = Wire::new(env, stream);
    let Ok(Some(_)) = wire.head().await else { return };
    if !says.is_empty() && wire.write(says, &Pace::QUICK).await.is_err() {
        return;
    }
    match then {
        Then::Wait => {
            while let Ok(true) = wire.more().await {
                wire.take_all();
            }
        }
        Then::End => wire.linger().await,
        Then::Reset => wire.stream.close(CloseKind::Reset),
    }
}

#[test]
fn an_endpoint_that_cannot_be_reached() {
    check(Cause::ConnectRefused, 502, &Case { path: Path::Refused, ..PLAIN });
    check(Cause::ConnectTimeout, 504, &Case { path: Path::Hole, ..PLAIN });
    check(Cause::NoEndpoint, 503, &Case { deserted: true, ..PLAIN });
}

#[test]
fn a_connect_that_does_not_leave_the_machine() {
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENETUNREACH: i32 = 101;
    for (error, cause, status) in [
        (EMFILE, Cause::ConnectExhausted, 503),
        (EADDRNOTAVAIL, Cause::ConnectExhausted, 503),
        (ENETUNREACH, Cause::ConnectFailed, 502),
    ] {
        check(cause, status, &Case { path: Path::Fails(error), ..PLAIN });
    }
}

#[test]
fn an_endpoint_that_does_not_answer() {
    for then in [Then::Reset, Then::End] {
        check(Cause::UpstreamReset, 502, &Case { then, ..PLAIN });
        check(Cause::UpstreamReset, 502, &Case { then, request: POST, ..PLAIN });
        check(Cause::UpstreamReset, 502, &Case { then, says: b"HTTP/1.1 2", ..PLAIN });
    }
    check(Cause::UpstreamTimeout, 504, &PLAIN);
    check(Cause::UpstreamTimeout, 504, &Case { says: b"HTTP/1.1 200 OK\r\n", ..PLAIN });
}

#[test]
fn an_answer_that_is_none() {
    check(Cause::UpstreamMalformed, 502, &Case { says: b"220 smtp.test ready\r\n\r\n", ..PLAIN });
    let says = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    check(Cause::UpstreamBadUpgrade, 502, &Case { says, ..PLAIN });
    check(Cause::UpstreamBadUpgrade, 502, &Case { says, request: UPGRADE, ..PLAIN });
    let says: &[u8] = Box::leak([b"HTTP/1.1 200 OK\r\nx: ", &*vec![b'v'; 200_000]].concat().into());
    check(Cause::UpstreamHeadTooLarge, 502, &Case { says, ..PLAIN });
}

#[test]
fn an_answer_that_breaks_off() {
    let says = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    // A reset might overtake the head.
    check_begun(Cause::UpstreamTruncated, &Case { says, then: Then::End, ..PLAIN });
    check_begun(Cause::UpstreamStalled, &Case { says, ..PLAIN });
    let says = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n";
    check_begun(Cause::UpstreamInvalidBody, &Case { says, ..PLAIN });
}

#[test]
fn a_request_that_has_no_way() {
    let request = "GET /a HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n";
    check(Cause::NoRoute, 404, &Case { request, ..PLAIN });
    let request = "TRACE /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\r\n";
    check(Cause::MethodNotAllowed, 405, &Case { request, ..PLAIN });
    let request = "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n";
    check(Cause::MissingHost, 400, &Case { request, ..PLAIN });
    let listener = "protocol = \"grpc\"\n";
    check(Cause::NotGrpc, 415, &Case { request: POST, listener, ..PLAIN });
}

#[test]
fn a_request_that_does_not_go_on() {
    let request = "POST /a HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 9\r\n\r\nok";
    check(Cause::RequestBodyTimeout, 408, &Case { request, ..PLAIN });
    let request = "GET /a HTTP/1.1\r\nHost: sim.test\r\n";
    check(Cause::RequestHeadTimeout, 408, &Case { request, ..PLAIN });
}

/// What is said to be a gRPC call over HTTP/1, and is none, has no more time than others.
#[test]
fn the_name_of_a_call_lifts_no_limit_of_http1() {
    let named = "POST /a HTTP/1.1\r\nHost: sim.test\r\nContent-Type: application/grpc\r\n\
        Content-Length: 9\r\n\r\nok";
    let plain = "POST /a HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 9\r\n\r\nok";
    check_few_seeds("no call", Faults::CALM, |world| {
        let took = |request, status: &str| {
            let begun = world.now();
            let (answer, failures) = run(world, &Case { request, ..PLAIN });
            assert!(answer.contains(status), "{answer:?}");
            assert_eq!(failures, [(Cause::RequestBodyTimeout, 1)]);
            world.now().since(begun).as_secs()
        };
        let (plain, named) = (took(plain, " 408 "), took(named, "\r\ngrpc-status: 4\r\n"));
        // Calls over HTTP/2 may rest for 120 s here.
        assert!(named.abs_diff(plain) < 5, "{named} s, and {plain} s without the name");
    });
}

#[test]
fn what_routes_and_filters_say() {
    let listener = "[[listener.web.route]]\nhost = \"sim.test\"\npath = \"/a\"\n";
    let with = |action: &str| -> &'static str { Box::leak((listener.to_owned() + action).into()) };
    let listener = with("respond = { status = 418 }\n");
    check(Cause::RouteResponds, 418, &Case { listener, ..PLAIN });
    let listener = with("redirect = { to = \"https://sim.test/\", status = 308 }\n");
    check(Cause::RouteRedirects, 308, &Case { listener, ..PLAIN });
    let listener = with("to = \"app\"\ntimeout = \"2s\"\n");
    check(Cause::RouteTimeout, 504, &Case { listener, ..PLAIN });
    for (mark, cause, status) in [
        ("trap", Cause::FilterFailed, 503),
        ("loop", Cause::FilterFailed, 503),
        ("answer", Cause::FilterResponds, 403),
    ] {
        check(cause, status, &Case { request: marked(mark), ..PLAIN });
    }
}

/// A request with this mark.
fn marked(mark: &str) -> &'static str {
    Box::leak(format!("{MARKED}X-Mark: {mark}\r\n\r\n").into())
}

#[test]
fn a_filter_that_lets_nothing_through() {
    check(Cause::FilterStalled, 503, &Case { request: marked("stall"), ..PLAIN });
    check_cut(Cause::FilterCloses, &Case { request: marked("close"), ..PLAIN });
}

#[test]
fn a_body_that_is_more_than_a_filter_may_hold() {
    let body = "b".repeat(20_000);
    let head = "POST /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\nX-Mark: whole\r\n";
    let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let filters = "[\"small\"]";
    let request: &'static str = Box::leak(text.into());
    check(Cause::BodyTooLarge, 413, &Case { request, filters, ..PLAIN });
}

/// What endpoints do that take a connection and are not what their cluster says.
#[test]
fn endpoints_that_speak_something_else_are_told_apart_from_those_that_are_not_there() {
    const TLS: &str = "tls = { ca = \"ca\", name = \"sim.test\" }\n";
    const H2: &str = "protocol = \"h2\"\n";
    let refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    for (cluster, says, cause, status) in [
        (H2, &refusal[..], Cause::UpstreamNotHttp2, 502),
        (H2, b"", Cause::UpstreamNotHttp2, 502),
        (TLS, b"", Cause::UpstreamTlsTimeout, 504),
    ] {
        check_few_seeds(cause.name(), Faults::CALM, |world| {
            world.veil();
            let (origin, client) =
                (world.node("origin", Limits::AMPLE), world.node("client", Limits::AMPLE));
            let (own, address) = (origin.clone(), origin.address(8080));
            origin.listen(&address, move |stream| {
                let wire = Wire::new(own.clone(), stream);
                own.spawn(async move {
                    let _ = wire.more().await;
                    if !says.is_empty() {
                        let _ = wire.write(says, &Pace::QUICK).await;
                        return wire.stream.close(CloseKind::Now);
                    }
                    while let Ok(true) = wire.more().await {
                        wire.take_all();
                    }
                });
            });
            let text = config(&[address], "", "") + "outlier.consecutive_errors = 0\n" + cluster;
            let proxy = Proxy::serve(world, &text);
            let (own, front, heard) = (client.clone(), proxy.front.clone(), Rc::default());
            let told: Rc<RefCell<String>> = Rc::clone(&heard);
            client.spawn(async move {
                let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
                let wire = Wire::new(own, stream);
                wire.write(POST.as_bytes(), &Pace::QUICK).await.expect("it is taken");
                let head = wire.head().await.expect("an answer").expect("an answer");
                *told.borrow_mut() = head.line;
            });
            assert!(world.run_until(Duration::from_secs(600), || !heard.borrow().is_empty()));
            assert!(heard.borrow().contains(&format!(" {status} ")), "{}", heard.borrow());
            assert_eq!(proxy.failures(), [(cause, 1)]);
            world.run(Duration::from_secs(60));
            proxy.end(world);
        });
    }
}
