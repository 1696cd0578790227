//! What a chain does with filters that pause, answer, call and end, on filters written as text.

mod connection;
mod ends;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::testing::{Fields, Harness};
use crate::tests::{PAUSE, harness, poll, session};
use crate::{
    Body, CalloutFailure, CalloutResponse, Chain, ChainLink, EngineSettings, Event, FilterSettings,
    Flow, OverLimit, PairList, PauseHeaders, PluginSettings,
};

#[test]
fn fields_are_read_and_changed() {
    let harness = harness(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $add
                (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 3)))
            (drop (call $value
                (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 1024) (i32.const 1028)))
            (drop (call $replace (i32.const 0) (i32.const 32) (i32.const 6)
                (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))
            i32.const 0)"#,
        |_| {},
    );
    let mut session = session();
    let mut chain = harness.chain();
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    let expected = [
        (":method", "GET"),
        (":path", "/a"),
        (":authority", "h"),
        ("x-seen", "yes"),
        ("x-path", "/a"),
    ];
    assert_eq!(session.request, Fields::new(&expected));
    assert!(!chain.wants_request_body() && !chain.wants_response_body());
    chain.finish(&mut session);
    assert_eq!(harness.filters.streams(), 0);
}

#[test]
fn a_paused_head_holds_the_body_until_it_is_continued() {
    // The tick continues stream context 2: the first exchange after the root.
    let body = format!(
        r#"{PAUSE}
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) i32.const 0)
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $period (i32.const 100))))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $effective (i32.const 2)))
            (drop (call $continue (i32.const 0))))"#
    );
    let harness = harness(&body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, false), Flow::Pause);
    assert!(chain.is_request_shut() && chain.holds_request());
    let mut piece = b"early".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, true), Flow::Pause);
    assert!(piece.is_empty(), "the chain took it");
    assert_eq!(poll(&mut chain), None);
    harness.advance(Duration::from_millis(100));
    assert_eq!(poll(&mut chain), Some(Event::ResumeRequest));
    assert_eq!(chain.resume_request(&mut session, &mut piece), Flow::Continue);
    assert_eq!(piece, b"early");
    assert!(!chain.holds_request());
    chain.finish(&mut session);
}

#[test]
fn a_body_is_gathered_while_the_filter_pauses() {
    // Pauses until the end, then puts "yes" before everything.
    let body = r#"(func (export "proxy_on_request_body")
        (param i32 i32) (param $end i32) (result i32)
        (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
        (drop (call $set_bytes
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 3)))
        i32.const 0)"#;
    let harness = harness(body, |settings| settings.body_bytes_max = 10);
    let (mut session, mut chain) = (session(), harness.chain());
    assert!(chain.wants_request_body());
    assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
    let mut piece = b"one ".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, false), Flow::Pause);
    assert!(piece.is_empty() && chain.holds_request() && !chain.is_request_shut());
    piece = b"two".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, true), Flow::Continue);
    assert_eq!(piece, b"yesone two");
    chain.finish(&mut session);
    // A filter that knows no trailers is told of the end with the body.
    chain.begin(&harness.filters, &[ChainLink { filter: 0, plugin: 0 }]);
    assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
    piece = b"one ".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, false), Flow::Pause);
    session.request_trailers = Some(Fields::new(&[("t", "v")]));
    assert_eq!(chain.request_trailers(&mut session, &mut piece), Flow::Continue);
    assert_eq!(piece, b"yesone ");
    chain.finish(&mut session);
    // More than it may hold is answered.
    chain.begin(&harness.filters, &[ChainLink { filter: 0, plugin: 0 }]);
    assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
    piece = b"more than ten".to_vec();
    let flow = chain.request_body(&mut session, &mut piece, false);
    assert!(matches!(flow, Flow::Respond(response) if response.status == 413));
    chain.finish(&mut session);
}

