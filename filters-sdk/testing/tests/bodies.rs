//! A module of our SDK that judges bodies, over the real host: their end where trailers follow,
//! heads that wait alone, answers that the host refuses.

use penstock_filter_host::{Capabilities, PauseHeaders, abi::Capability};
use penstock_filters_sdk_testing::{Exchange, FilterTest};

fn bodies() -> FilterTest {
    let wasm = include_bytes!("../../../tests/fixtures/filters/sdk-bodies/bodies.wasm");
    FilterTest::new(wasm).cluster("auth")
}

/// A POST whose body is still to come.
fn post<'t>(test: &'t FilterTest, path: &str) -> Exchange<'t> {
    test.request_with_body(&[(":method", "POST"), (":path", path), (":authority", "h")])
}

#[test]
fn a_body_before_trailers_is_judged_at_its_end() {
    let test = bodies();
    post(&test, "/judge").request_body("no", false).request_body("pe", true).expect_answer(400);
    let sent = |body: &str| {
        let sent = post(&test, "/judge").request_body(&body[..1], false).expect_wait();
        sent.request_body(&body[1..], false).request_trailers(&[("x-t", "1")])
    };
    sent("not JSON").expect_answer(400).expect_request_body("");
    sent("{}").expect_continue().expect_request_body("{}");
    // No byte of a body, and its end all the same.
    post(&test, "/judge").request_trailers(&[("x-t", "1")]).expect_answer(400);
    post(&test, "/append")
        .request_body("ab", false)
        .expect_continue()
        .request_trailers(&[("x-t", "1")])
        .expect_request_body("ab!");
}

#[test]
fn a_response_before_trailers_has_an_end_too() {
    let test = bodies();
    for hold in [&[("x-hold", "1")][..], &[]] {
        let response = post(&test, "/").request_body("", true).respond_with_body(200, hold);
        response
            .response_body("ab", false)
            .response_trailers(&[("grpc-status", "0")])
            .expect_continue()
            .expect_response_body("ab?");
    }
}

#[test]
fn a_judge_of_bodies_can_be_asked() {
    let test = bodies();
    let asked = |trailers: bool| {
        let begun = post(&test, "/ask").request_body("ab", false).expect_wait();
        let all = match trailers {
            true => begun.request_body("cd", false).request_trailers(&[("x-t", "1")]),
            false => begun.request_body("cd", true),
        };
        assert_eq!(all.calls()[0].body, b"abcd");
        all.expect_wait().expect_call("auth", "/scan")
    };
    for trailers in [true, false] {
        asked(trailers).reply(200, &[], "").expect_continue().expect_request_body("abcd");
        asked(trailers).reply(403, &[], "").expect_answer(403).expect_request_body("");
        asked(trailers).fail_call().expect_answer_body("Some(503)?");
    }
}

#[test]
fn a_head_that_waits_for_its_verdict_waits_however_it_is_held() {
    for pause in [PauseHeaders::All, PauseHeaders::HeadersOnly] {
        let test = bodies().settings(|settings| settings.pause_headers = pause);
        let waits = || {
            let sent = post(&test, "/wait").expect_wait().request_body("ab", false).expect_wait();
            sent.request_body("cd", false).request_trailers(&[("x-t", "1")]).expect_wait()
        };
        let allowed = waits().reply(200, &[("x-user", "ada")], "").expect_continue();
        allowed.expect_header("x-user", "ada").expect_request_body("abcd");
        waits().reply(401, &[], "").expect_answer(403).expect_request_body("");
    }
}

#[test]
fn a_head_held_alone_can_be_changed_by_its_body() {
    let test = bodies().settings(|settings| settings.pause_headers = PauseHeaders::HeadersOnly);
    let sent = post(&test, "/head").expect_wait().request_body("abc", true);
    sent.expect_continue().expect_header("x-bytes", "3").expect_request_body("abc");
}

#[test]
fn an_answer_that_is_refused_holds_nobody() {
    let test = bodies();
    for path in ["/status", "/large"] {
        post(&test, path).expect_answer(500).expect_cause("answer_refused").expect_answer_body("");
    }
    assert!(test.lines()[0].contains("answer 99 was refused"), "{:?}", test.lines());
    // What can't be sent of one that was taken is left out, as in the proxy.
    post(&test, "/field").expect_answer(500).expect_answer_body("yes?");
    let ungranted = bodies().settings(|settings| {
        let all = Capability::ALL.iter().copied();
        let granted = all.filter(|capability| *capability != Capability::LocalResponse);
        settings.capabilities = granted.fold(Capabilities::NONE, Capabilities::with);
    });
    post(&ungranted, "/status").expect_answer(503).expect_cause("filter_trap");
}
