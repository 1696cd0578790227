//! What a chain does with filters that pause, answer, fail and end, on filters written as text.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::testing::{FakeSession, Fields, Harness};
use crate::{
    CalloutFailure, CalloutResponse, Chain, ChainLink, EngineSettings, Event, FilterSettings, Flow,
    Isolation, LoadError, OnError, PairList, PauseHeaders, PluginSettings, TrapCause,
};

/// A module of ABI 0.2.1 with an allocator that hands out memory from 64 KiB on, and `body`.
fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_value"
                (func $value (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_add_header_map_value"
                (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_replace_header_map_value"
                (func $replace (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_buffer_bytes"
                (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_buffer_bytes"
                (func $set_bytes (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_send_local_response"
                (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
            (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
            (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
            (import "env" "proxy_done" (func $done (result i32)))
            (import "env" "proxy_set_tick_period_milliseconds"
                (func $period (param i32) (result i32)))
            (import "env" "proxy_http_call"
                (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param $bytes i32) (result i32)
                global.get $heap
                global.get $heap
                local.get $bytes
                i32.add
                global.set $heap)
            (data (i32.const 0) "x-seen")
            (data (i32.const 16) "yes")
            (data (i32.const 32) "x-path")
            (data (i32.const 48) ":path")
            (data (i32.const 64) "origin")
            (data (i32.const 80)
                "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00"
                "\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
            {body})"#
    );
    wat::parse_str(text).expect("the text is a module")
}

fn harness(body: &str, change: impl FnOnce(&mut FilterSettings)) -> Harness {
    let mut settings = FilterSettings::new("f");
    settings.clusters = Arc::new(["origin".into()]);
    change(&mut settings);
    Harness::new(&module(body), settings, EngineSettings::default()).expect("it loads")
}

fn session() -> FakeSession {
    FakeSession::new(&[(":method", "GET"), (":path", "/a"), (":authority", "h")])
}

fn poll(chain: &mut Chain) -> Option<Event> {
    match chain.poll_event(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

#[track_caller]
fn check_refused(body: &str, expected: &str) {
    let settings =
        FilterSettings { start_deadline: Duration::from_millis(20), ..FilterSettings::new("f") };
    let engine = EngineSettings::default();
    let error = Harness::new(&module(body), settings, engine).err().expect("it is refused");
    assert!(error.to_string().contains(expected), "{error}");
}

const PAUSE: &str = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    i32.const 1)"#;

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
    let harness = harness(body, |settings| settings.body_bytes_max = 8);
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
    piece = b"more than eight".to_vec();
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
    // An exchange that ends cancels its calls, and the guest is told.
    chain.begin(&harness.filters, &[ChainLink { filter: 0, plugin: 0 }]);
    assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
    chain.finish(&mut session);
    assert_eq!(harness.filters.streams(), 0);
}

#[test]
fn a_context_that_is_not_done_waits_for_proxy_done() {
    let body = r#"
        (func (export "proxy_on_done") (param i32) (result i32) i32.const 0)
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $period (i32.const 10))))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $effective (i32.const 2)))
            (drop (call $done)))
        (func (export "proxy_on_log") (param i32)
            (drop (call $log (i32.const 2) (i32.const 0) (i32.const 6))))"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    chain.finish(&mut session);
    assert_eq!(harness.filters.streams(), 1);
    assert!(!harness.world.logged("x-seen"));
    harness.advance(Duration::from_millis(10));
    assert_eq!(harness.filters.streams(), 0);
    assert!(harness.world.logged("x-seen"));
}

const TRAP: &str = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    unreachable)"#;

#[test]
fn a_trap_costs_its_own_exchange_and_the_next_gets_a_fresh_instance() {
    let body = r#"(global $count (mut i32) (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (if (i32.eq (global.get $count) (i32.const 2)) (then unreachable))
            i32.const 1)"#;
    let harness = harness(body, |_| {});
    let mut session = session();
    let (mut first, mut second, mut third) = (harness.chain(), harness.chain(), harness.chain());
    assert_eq!(first.request_headers(&mut session, true), Flow::Pause);
    assert_eq!(poll(&mut first), None);
    let flow = second.request_headers(&mut session, true);
    let Flow::Respond(response) = flow else { panic!("denied, but {flow:?}") };
    assert_eq!((response.status, &*response.details), (503, "filter_trap"));
    assert_eq!(response.failed.as_deref(), Some("f"));
    // The one that waited in the same instance is denied too, at once.
    assert_eq!(poll(&mut first), Some(Event::ResumeRequest));
    let flow = first.resume_request(&mut session, &mut Vec::new());
    assert!(matches!(flow, Flow::Respond(response) if response.details == "filter_lost"));
    assert_eq!(third.request_headers(&mut session, true), Flow::Pause);
    for chain in [&mut first, &mut second, &mut third] {
        chain.finish(&mut session);
    }
    let stats = &harness.filter.stats().shards[0];
    assert_eq!((stats.failures_of(TrapCause::Trap), stats.denied.value()), (1, 2));
    assert_eq!(stats.starts.value(), 2);
}

#[test]
fn a_filter_that_may_fail_is_passed_by() {
    let harness = harness(TRAP, |settings| settings.on_error = OnError::Allow);
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    chain.finish(&mut session);
    assert_eq!(harness.filter.stats().shards[0].skipped.value(), 1);
}

#[test]
fn a_storm_switches_the_filter_off_for_a_while() {
    let harness = harness(TRAP, |_| {});
    let mut session = session();
    let details = |session: &mut FakeSession| {
        let mut chain = harness.chain();
        let flow = chain.request_headers(session, true);
        chain.finish(session);
        match flow {
            Flow::Respond(response) => response.details,
            flow => panic!("denied, but {flow:?}"),
        }
    };
    assert!((0..50).all(|_| details(&mut session) == "filter_trap"));
    assert_eq!(details(&mut session), "filter_disabled");
    harness.advance(Duration::from_secs(1));
    assert_eq!(details(&mut session), "filter_trap");
}

#[test]
fn a_loop_is_stopped() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $again br $again) i32.const 0)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    let flow = chain.request_headers(&mut session, true);
    assert!(matches!(flow, Flow::Respond(response) if response.details == "filter_deadline"));
    chain.finish(&mut session);
}

