//! Runs filters that were built with other people's SDKs, unmodified, over the real host.
//!
//! Not for the ABI's corner cases, which `filter-host` has rows for: this is about whole SDKs, and
//! what they do that no specification mentions. The modules and their sources are in
//! `tests/fixtures/filters`.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use penstock_filters_sdk_testing::{FilterTest, GrpcEvent, OnError, PeerType};

/// Crate proxy-wasm 0.2.5.
fn proxy_wasm() -> FilterTest {
    FilterTest::new(include_bytes!("../fixtures/filters/proxy-wasm/callbacks.wasm"))
        .config("hello")
        .cluster("auth")
        .property("source.address", "192.0.2.1:4711")
}

/// Package @solo-io/proxy-runtime 0.1.8.
fn assemblyscript() -> FilterTest {
    let test = include_bytes!("../fixtures/filters/assemblyscript/callbacks.wasm");
    rooted(FilterTest::new(test).config("hello"), "callbacks")
        .cluster("auth")
        .property("source.address", "192.0.2.1:4711")
}

/// Sets the name that a module looks its root up by.
fn rooted(test: FilterTest, root_id: &str) -> FilterTest {
    test.settings(|settings| {
        let mut plugins = settings.plugins.to_vec();
        plugins.iter_mut().for_each(|plugin| plugin.root_id = root_id.into());
        settings.plugins = Arc::from(plugins);
    })
}

fn both() -> [FilterTest; 2] {
    [proxy_wasm(), assemblyscript()]
}

fn head(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":path", path), (":authority", "h"), ("x-gone", "1")]
}

/// What the filter's own code logged, without what its SDK did.
fn lines(test: &FilterTest) -> Vec<String> {
    let lines = test.lines();
    lines.iter().filter_map(|line| line.strip_prefix("Info: ")).map(str::to_owned).collect()
}

#[test]
fn every_callback_of_an_exchange_is_called_in_order() {
    for test in both() {
        test.request_with_body(&head("/"))
            .expect_continue()
            .expect_header("x-source", "192.0.2.1:4711")
            .expect_no_header("x-gone")
            .request_body("ab", false)
            .expect_wait()
            .request_body("cd", false)
            .expect_wait()
            .request_trailers(&[("x-sum", "7")])
            .expect_continue()
            .respond_with_body(200, &[("server", "origin"), ("content-length", "2")])
            .expect_continue()
            .expect_response_header("x-greeting", "hello")
            .response_body("ok", false)
            .expect_response_body("ok")
            .response_trailers(&[("x-end", "1")])
            .expect_continue()
            .finish();
        let lines = lines(&test);
        let pieces = |line: &&String| line.starts_with("request ") || line.starts_with("response ");
        let shown: Vec<&String> = lines.iter().filter(pieces).collect();
        let expected = [
            "request headers 4 false",
            "request body 2 false",
            "request body 4 false",
            "request trailers 1",
            "response headers 3 false",
            "response body 2 false",
        ];
        assert_eq!(shown, expected);
        assert!(lines.iter().any(|line| line.starts_with("log")), "{lines:?}");
    }
}

#[test]
fn bodies_are_read_and_replaced() {
    proxy_wasm()
        .request_with_body(&head("/"))
        .request_body("ab", false)
        .request_body("cd", true)
        .expect_continue()
        .expect_request_body("ABCD")
        .respond_with_body(200, &[("content-length", "2")])
        .expect_no_response_header("content-length")
        .response_body("o", false)
        .response_body("k", true)
        .expect_response_body("ok!");
}

#[test]
fn they_answer_by_themselves() {
    // The one has a callback for bodies of responses, and sees its own answer there.
    for (test, body) in both().into_iter().zip(["turned away!", "turned away"]) {
        test.request(&head("/answer"))
            .expect_answer(403)
            .expect_answer_header("x-why", "answer")
            .expect_answer_body(body);
    }
}

#[test]
fn callouts_hold_the_request_until_the_reply() {
    for (test, (reply, said)) in
        both().into_iter().zip([("body", "no reply!"), ("200", "no reply")])
    {
        let call = || test.request(&head("/call")).expect_wait().expect_call("auth", "/check");
        call().reply(200, &[], "body").expect_continue().expect_header("x-reply", reply);
        call().reply(404, &[], "").expect_answer(502).expect_answer_body(said);
        // Given up before the reply: nothing is left behind, and the next one is served.
        call().finish();
        call().reply(200, &[], "body").expect_continue();
    }
}

#[test]
fn grpc_calls_hold_the_request_until_they_end() {
    let test = proxy_wasm();
    let fields = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    };
    let closed = |status, message: &str| GrpcEvent::Closed { status, message: message.into() };
    let call = || {
        let asked = test.request(&head("/grpc")).expect_wait();
        asked.expect_call("auth", "/sim.Echo/Unary").expect_sent("who")
    };
    let message = |text: &str| GrpcEvent::Message(text.into());
    call().grpc(message("ada")).expect_continue().expect_header("x-reply", "ada");
    call().grpc(closed(7, "no")).expect_answer(403).expect_answer_body("7 no!");
    call().finish();
    test.request(&head("/stream"))
        .expect_wait()
        .expect_call("auth", "/sim.Echo/Both")
        .expect_sent("one")
        .grpc(GrpcEvent::InitialMetadata(fields(&[("content-type", "application/grpc")])))
        .grpc(message("one"))
        .expect_sent("two")
        .grpc(message("two"))
        .grpc(GrpcEvent::TrailingMetadata(fields(&[("grpc-status", "0")])))
        .expect_wait()
        .grpc(closed(0, ""))
        .expect_continue()
        .expect_header("x-reply", "onetwo");
    let lines = lines(&test);
    for line in ["grpc head true application/grpc", "grpc tail 0", "grpc close 0"] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
    test.request(&head("/stream")).grpc(closed(14, "gone")).expect_answer(502);
    // Given up while it lasts: the crate is told, and the instance goes on.
    test.request(&head("/stream")).expect_wait().finish();
    call().grpc(message("eve")).expect_continue();
}

