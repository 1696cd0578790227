//! What filters do beside exchanges: timers, calls in the root's name, shared data; and filters
//! that fail so often that they are switched off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, Path, SimEnv, SimStream, World, check_few_seeds};

use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Wire};
use crate::proxy::{Proxy, config};

const SECOND: Duration = Duration::from_secs(1);

/// Lets so much time pass, whether or not anything happens at its end.
fn pass(world: &World, time: Duration) {
    world.after(time, |_| {});
    world.run(time);
}

/// Answers whatever is asked, once per connection, and counts it.
fn origin(world: &World, name: &'static str) -> (Address, Rc<Cell<u32>>) {
    let (env, count) = (world.node(name, Limits::AMPLE), Rc::new(Cell::new(0)));
    let (own, address, counter) = (env.clone(), env.address(8080), count.clone());
    env.listen(&address, move |stream| own.spawn(serve(own.clone(), stream, counter.clone())));
    (address, count)
}

async fn serve(env: SimEnv, stream: SimStream, count: Rc<Cell<u32>>) {
    let wire = Wire::new(env, stream);
    let Ok(Some(head)) = wire.head().await else { return };
    let mut body = Expected::anything("origin");
    if wire.body(head.framing(Framing::None), &mut body, &Pace::QUICK).await.is_ok() {
        count.set(count.get() + 1);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        // Whoever asked may be gone.
        let _ = wire.write(answer, &Pace::QUICK).await;
    }
}

/// An answer's status, and the value of one field.
type Answer = (u16, Option<String>);

