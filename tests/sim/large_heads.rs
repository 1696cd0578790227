//! Large heads of HTTP/1: what a source may hold of them is bounded, and small ones never notice.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// A quarter of a MiB for each source: room for four heads of 60 KB, and not for five.
const RUNTIME: &str = "[runtime]\nlarge_heads = \"1MiB\"\n";
const LARGE_BYTES: usize = 60_000;

/// A head without its end.
fn head(bytes: usize) -> String {
    let padding = format!("x-pad: {}\r\n", "p".repeat(1_000)).repeat(bytes / 1_000);
    format!("GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n{padding}")
}

/// The status of the answer to a request with such a head.
async fn ask(env: &SimEnv, proxy: &Proxy, bytes: usize) -> u16 {
    let stream = Wire::connect(env, &proxy.front).await.expect("the proxy listens");
    let (wire, request) = (Wire::new(env.clone(), stream), head(bytes) + "\r\n");
    // It may be answered before all is sent.
    let _ = wire.write(request.as_bytes(), &Pace::QUICK).await;
    let head = wire.head().await.expect("an answer").expect("a head");
    head.line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn origin(world: &World) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| {
        let env = own.clone();
        own.spawn(async move {
            let wire = Wire::new(env, stream);
            if let Ok(Some(_)) = wire.head().await {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = wire.write(answer, &Pace::QUICK).await;
            }
        });
    });
    address
}

#[test]
fn heads_that_do_not_end_take_no_more_than_they_may() {
    check_few_seeds("large heads, unfinished", Faults::CALM, |world| {
        let proxy = Proxy::serve(world, &config(&[origin(world)], "", RUNTIME));
        let (env, left) = (world.node("client", Limits::AMPLE), Rc::new(Cell::new(1)));
        let other = world.node("other", Limits::AMPLE);
        let (own, told, asked) = (env.clone(), left.clone(), proxy.clone());
        env.spawn(async move {
            let mut held = Vec::new();
            for _ in 0..4 {
                let stream = Wire::connect(&own, &asked.front).await.expect("the proxy listens");
                let wire = Wire::new(own.clone(), stream);
                wire.write(head(LARGE_BYTES).as_bytes(), &Pace::QUICK).await.expect("it is read");
                held.push(wire);
            }
            Wire::sleep_on(&own, Duration::from_secs(1)).await;
            assert_eq!(ask(&own, &asked, LARGE_BYTES).await, 503);
            assert_eq!(ask(&own, &asked, 2_000).await, 200);
            assert_eq!(ask(&other, &asked, LARGE_BYTES).await, 200);
            // What does not end is given up, and leaves its room.
            for wire in held {
                assert!(wire.head().await.is_ok_and(|head| head.is_some()));
            }
            Wire::sleep_on(&own, Duration::from_secs(3)).await;
            assert_eq!(ask(&own, &asked, LARGE_BYTES).await, 200);
            drop(asked);
            told.set(0);
        });
        let done = || left.get() == 0 || world.panicked().is_some();
        assert!(world.run_until(Duration::from_secs(120), done), "{:#?}", world.leaks());
        assert_eq!(world.panicked(), None);
        assert_eq!(proxy.failures(), [(Cause::LargeHeadsMax, 1), (Cause::RequestHeadTimeout, 4)]);
        proxy.end(world);
    });
}
