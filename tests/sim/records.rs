//! What the access log says of an exchange, whichever way it ended.

use std::time::Duration;

use penstock_env::{Address, CloseKind, Env, Stream};
use penstock_proxy::Cause;
use penstock_telemetry::access::Text;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::modules::blocks;
use crate::proxy::{Proxy, config};

const MS: Duration = Duration::from_millis(1);

/// An origin that takes `work` for each answer.
fn origin(world: &World, port: u16, work: Duration) -> Address {
    let env = world.node("origin", Limits::AMPLE);
    let (own, address) = (env.clone(), env.address(port));
    env.listen(&address, move |stream| {
        let wire = Wire::new(own.clone(), stream);
        own.spawn(async move {
            while let Ok(Some(_)) = wire.head().await {
                Wire::sleep_on(&wire.env, work).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                if wire.write(answer, &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    address
}

/// Sends `request`, and takes what is answered until the end.
fn ask(env: &SimEnv, to: &Address, request: &'static str) {
    let (own, to) = (env.clone(), to.clone());
    env.spawn(async move {
        let stream = Wire::connect(&own, &to).await.expect("the proxy listens");
        let wire = Wire::new(own, stream);
        wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is taken");
        while let Ok(true) = wire.more().await {
            wire.take_all();
        }
        wire.stream.close(CloseKind::Now);
    });
}

#[test]
fn a_request_that_the_end_cuts_is_a_line_with_its_cause() {
    check_few_seeds("record cut", Faults::CALM, |world| {
        let origin = origin(world, 8080, MS * 60_000);
        let proxy = Proxy::serve(world, &config(&[origin], "", ""));
        let env = world.node("client", Limits::AMPLE);
        ask(&env, &proxy.front, "GET /slow/9 HTTP/1.1\r\nHost: sim.test\r\n\r\n");
        world.run(MS * 5_000);
        assert!(proxy.records().is_empty(), "it is under way");
        proxy.cut(world);
        let records = proxy.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(record.text(Text::Path), b"/slow/9");
        assert_eq!((record.cause, record.status), (Some(Cause::Drained.index() as u16), 0));
        assert!(record.total_us >= 3_000_000, "{record:?}");
        assert_eq!(proxy.failures(), [(Cause::Drained, 1)]);
    });
}

#[test]
fn a_request_that_a_filter_held_says_so_and_blames_no_endpoint() {
    check_few_seeds("record held", Faults::CALM, |world| {
        let (origin, auth) = (origin(world, 8080, MS * 3), origin(world, 8081, MS * 700));
        let blocks = blocks("deny", 0) + &format!("[cluster.auth]\nendpoints = [\"{auth}\"]\n");
        let text = config(&[origin], "filters = [\"edit\", \"ask\"]\n", &blocks);
        let proxy = Proxy::serve(world, &text);
        let env = world.node("client", Limits::AMPLE);
        ask(&env, &proxy.front, "GET / HTTP/1.1\r\nHost: sim.test\r\nx-mark: query\r\n\r\n");
        assert!(world.run_until(MS * 60_000, || !proxy.records().is_empty()));
        let record = proxy.records()[0];
        let phases = record.phases;
        assert_eq!((record.status, record.cause), (200, None));
        assert!(phases.filters_us >= 700_000, "{record:?}");
        assert!(phases.first_byte_us < 700_000 && phases.connect_us < 700_000, "{record:?}");
        world.run(MS * 60_000);
        proxy.end(world);
    });
}

#[test]
fn a_connection_that_says_nothing_is_cut_by_name() {
    check_few_seeds("record silent", Faults::CALM, |world| {
        let proxy = Proxy::serve(world, &config(&[origin(world, 8080, MS)], "", ""));
        let env = world.node("client", Limits::AMPLE);
        ask(&env, &proxy.front, "");
        world.run(MS * 120_000);
        assert_eq!(proxy.failures(), [(Cause::DownstreamSilent, 1)]);
        // One that has asked something, and is kept for as long as it may be, is closed in peace.
        ask(&env, &proxy.front, "GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n");
        world.run(MS * 600_000);
        assert_eq!(proxy.failures(), [(Cause::DownstreamSilent, 1)]);
        proxy.end(world);
    });
}

#[test]
fn bytes_of_an_answer_are_head_and_body_whoever_gives_it() {
    check_few_seeds("record bytes", Faults::CALM, |world| {
        let proxy = Proxy::serve(world, &config(&[origin(world, 8080, MS)], "", ""));
        let env = world.node("client", Limits::AMPLE);
        ask(&env, &proxy.front, "GET / HTTP/1.1\r\nHost: sim.test\r\n\r\n");
        ask(&env, &proxy.front, "GET / HTTP/1.1\r\nHost: other\r\n\r\n");
        assert!(world.run_until(MS * 60_000, || proxy.records().len() == 2));
        for record in proxy.records() {
            assert!(record.bytes_out > 40, "{record:?}");
        }
        world.run(MS * 120_000);
        proxy.end(world);
    });
}