#[test]
fn a_callout_that_fails_costs_its_own_request_alone() {
    for test in both() {
        test.request(&head("/call")).fail_call().expect_answer(502);
        test.request(&head("/call")).reply(200, &[], "body").expect_continue();
    }
    let test = proxy_wasm();
    test.request(&head("/call")).fail_call().expect_answer(502);
    // A status, a length, a type; and why.
    assert!(lines(&test).contains(&"reply 3 20".to_owned()), "{:?}", test.lines());
}

#[test]
fn a_caller_who_leaves_while_a_filter_asks_costs_nobody_anything() {
    for test in both() {
        for _ in 0..100 {
            test.request(&head("/call")).expect_wait().finish();
        }
        assert!(!lines(&test).iter().any(|line| line.starts_with("reply")), "{:?}", test.lines());
        test.request(&head("/call")).reply(200, &[], "body").expect_continue();
    }
}

#[test]
fn timers_tick_and_metrics_count() {
    for test in both() {
        assert!(test.load().is_ok(), "{:?}", test.lines());
        test.advance(Duration::from_millis(3_500));
        assert_eq!(lines(&test).iter().filter(|line| *line == "tick").count(), 3);
        assert_eq!(test.metric("ticks"), Some(3));
    }
}

#[test]
fn shared_data_trailers_and_own_properties_are_read() {
    let test = proxy_wasm();
    for count in ["1", "2", "3"] {
        test.request(&head("/")).expect_header("x-count", count).finish();
    }
    assert!(lines(&test).contains(&"log seen".to_owned()));
    test.request_with_body(&head("/")).request_body("a", false).request_trailers(&[("x-sum", "7")]);
    assert!(lines(&test).contains(&"sum 7".to_owned()));
}

#[test]
fn a_panic_costs_its_own_exchange_alone() {
    // The one SDK traps, the other leaves by `proc_exit`.
    for (test, cause) in both().into_iter().zip(["filter_trap", "filter_exit"]) {
        test.request(&head("/")).expect_continue();
        test.request(&head("/panic")).expect_answer(503).expect_cause(cause);
        test.request(&head("/")).expect_continue().expect_header("x-source", "192.0.2.1:4711");
        let said = test.lines();
        assert!(said.iter().any(|line| line.contains("as asked")), "{said:?}");
    }
    for test in both() {
        let test = test.on_error(OnError::Allow);
        test.request(&head("/panic")).expect_continue().expect_header("x-gone", "1");
    }
}

#[test]
fn what_they_refuse_to_start_with_is_refused() {
    assert!(proxy_wasm().config("refuse").load().is_err());
    // A name that the module registered no root under.
    let test = rooted(assemblyscript(), "other");
    assert!(test.load().is_err());
    let said = test.lines();
    assert!(said.iter().any(|line| line.contains("Missing root context factory")), "{said:?}");
}

/// Filters of raw connections: of crate proxy-wasm, and their twin of our SDK.
fn lines_of_both() -> [FilterTest; 2] {
    let ready =
        |test: FilterTest| test.cluster("auth").property("source.address", "192.0.2.1:4711");
    [
        ready(FilterTest::new(include_bytes!("../fixtures/filters/proxy-wasm-stream/stream.wasm"))),
        ready(FilterTest::new(include_bytes!("../fixtures/filters/sdk-stream/stream.wasm"))),
    ]
}

#[test]
fn every_callback_of_a_connection_is_called_in_order() {
    for test in lines_of_both() {
        test.connect()
            .expect_continue()
            .downstream("he", false)
            .expect_wait()
            .downstream("llo\n", false)
            .expect_continue()
            .expect_sent_upstream("HELLO\n")
            .upstream("hi", false)
            .upstream("", true)
            .expect_sent_downstream("> hi")
            .downstream("", true)
            .expect_continue()
            .close(PeerType::Remote, PeerType::Local);
        let expected = [
            "new 192.0.2.1:4711",
            "down 2 false",
            "down 6 false",
            "up 2 false",
            "up 0 true",
            "up closed 0",
            "down 0 true",
            "down closed 2",
            "done",
        ];
        assert_eq!(lines(&test), expected);
    }
}

#[test]
fn connections_wait_for_replies_are_closed_and_fail() {
    for test in lines_of_both() {
        let call = || {
            let called = test.connect().downstream("call\n", false).expect_wait();
            called.expect_call("auth", "/check")
        };
        call().reply(200, &[], "").expect_continue().expect_sent_upstream("CALL\n");
        call().reply(404, &[], "").expect_close();
        call().fail_call().expect_close();
        // Given up while it lasts: nothing is left behind.
        drop(call());
        test.connect().downstream("quit\n", false).expect_close();
        test.connect().downstream("panic\n", false).expect_failure("filter_trap");
        test.connect().downstream("on\n", false).expect_sent_upstream("ON\n");
    }
    for test in lines_of_both() {
        let test = test.on_error(OnError::Allow);
        test.connect().downstream("panic\n", false).expect_sent_upstream("panic\n");
    }
}