#[test]
fn memory_has_an_end() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $again
            (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
            br $again)
        i32.const 0)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    let flow = chain.request_headers(&mut session, true);
    assert!(matches!(flow, Flow::Respond(response) if response.details == "filter_memory"));
    chain.finish(&mut session);
}

#[test]
fn a_stack_has_an_end() {
    let body = r#"(func $deep (param i32) (result i32)
            (i32.add (call $deep (local.get 0)) (i32.const 1)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $deep (i32.const 0)))"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.chain());
    let flow = chain.request_headers(&mut session, true);
    assert!(matches!(flow, Flow::Respond(response) if response.details == "filter_trap"));
    chain.finish(&mut session);
}

#[test]
fn what_does_not_start_is_refused_with_its_reason() {
    check_refused(r#"(func (export "_initialize") unreachable)"#, "unreachable");
    check_refused(r#"(func (export "_start") (loop $again br $again))"#, "deadline");
    check_refused(
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 0)"#,
        "refused",
    );
    check_refused(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 0)"#,
        "refused",
    );
    check_refused(
        r#"(func (export "proxy_on_request_headers") (param i32))"#,
        "proxy_on_request_headers",
    );
    check_refused(r#"(func (export "proxy_on_log") (param i64))"#, "proxy_on_log");
}

#[track_caller]
fn check_not_loaded(text: &str, expected: &str) {
    let wasm = wat::parse_str(text).expect("the text is a module");
    let settings = FilterSettings::new("f");
    let error = Harness::new(&wasm, settings, EngineSettings::default()).err();
    let error = error.expect("it is refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_is_no_filter_is_refused_with_its_reason() {
    check_not_loaded("(module)", "exports none of proxy_abi_version");
    let marked =
        |rest: &str| format!(r#"(module {rest} (func (export "proxy_abi_version_0_2_1")))"#);
    check_not_loaded(
        &marked(r#"(import "env" "fork" (func))"#),
        "imports `fork` from `env`, which this host doesn't know",
    );
    check_not_loaded(&marked(r#"(import "env" "proxy_log" (func))"#), "another signature");
    check_not_loaded(&marked(""), "proxy_on_memory_allocate");
    let memory = |pages: u32| {
        marked("").replace(
            "(func (export",
            &format!(
                r#"(memory (export "memory") {pages})
                (func (export "malloc") (param i32) (result i32) i32.const 0) (func (export"#
            ),
        )
    };
    check_not_loaded(&memory(65_536), "asks for 4294967296 bytes of memory");
    let garbage = Harness::new(b"\0asm?", FilterSettings::new("f"), EngineSettings::default());
    assert!(matches!(garbage.err(), Some(LoadError::NotWasm { .. })));
    let pinned = FilterSettings { sha256: Some([0; 32]), ..FilterSettings::new("f") };
    let unpinned = Harness::new(&module(""), pinned, EngineSettings::default());
    assert!(matches!(unpinned.err(), Some(LoadError::Sha256 { .. })));
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
fn a_swap_lets_open_exchanges_finish_on_the_old_module() {
    let old = harness(PAUSE, |_| {});
    let mut session = session();
    let mut chain = old.chain();
    assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
    let seen: std::rc::Rc<dyn crate::World> = old.world.clone();
    let new = old.host.load(&module(""), FilterSettings::new("f"), &seen).expect("it loads");
    old.filters.apply(&[new]);
    assert_eq!(old.filters.streams(), 1);
    let mut next = old.chain();
    assert_eq!(next.request_headers(&mut session, true), Flow::Continue);
    assert_eq!(poll(&mut chain), None, "the old exchange goes on waiting");
    chain.finish(&mut session);
    next.finish(&mut session);
    assert_eq!(old.filters.streams(), 0);
}

#[test]
fn isolated_exchanges_share_nothing() {
    let body = r#"(global $count (mut i32) (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (global.get $count) (then unreachable))
            (global.set $count (i32.const 1))
            i32.const 0)"#;
    let harness = harness(body, |settings| settings.isolation = Isolation::Request);
    let mut session = session();
    for _ in 0..3 {
        let mut chain = harness.chain();
        assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
        chain.finish(&mut session);
    }
}