#[test]
fn a_head_held_alone_goes_on_from_the_body_callback() {
    let body = format!(
        r#"{PAUSE}
        (func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
            (i32.eqz (local.get $end)))"#
    );
    let harness = harness(&body, |settings| settings.pause_headers = PauseHeaders::HeadersOnly);
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, false), Flow::Pause);
    assert!(!chain.is_request_shut());
    let mut piece = b"a".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, false), Flow::Pause);
    piece = b"b".to_vec();
    assert_eq!(chain.request_body(&mut session, &mut piece, true), Flow::Continue);
    assert_eq!(piece, b"ab");
    chain.finish(&mut session);
}

#[test]
fn an_answer_comes_before_what_the_callback_returned() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 6)
            (i32.const 16) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const -1)))
        (drop (call $respond (i32.const 500) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
        i32.const 0)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    let Flow::Respond(response) = chain.request_headers(&mut session, true) else {
        panic!("the filter answered");
    };
    assert_eq!((response.status, &*response.body), (403, b"yes" as &[u8]));
    assert_eq!((&*response.details, response.grpc_status), ("x-seen", None));
    assert_eq!(response.failed, None);
    chain.finish(&mut session);
}

#[test]
fn an_http_call_comes_out_and_its_answer_goes_in() {
    let body = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $call (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 62) (i32.const 16)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (if (result i32) (then unreachable) (else (i32.const 1))))
        (func (export "proxy_on_http_call_response") (param i32 i32) (param $fields i32)
            (param i32 i32)
            (drop (call $effective (i32.const 2)))
            (if (local.get $fields)
                (then (drop (call $continue (i32.const 0))))
                (else (drop (call $close (i32.const 0))))))"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
    let callout = chain.callout().expect("the filter calls");
    assert_eq!((&*callout.cluster, &*callout.body), ("origin", b"yes" as &[u8]));
    assert_eq!(callout.headers.value(b":path"), Some(b"/" as &[u8]));
    assert_eq!(callout.timeout, Some(Duration::from_millis(1_500)));
    assert_eq!((chain.callout(), poll(&mut chain)), (None, None));
    let headers = PairList::new([(b":status" as &[u8], b"200" as &[u8])].into_iter());
    let answer = CalloutResponse { headers, ..CalloutResponse::default() };
    chain.answer(&mut session, &callout, Ok(&answer));
    assert_eq!(poll(&mut chain), Some(Event::ResumeRequest));
    assert_eq!(chain.resume_request(&mut session, &mut Vec::new()), Flow::Continue);
    chain.answer(&mut session, &callout, Err(CalloutFailure::Timeout));
    assert_eq!(poll(&mut chain), None, "a call is answered once");
    chain.finish(&mut session);
    // An exchange that ends cancels its calls.
    chain.begin(&harness.filters, &[ChainLink { filter: 0, plugin: 0 }]);
    assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
    chain.finish(&mut session);
    assert_eq!(harness.filters.streams(), 0);
}

/// Calls, and logs the status of the answer, or "lost" where it can't be read.
const ASKS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $call (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 62) (i32.const 16)
            (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
        (if (result i32) (then unreachable) (else (i32.const 1))))
    (data (i32.const 160) ":status")
    (data (i32.const 176) "lost")
    (data (i32.const 184) "forgotten")
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32) (param $trailers i32)
        ;; Trailers that did not come are not found, which is 1.
        (if (i32.ne (i32.const 1) (call $value (i32.const 7) (i32.const 160) (i32.const 7)
                (i32.const 1024) (i32.const 1028)))
            (then unreachable))
        (if (call $value (i32.const 6) (i32.const 160) (i32.const 7) (i32.const 1024)
                (i32.const 1028))
            (then (drop (call $log (i32.const 2) (i32.const 176) (i32.const 4))))
            (else (drop (call $log
                (i32.const 2) (i32.load (i32.const 1024)) (i32.load (i32.const 1028)))))))
    (func (export "proxy_on_delete") (param i32)
        (drop (call $log (i32.const 2) (i32.const 184) (i32.const 9))))"#;

