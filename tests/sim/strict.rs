//! The strictness table through the proxy, each row cut in many ways: what is refused never
//! reaches an origin, what is passed arrives as it was sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::Proxy;

/// The origin's answer where a row does not say another.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// This status, the end of the connection, and no whole request at the origin.
    Refused(u16),
    /// The origin's answer; the request at the origin has the first texts and not the others.
    Passed(&'static [&'static str], &'static [&'static str]),
}

#[track_caller]
fn check(request: &str, fate: Fate) {
    check_few_seeds(request, Faults::CALM, |world| {
        let start = |address: &Address| Proxy::start(world, std::slice::from_ref(address));
        judge(&exchange(world, start, request, OK), fate);
    });
}

/// The same, of a proxy with another config.
#[track_caller]
pub(crate) fn check_by(text: impl Fn(&Address) -> String + Sync, request: &str, fate: Fate) {
    check_few_seeds(request, Faults::CALM, |world| {
        let serve = |address: &Address| Proxy::serve(world, &text(address));
        judge(&exchange(world, serve, request, OK), fate);
    });
}

#[track_caller]
fn judge(Exchanged { answer, seen, .. }: &Exchanged, fate: Fate) {
    match fate {
        Fate::Refused(status) => {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
            assert_eq!(*seen, Vec::<String>::new());
        }
        Fate::Passed(has, lacks) => {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
            // With a length, or in chunks where filters look at it.
            let whole = ["\r\n\r\nok", "\r\n\r\n2\r\nok\r\n0\r\n\r\n"];
            assert!(whole.iter().any(|whole| answer.ends_with(whole)), "{answer:?}");
            assert_eq!(seen.len(), 1, "{seen:?}");
            for text in has {
                assert!(seen[0].contains(text), "{text:?} is not in {:?}", seen[0]);
            }
            for text in lacks {
                let low = seen[0].to_ascii_lowercase();
                assert!(!low.contains(&text.to_ascii_lowercase()), "{text:?} is in {low:?}");
            }
        }
    }
}

/// What became of a request.
pub(crate) struct Exchanged {
    /// Everything that came back.
    pub(crate) answer: String,
    /// Every whole request that the origin saw.
    pub(crate) seen: Vec<String>,
    /// What was counted as a failure.
    pub(crate) causes: Vec<Cause>,
}

/// Sends `request` to what `serve` puts in front of an origin, and half-closes.
pub(crate) fn exchange(
    world: &World,
    serve: impl FnOnce(&Address) -> Proxy,
    request: &str,
    answer: &'static str,
) -> Exchanged {
    let (origin, client) =
        (world.node("origin", Limits::AMPLE), world.node("client", Limits::AMPLE));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (env, log) = (origin.clone(), seen.clone());
    let address = origin.address(8080);
    origin.listen(&address, move |stream| {
        env.spawn(take_down(env.clone(), stream, log.clone(), answer));
    });
    let proxy = serve(&address);
    let heard = Rc::new(RefCell::new(None));
    let talk = talk(client.clone(), proxy.front.clone(), request.to_owned(), heard.clone());
    client.spawn(talk);
    let done = world.run_until(Duration::from_secs(600), || heard.borrow().is_some());
    assert!(done, "no end: {:#?}", world.leaks());
    let causes = proxy.failures().into_iter().map(|(cause, _)| cause).collect();
    proxy.end(world);
    let answer = heard.borrow_mut().take().unwrap_or_default();
    Exchanged { answer, seen: seen.take(), causes }
}

async fn talk(env: SimEnv, to: Address, request: String, heard: Rc<RefCell<Option<String>>>) {
    let stream = Wire::connect(&env, &to).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    // It may answer, and stop reading, before all is sent.
    let _ = wire.write(request.as_bytes(), &Pace::QUICK).await;
    let mut all = Vec::new();
    while let Ok(true) = wire.more().await {
        all.extend(wire.take_all());
        if all.ends_with(b"\r\n\r\nok") {
            break;
        }
    }
    *heard.borrow_mut() = Some(String::from_utf8_lossy(&all).into_owned());
}

/// Whether all of a request is there: up to the last empty line, or as long as it says.
fn is_whole(text: &str) -> bool {
    let low = text.to_ascii_lowercase();
    let Some((head, body)) = low.split_once("\r\n\r\n") else { return false };
    match head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()) {
        Some(said) => said.parse() == Ok(body.len()),
        None if head.contains("transfer-encoding") => text.ends_with("\r\n0\r\n\r\n"),
        None => true,
    }
}

/// An origin that writes down each request, and answers it.
async fn take_down(
    env: SimEnv,
    stream: SimStream,
    seen: Rc<RefCell<Vec<String>>>,
    answer: &'static str,
) {
    let wire = Wire::new(env, stream);
    let mut request = Vec::new();
    while let Ok(true) = wire.more().await {
        request.extend(wire.take_all());
        let text = String::from_utf8_lossy(&request).into_owned();
        if is_whole(&text) {
            seen.borrow_mut().push(text);
            request.clear();
            if wire.write(answer.as_bytes(), &Pace::QUICK).await.is_err() {
                return;
            }
        }
    }
}

