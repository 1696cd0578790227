//! Endpoints that answer, or leave, before they have read: what becomes of the rest of the request,
//! and of the connection that it is on.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, CloseKind, Env, Stream};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, World, check_few_seeds};

use crate::http::origin::encode_chunked;
use crate::http::plan::{Framing, Pace, Text};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

/// An endpoint: what it does on each connection.
fn listen<F: Future<Output = ()> + 'static>(
    world: &World,
    serve: impl Fn(Wire) -> F + 'static,
) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| own.spawn(serve(Wire::new(own.clone(), stream))));
    address
}

/// A client; the world runs until it has ended, and finds what it gave back.
fn play<T: 'static, F: Future<Output = T> + 'static>(
    world: &World,
    proxy: &Proxy,
    client: impl FnOnce(Wire) -> F + 'static,
) -> T {
    let (env, heard) = (world.node("client", Limits::AMPLE), Rc::new(RefCell::new(None)));
    let (own, front, told) = (env.clone(), proxy.front.clone(), heard.clone());
    env.spawn(async move {
        let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
        let said = client(Wire::new(own, stream)).await;
        *told.borrow_mut() = Some(said);
    });
    let done = || heard.borrow().is_some() || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    heard.take().expect("it ended")
}

async fn status(wire: &Wire) -> String {
    let head = wire.head().await.expect("an answer").expect("an answer");
    let mut body = Expected::anything("client");
    wire.body(head.framing(Framing::None), &mut body, QUICK).await.expect("all of it");
    head.line.split(' ').nth(1).expect("a status").to_owned()
}

const QUICK: &Pace = &Pace::QUICK;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Nothing can be sent behind the rest of a call that is still on its way.
#[test]
fn the_connection_of_a_call_that_was_answered_early_is_not_used_again() {
    check_few_seeds("early call", Faults::CALM, |world| {
        let origin = listen(world, async |wire| {
            while let Ok(Some(_)) = wire.head().await {
                if wire.write(OK, QUICK).await.is_err() {
                    return;
                }
            }
        });
        let auth = listen(world, async |wire| {
            while let Ok(Some(head)) = wire.head().await {
                if wire.write(OK, QUICK).await.is_err() {
                    return;
                }
                Wire::sleep_on(&wire.env, Duration::from_millis(300)).await;
                let mut body = Expected::anything("auth");
                if wire.body(head.framing(Framing::None), &mut body, QUICK).await.is_err() {
                    return;
                }
            }
        });
        let blocks = format!(
            "[filter.shout]\nwasm = \"/shout.wasm\"\nhttp_calls = [\"auth\"]\n\
             [cluster.auth]\nendpoints = [\"{auth}\"]\n"
        );
        let proxy = Proxy::serve(world, &config(&[origin], "filters = [\"shout\"]\n", &blocks));
        let statuses = play(world, &proxy, async |wire| {
            let mut statuses = Vec::new();
            for _ in 0..3 {
                let request = b"GET / HTTP/1.1\r\nHost: sim.test\r\nX-Mark: query\r\n\r\n";
                wire.write(request, QUICK).await.expect("it is taken");
                statuses.push(status(&wire).await);
            }
            statuses
        });
        assert_eq!(statuses, ["200"; 3]);
        proxy.end(world);
    });
}

/// Who took only a part of the request's body does not take from the time of who is asked next.
#[test]
fn the_time_of_an_upload_ends_with_it() {
    let narrow = Faults { buffer_bytes: (1_024, 2_048), ..Faults::CALM };
    check_few_seeds("early answer", narrow, |world| {
        let hasty = listen(world, async |wire| {
            let Ok(Some(_)) = wire.head().await else { return };
            Wire::sleep_on(&wire.env, Duration::from_secs(1)).await;
            wire.stream.close(CloseKind::Reset);
        });
        let slow = listen(world, async |wire| {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Expected::anything("slow");
                if wire.body(head.framing(Framing::None), &mut body, QUICK).await.is_err() {
                    return;
                }
                Wire::sleep_on(&wire.env, Duration::from_secs(9)).await;
                if wire.write(OK, QUICK).await.is_err() {
                    return;
                }
            }
        });
        let cluster = "balance = \"round-robin\"\noutlier.consecutive_errors = 0\n\
            timeouts = { idle = \"5s\", response_head = \"60s\", upgrade_idle = \"60s\" }\n";
        let text = config(&[hasty, slow], "", "").replace("timeouts.upgrade_idle = \"120s\"\n", "");
        let proxy = Proxy::serve(world, &(text + cluster));
        let bytes = 4_000 + world.rng().below(8_000) as usize;
        let statuses = play(world, &proxy, async move |wire| {
            let mut statuses = Vec::new();
            for _ in 0..4 {
                let mut request =
                    format!("PUT / HTTP/1.1\r\nHost: sim.test\r\nContent-Length: {bytes}\r\n\r\n")
                        .into_bytes();
                request.extend(vec![b'x'; bytes]);
                wire.write(&request, QUICK).await.expect("it is taken");
                statuses.push(status(&wire).await);
            }
            statuses
        });
        assert_eq!(statuses, ["200"; 4]);
        let failures = proxy.failures();
        assert!(failures.iter().all(|(cause, _)| *cause == Cause::UpstreamReset), "{failures:?}");
        proxy.end(world);
    });
}