#[test]
fn a_call_that_failed_reads_as_an_answer_of_ours() {
    let harness = harness(ASKS, |_| {});
    for (failure, seen) in [
        (CalloutFailure::Unreachable, "503"),
        (CalloutFailure::Timeout, "504"),
        (CalloutFailure::TooLarge, "lost"),
    ] {
        let (mut session, mut chain) = (session(), harness.chain());
        assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
        let callout = chain.callout().expect("the filter calls");
        harness.world.lines.borrow_mut().clear();
        chain.answer(&mut session, &callout, Err(failure));
        assert!(harness.world.logged(seen), "{failure:?}: {:?}", harness.world.lines);
        chain.finish(&mut session);
    }
}

#[test]
fn a_call_whose_exchange_is_over_is_forgotten_and_nobody_called_back() {
    // Also a guest that need not be told of an exchange's end: it keeps its calls.
    let stateless = r#"(func (export "penstock_stateless") (result i32) i32.const 1)"#;
    for body in [ASKS.to_owned(), format!("{ASKS}{stateless}")] {
        let harness = harness(&body, |_| {});
        let (mut session, mut chain) = (session(), harness.chain());
        assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
        assert!(chain.callout().is_some(), "the filter calls");
        harness.world.lines.borrow_mut().clear();
        chain.finish(&mut session);
        let lines = harness.world.lines.borrow().len();
        assert!(lines == 1 && harness.world.logged("forgotten"), "{:?}", harness.world.lines);
    }
}

#[test]
fn the_callback_for_trailers_sees_what_is_held_and_no_more() {
    // Pauses in its first callback for the body, by the letter `h`; logs the bytes that it sees
    // with the trailers, and puts "yes" behind them.
    let body = r#"
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (drop (call $bytes (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1024)
                (i32.const 1028)))
            (i32.eq (i32.load8_u (i32.load (i32.const 1024))) (i32.const 104)))
        (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
            (i32.store (i32.const 1028) (i32.const 0))
            (if (call $bytes (i32.const 0) (i32.const 0) (i32.const 99) (i32.const 1024)
                    (i32.const 1028))
                (then unreachable))
            (drop (call $log (i32.const 2) (i32.load (i32.const 1024))
                (i32.load (i32.const 1028))))
            (if (call $set_bytes (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 16)
                    (i32.const 3))
                (then unreachable))
            i32.const 0)"#;
    let harness = harness(body, |_| {});
    for (sent, seen, passed) in [("held", "held", "heldyes"), ("passed", "", "yes")] {
        let (mut session, mut chain) = (session(), harness.chain());
        assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
        let mut piece = sent.as_bytes().to_vec();
        let _ = chain.request_body(&mut session, &mut piece, false);
        session.request_trailers = Some(Fields::new(&[("t", "v")]));
        harness.world.lines.borrow_mut().clear();
        let mut tail = Vec::new();
        assert_eq!(chain.request_trailers(&mut session, &mut tail), Flow::Continue);
        assert_eq!(String::from_utf8_lossy(&tail), passed);
        let lines = harness.world.lines.borrow();
        assert_eq!(lines.last().map(|(_, line)| &**line), Some(seen), "{lines:?}");
        drop(lines);
        chain.finish(&mut session);
    }
}

#[test]
fn another_exchange_can_be_continued_and_not_read() {
    // The second exchange looks at the first: its fields must not read as missing.
    let body = r#"
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
            (if (i32.eq (local.get $id) (i32.const 2)) (then (return (i32.const 1))))
            (drop (call $effective (i32.const 2)))
            (if (i32.ne (i32.const 10) (call $value
                (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 1024) (i32.const 1028)))
                (then unreachable))
            (drop (call $continue (i32.const 0)))
            i32.const 0)"#;
    let harness = harness(body, |_| {});
    let mut session = session();
    let (mut first, mut second) = (harness.chain(), harness.chain());
    assert_eq!(first.request_headers(&mut session, true), Flow::Pause);
    assert_eq!(poll(&mut first), None);
    assert_eq!(second.request_headers(&mut session, true), Flow::Continue);
    assert_eq!(poll(&mut first), Some(Event::ResumeRequest));
    assert_eq!(first.resume_request(&mut session, &mut Vec::new()), Flow::Continue);
    first.finish(&mut session);
    second.finish(&mut session);
}