#[test]
fn framing_that_leaves_a_doubt_is_refused() {
    use Fate::Refused;
    // RFC 9112 §6.3: both lengths present means a smuggling attempt.
    check(
        "POST / HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    );
    // RFC 9110 §8.6: repeated lengths, even equal ones.
    check(
        "POST / HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Refused(400),
    );
    check("POST / HTTP/1.1\r\nHost: sim.test\r\nContent-Length: 5, 5\r\n\r\nhello", Refused(400));
    // RFC 9112 §6.1: HTTP/1.0 knows no transfer coding.
    check(
        "POST / HTTP/1.0\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    );
    // RFC 9112 §7.1: a chunk's size line ends in CRLF.
    check(
        "POST / HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        Refused(400),
    );
}

#[test]
fn lines_that_leave_a_doubt_are_refused() {
    use Fate::Refused;
    // RFC 9112 §5.2.
    check("GET / HTTP/1.1\r\nHost: sim.test\r\nX-A: 1\r\n 2\r\n\r\n", Refused(400));
    // RFC 9112 §2.2.
    check("GET / HTTP/1.1\nHost: sim.test\n\n", Refused(400));
    check("GET / HTTP/1.1\r\nHost: sim.test\r\nX-A: 1\r2\r\n\r\n", Refused(400));
    // RFC 9110 §5.5.
    check("GET / HTTP/1.1\r\nHost: sim.test\r\nX-A: 1\x002\r\n\r\n", Refused(400));
}

#[test]
fn a_host_that_leaves_a_doubt_is_refused() {
    use Fate::Refused;
    // RFC 9112 §3.2.
    check("GET / HTTP/1.1\r\n\r\n", Refused(400));
    check("GET / HTTP/1.1\r\nHost: sim.test\r\nHost: sim.test\r\n\r\n", Refused(400));
    for host in ["u@sim.test", "sim.test:8x", "[::1"] {
        check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Refused(400));
    }
    // RFC 9112 §3.2.2: the target's host wins, so a different one in the field is a lie.
    check("GET http://other.test/ HTTP/1.1\r\nHost: sim.test\r\n\r\n", Refused(400));
    check("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", Refused(404));
}

#[test]
fn what_is_too_large_is_refused_by_its_own_status() {
    use Fate::Refused;
    let long = "x".repeat(9_000);
    check(&format!("GET /{long} HTTP/1.1\r\nHost: sim.test\r\n\r\n"), Refused(414));
    let field = format!("X-A: {}\r\n", "v".repeat(7_000));
    let head = format!("GET / HTTP/1.1\r\nHost: sim.test\r\n{}\r\n", field.repeat(10));
    check(&head, Refused(431));
    let head = format!("GET / HTTP/1.1\r\nHost: sim.test\r\n{}\r\n", "X-A: 1\r\n".repeat(101));
    check(&head, Refused(431));
}

#[test]
fn methods_are_passed_but_for_two() {
    use Fate::{Passed, Refused};
    check("CONNECT sim.test:80 HTTP/1.1\r\nHost: sim.test:80\r\n\r\n", Refused(405));
    check("TRACE / HTTP/1.1\r\nHost: sim.test\r\n\r\n", Refused(405));
    check("FOO / HTTP/1.1\r\nHost: sim.test\r\n\r\n", Passed(&["FOO / HTTP/1.1\r\n"], &[]));
    check("GET / HTTP/1.0\r\nHost: sim.test\r\n\r\n", Passed(&["GET / HTTP/1.1\r\n"], &[]));
}

#[test]
fn what_is_passed_arrives_as_it_was_sent() {
    use Fate::Passed;
    // RFC 9112 §7.1.1: extensions are for one hop.
    check(
        "POST / HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         1;a=b\r\nZ\r\n0\r\n\r\n",
        Passed(&["1\r\nZ\r\n"], &["a=b"]),
    );
    // RFC 9110 §7.6.1: what `Connection` names ends here.
    check(
        "GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
        Passed(&[], &["x-a"]),
    );
    check(
        "GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        Passed(&[], &["h2c", "http2-settings"]),
    );
    check(
        "GET /a/%2e%2e//b/../c HTTP/1.1\r\nHost: sim.test\r\n\r\n",
        Passed(&["GET /a/%2e%2e//b/../c HTTP/1.1\r\n"], &[]),
    );
    check(
        "GET / HTTP/1.1\r\nHost: sim.test\r\nx_y: 1\r\nX-CaSe: Kept\r\n\r\n",
        Passed(&["X-CaSe: Kept\r\n"], &["x_y"]),
    );
}

#[test]
fn an_answer_that_leaves_a_doubt_is_the_origins_fault() {
    // RFC 9112 §6.3: lengths that differ are unrecoverable.
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ] {
        check_few_seeds(answer, Faults::CALM, |world| {
            let request = "GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\r\n";
            let start = |address: &Address| Proxy::start(world, std::slice::from_ref(address));
            let heard = exchange(world, start, request, answer).answer;
            assert!(heard.starts_with("HTTP/1.1 502 "), "{heard:?}");
        });
    }
}