/// Asks `marks.len()` times, one after the other and each on a connection of its own: the shards
/// take turns.
#[track_caller]
fn ask(world: &World, proxy: &Proxy, marks: &[&'static str], field: &'static str) -> Vec<Answer> {
    let (env, front) = (world.node("client", Limits::AMPLE), proxy.front.clone());
    let (answers, marks) = (Rc::new(RefCell::new(Vec::new())), marks.to_vec());
    let (told, expected) = (answers.clone(), marks.len());
    env.clone().spawn(async move {
        for mark in marks {
            let stream = Wire::connect(&env, &front).await.expect("the proxy listens");
            let wire = Wire::new(env.clone(), stream);
            let request = format!(
                "GET /a HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\nX-Mark: {mark}\r\n\r\n"
            );
            wire.write(request.as_bytes(), &Pace::QUICK).await.expect("the proxy reads");
            let head = wire.head().await.expect("the proxy answers").expect("an answer");
            let status = head.line.split(' ').nth(1).and_then(|status| status.parse().ok());
            let value = head.field(field).map(str::to_owned);
            told.borrow_mut().push((status.expect("a status line"), value));
        }
    });
    let all = || answers.borrow().len() == expected;
    assert!(world.run_until(60 * SECOND, all), "{:#?}", world.leaks());
    answers.take()
}

#[test]
fn timers_call_clusters_and_every_shard_sees_what_came_of_it() {
    check_few_seeds("roots, timers", Faults::CALM, |world| {
        let ((app, _), (auth, calls)) = (origin(world, "origin"), origin(world, "auth"));
        let block = format!(
            "[filter.root]\nwasm = \"/root.wasm\"\nhttp_calls = [\"auth\"]\n\
             [cluster.auth]\nendpoints = [\"{auth}\"]\n"
        );
        let app = [app];
        let texts = [
            config(&app, "filters = [\"root\"]\n", &block),
            config(&app, "", &format!("[cluster.auth]\nendpoints = [\"{auth}\"]\n")),
        ];
        let proxy = Proxy::serve_on(world, &texts, 2);
        let count = |letter: u8| (200, Some(char::from(letter).to_string()));
        pass(world, SECOND / 2);
        assert_eq!(ask(world, &proxy, &[""; 2], "x-count"), [count(b'0'), count(b'0')]);
        pass(world, 4 * SECOND);
        // Two shards, four ticks each, and both know of all eight.
        assert_eq!(ask(world, &proxy, &[""; 2], "x-count"), [count(b'8'), count(b'8')]);
        // Without anybody to call, time goes on and the count does not.
        world.set_path(&auth, Path::Refused);
        let before = calls.get();
        assert_eq!(before, 8);
        pass(world, 60 * SECOND);
        assert_eq!(calls.get(), before);
        world.set_path(&auth, Path::Open);
        pass(world, 4 * SECOND);
        let lively = calls.get();
        assert!(lively > before + 4, "{lively}");
        // A filter that is gone ticks no more.
        proxy.reload();
        pass(world, 2 * SECOND);
        let after = calls.get();
        pass(world, 10 * SECOND);
        assert_eq!(calls.get(), after);
        assert_eq!(ask(world, &proxy, &[""], "x-count"), [(200, None)]);
        // It comes back with its timer; shared data outlives configurations while any uses it.
        proxy.reload();
        pass(world, 5 * SECOND);
        assert!(calls.get() >= after + 8);
        proxy.end(world);
    });
}

#[test]
fn what_is_called_at_the_end_of_an_exchange_goes_out_and_is_answered() {
    check_few_seeds("roots, ends", Faults::CALM, |world| {
        let ((app, _), (auth, calls)) = (origin(world, "origin"), origin(world, "auth"));
        let cluster = format!("[cluster.auth]\nendpoints = [\"{auth}\"]\n");
        let block = "[filter.report]\nwasm = \"/report.wasm\"\nhttp_calls = [\"auth\"]\n\
            http_calls_max = 2\n";
        let app = [app];
        let texts = [
            config(&app, "filters = [\"report\"]\n", &format!("{block}{cluster}")),
            config(&app, "", &cluster),
        ];
        let proxy = Proxy::serve_on(world, &texts, 1);
        // More of them than may be under way at a time.
        for count in b'0'..b'6' {
            let seen = (200, Some(char::from(count).to_string()));
            assert_eq!(ask(world, &proxy, &[""], "x-count"), [seen]);
            pass(world, 2 * SECOND);
        }
        assert_eq!(calls.get(), 2 * 6);
        // A call that fails is answered, too; and an old version ends with its last exchange.
        world.set_path(&auth, Path::Refused);
        assert_eq!(ask(world, &proxy, &[""], "x-count"), [(200, Some("6".to_owned()))]);
        proxy.reload();
        pass(world, 2 * SECOND);
        assert_eq!(calls.get(), 2 * 6);
        proxy.end(world);
    });
}

#[test]
fn one_shard_hears_of_what_every_shard_puts_into_a_queue() {
    check_few_seeds("roots, queues", Faults::CALM, |world| {
        let (app, _) = origin(world, "origin");
        let block = "[filter.queue]\nwasm = \"/queue.wasm\"\n";
        let texts = [config(&[app], "filters = [\"queue\"]\n", block)];
        let proxy = Proxy::serve_on(world, &texts, 2);
        let count = |letter: u8| (200, Some(char::from(letter).to_string()));
        // The shards take turns, and the second registered last. Its own task runs between two
        // requests; it hears of the other's items when that shard has nudged it.
        assert_eq!(ask(world, &proxy, &[""; 2], "x-count")[0], count(b'0'));
        for heard in [2, 4, 6] {
            pass(world, SECOND);
            proxy.deliver_nudges();
            pass(world, SECOND);
            let answers = ask(world, &proxy, &[""; 2], "x-count");
            let at_least = count(b'0' + heard).1;
            assert!(answers[0] == count(b'0') && answers[1].1 >= at_least, "{answers:?}");
        }
        proxy.end(world);
    });
}

/// A storm of `traps` in a filter, then requests that do not trap.
fn storm(name: &str, on_error: &str, traps: usize, storm: &str) {
    let denies = on_error == "deny";
    check_few_seeds(name, Faults::CALM, |world| {
        let (app, served) = origin(world, "origin");
        let block =
            format!("[filter.gate]\nwasm = \"/gate.wasm\"\non_error = \"{on_error}\"\n{storm}");
        let proxy = Proxy::serve(world, &config(&[app], "filters = [\"gate\"]\n", &block));
        let failed = || match denies {
            true => (503, Some(Cause::FilterFailed.name().to_owned())),
            false => (200, None),
        };
        let field = "x-penstock-cause";
        let mut off = SECOND;
        for _ in 0..3 {
            // All but one leave it in use.
            let almost = vec!["trap"; traps - 1];
            assert_eq!(ask(world, &proxy, &almost, field), vec![failed(); traps - 1]);
            let answers = ask(world, &proxy, &["answer", "trap"], field);
            let answered = (403, Some(Cause::FilterResponds.name().to_owned()));
            assert_eq!(answers, [answered.clone(), failed()]);
            // Switched off: what would be answered 403 is denied, or let through.
            assert_eq!(ask(world, &proxy, &["answer"; 3], field), vec![failed(); 3]);
            pass(world, off - SECOND / 2);
            assert_eq!(ask(world, &proxy, &["answer"], field), [failed()], "off for {off:?}");
            pass(world, SECOND);
            assert_eq!(ask(world, &proxy, &["answer"], field), [answered]);
            off *= 2;
        }
        assert_eq!(served.get() == 0, denies);
        proxy.end(world);
    });
}

#[test]
fn a_storm_of_failures_switches_a_filter_off_and_it_comes_back() {
    storm("roots, storm", "deny", 50, "");
    for on_error in ["deny", "allow"] {
        storm("roots, small storm", on_error, 5, "storm = { traps = 5, window = \"5s\" }\n");
    }
}