#[test]
fn a_response_runs_through_the_filters_in_reverse() {
    // Each configuration is one byte, which the filter adds as x-seen.
    let body = r#"
        (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
        (data (i32.const 160) "plugin_root_id")
        (func $mark (param $map i32)
            (drop (call $property
                (i32.const 160) (i32.const 14) (i32.const 1024) (i32.const 1028)))
            (drop (call $add (local.get $map) (i32.const 0) (i32.const 6)
                (i32.load (i32.const 1024)) (i32.load (i32.const 1028)))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $mark (i32.const 0)) i32.const 0)
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $mark (i32.const 2)) i32.const 0)"#;
    // Imports come first in the text format.
    let (import, rest) = body.split_at(body.find("(data").expect("it is there"));
    let wasm = reordered(import, rest);
    let plugin = |root: &str| PluginSettings { root_id: root.into(), config: Arc::default() };
    let mut settings = FilterSettings::new("f");
    settings.plugins = Arc::new([plugin("a"), plugin("b")]);
    let harness = Harness::new(&wasm, settings, EngineSettings::default()).expect("it loads");
    let mut session = session();
    let mut chain = Chain::new();
    let links = [ChainLink { filter: 0, plugin: 0 }, ChainLink { filter: 0, plugin: 1 }];
    chain.begin(&harness.filters, &links);
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    session.response = Some(Fields::new(&[(":status", "200")]));
    assert_eq!(chain.response_headers(&mut session, true), Flow::Continue);
    let seen = |fields: &Fields| fields.values("x-seen").collect::<Vec<_>>().concat();
    assert_eq!(seen(&session.request), b"ab");
    assert_eq!(seen(session.response.as_ref().expect("it is there")), b"ba");
    chain.finish(&mut session);
}

fn reordered(import: &str, rest: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {import}
            (import "env" "proxy_add_header_map_value"
                (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "x-seen")
            (func (export "proxy_abi_version_0_2_0"))
            (func (export "malloc") (param i32) (result i32) i32.const 65536)
            {rest})"#
    );
    wat::parse_str(text).expect("the text is a module")
}

#[test]
fn going_on_with_what_does_not_wait_cancels_no_later_pause() {
    let body = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $continue (i32.const 1)))
            i32.const 0)
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            i32.const 1)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    session.response = Some(Fields::new(&[(":status", "200")]));
    assert_eq!(chain.response_headers(&mut session, true), Flow::Pause);
    assert_eq!(poll(&mut chain), None);
    chain.finish(&mut session);
}

#[test]
fn going_on_in_the_callback_that_pauses_is_going_on() {
    let body = r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $continue (i32.const 0)))
            i32.const 1)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    chain.finish(&mut session);
}

#[test]
fn a_held_body_grows_no_further_than_gathering_may() {
    // Each piece is answered by trying to add three bytes at the end, until that is refused.
    let body = r#"
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (loop $again
                (br_if $again (i32.eqz (call $set_bytes
                    (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 16) (i32.const 3)))))
            i32.const 1)"#;
    let harness = harness(body, |settings| settings.body_bytes_max = 100);
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
    // The first piece is not held while the filter sees it, so the proxy's own limit would count.
    let mut piece = Vec::new();
    let settled = chain.request_body(&mut session, &mut Limited(&mut piece, 50), false);
    assert_eq!(settled, Flow::Pause);
    let settled = chain.request_body(&mut session, &mut b"x".to_vec(), true);
    assert_eq!(settled, Flow::Pause);
    chain.finish(&mut session);
}

/// A body with a limit, as a proxy has them.
struct Limited<'a>(&'a mut Vec<u8>, usize);

impl Body for Limited<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        self.0.copy(start, into);
    }

    fn splice(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), OverLimit> {
        match self.0.len() - range.len() + bytes.len() <= self.1 {
            true => Body::splice(self.0, range, bytes),
            false => Err(OverLimit),
        }
    }
}