const BODY_BYTES: usize = 300_000;
const MORE: &[u8] = b"and more";

/// RFC 9110 §7.8: the request ends in the protocol that it began in, whenever the other side
/// agrees to another one.
#[test]
fn a_body_is_brought_up_whole_before_the_protocol_is_switched() {
    for chunked in [false, true] {
        check_few_seeds("early switch", Faults::CALM, |world| {
            let origin = listen(world, async |wire| {
                let Ok(Some(head)) = wire.head().await else { return };
                let answer = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\n\
                    Upgrade: sim-echo\r\n\r\n";
                wire.write(answer, QUICK).await.expect("it is taken");
                Wire::sleep_on(&wire.env, Duration::from_secs(1)).await;
                let mut body = Expected::text("origin", Text::new(1, 0));
                let read = wire.body(head.framing(Framing::None), &mut body, QUICK).await;
                read.expect("all of it");
                assert_eq!(body.passed, BODY_BYTES as u64);
                let mut behind = Vec::new();
                while behind.len() < MORE.len() && matches!(wire.more().await, Ok(true)) {
                    behind.extend(wire.take_all());
                }
                let _ = wire.write(&behind, QUICK).await;
            });
            let proxy = Proxy::serve(world, &config(&[origin], "", ""));
            let came = play(world, &proxy, async move |wire| {
                let framing = match chunked {
                    true => "Transfer-Encoding: chunked".to_owned(),
                    false => format!("Content-Length: {BODY_BYTES}"),
                };
                let mut request = format!(
                    "POST /a HTTP/1.1\r\nHost: sim.test\r\nConnection: upgrade\r\n\
                     Upgrade: sim-echo\r\n{framing}\r\n\r\n"
                )
                .into_bytes();
                let body = Text::new(1, 0).next(BODY_BYTES);
                match chunked {
                    true => encode_chunked(&body, 1, &mut request),
                    false => request.extend(body),
                }
                request.extend(MORE);
                wire.write(&request, QUICK).await.expect("it is taken");
                let head = wire.head().await.expect("an answer").expect("an answer");
                assert!(head.line.starts_with("HTTP/1.1 101 "), "{head:?}");
                let mut came = Vec::new();
                while let Ok(true) = wire.more().await {
                    came.extend(wire.take_all());
                }
                came
            });
            assert_eq!(came, MORE);
            proxy.end(world);
        });
    }
}

/// Trailers come after a body, whatever came with them: its bytes are shown to a filter once.
#[test]
fn a_body_that_comes_with_its_trailers_is_filtered_once() {
    const BODY: &[u8] = b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    check_few_seeds("trailers", Faults::CALM, |world| {
        let origin = listen(world, async |wire| {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Expected::anything("origin");
                let read = wire.body(head.framing(Framing::None), &mut body, QUICK).await;
                if read.is_err() {
                    return;
                }
                assert_eq!(body.passed, 2 * 3);
                let answer = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BODY];
                if wire.write(&answer.concat(), QUICK).await.is_err() {
                    return;
                }
            }
        });
        let blocks = "[filter.twice]\nwasm = \"/twice.wasm\"\n";
        let proxy = Proxy::serve(world, &config(&[origin], "filters = [\"twice\"]\n", blocks));
        let passed = play(world, &proxy, async |wire| {
            let head = b"POST / HTTP/1.1\r\nHost: sim.test\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire.write(&[&head[..], BODY].concat(), QUICK).await.expect("it is taken");
            let head = wire.head().await.expect("an answer").expect("an answer");
            let mut body = Expected::anything("client");
            wire.body(head.framing(Framing::None), &mut body, QUICK).await.expect("all of it");
            body.passed
        });
        assert_eq!(passed, 2 * 3);
        proxy.end(world);
    });
}
