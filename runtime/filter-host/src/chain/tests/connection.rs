//! What a chain does with raw connections, on filters written as text.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::PeerType;
use crate::testing::{FakeSession, Harness};
use crate::tests::{harness, poll, session};
use crate::{
    CalloutFailure, CalloutResponse, Chain, ChainLink, EngineSettings, Event, FilterSettings, Flow,
    Half, OnError, PairList, PluginSettings,
};

/// Shows `bytes`; what comes out, and what is to be done.
fn show(
    chain: &mut Chain,
    half: Half,
    session: &mut FakeSession,
    bytes: &str,
    end: bool,
) -> (Flow, String) {
    let mut bytes = bytes.as_bytes().to_vec();
    let flow = chain.data(half, session, &mut bytes, end);
    (flow, String::from_utf8(bytes).expect("only text was shown"))
}

fn on(text: &str) -> (Flow, String) {
    (Flow::Continue, text.to_owned())
}

fn held() -> (Flow, String) {
    (Flow::Pause, String::new())
}

/// Logs the event's digit.
const NOTE: &str = r#"
    (data (i32.const 512) "0123456789")
    (func $note (param $digit i32)
        (drop (call $log (i32.const 2) (i32.add (i32.const 512) (local.get $digit))
            (i32.const 1))))"#;

/// What was logged so far.
fn noted(harness: &Harness) -> String {
    harness.world.lines.borrow_mut().drain(..).map(|(_, line)| line).collect()
}

#[test]
fn callbacks_come_in_the_order_of_a_connections_life() {
    let body = format!(
        r#"{NOTE}
        (func (export "proxy_on_new_connection") (param i32) (result i32)
            (call $note (i32.const 1)) i32.const 0)
        (func (export "proxy_on_downstream_data") (param i32 i32) (param $end i32) (result i32)
            (call $note (i32.add (i32.const 2) (local.get $end))) i32.const 0)
        (func (export "proxy_on_upstream_data") (param i32 i32) (param $end i32) (result i32)
            (call $note (i32.add (i32.const 4) (local.get $end))) i32.const 0)
        (func (export "proxy_on_upstream_connection_close") (param i32) (param $peer i32)
            (call $note (i32.const 6)) (call $note (local.get $peer)))
        (func (export "proxy_on_downstream_connection_close") (param i32) (param $peer i32)
            (call $note (i32.const 7)) (call $note (local.get $peer)))
        (func (export "proxy_on_done") (param i32) (result i32)
            (call $note (i32.const 8)) i32.const 1)
        (func (export "proxy_on_log") (param i32) (call $note (i32.const 9)))"#
    );
    let harness = harness(&body, |_| {});
    let (mut session, mut chain) = (session(), harness.connection());
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert!(chain.wants_data(Half::Downstream) && chain.wants_data(Half::Upstream));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "a", false), on("a"));
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "b", false), on("b"));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "", true), on(""));
    // The end of the upstream's bytes is its close, by whom is not known (0).
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "c", true), on("c"));
    chain.closed(Half::Upstream, &mut session, PeerType::Local);
    chain.closed(Half::Downstream, &mut session, PeerType::Remote);
    chain.finish(&mut session);
    assert_eq!(noted(&harness), "1243560".to_owned() + "7289");
    // A filter that sees no bytes hears of the close all the same.
    chain.begin_connection(&harness.filters, &[ChainLink { filter: 0, plugin: 0 }]);
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    chain.closed(Half::Upstream, &mut session, PeerType::Remote);
    chain.closed(Half::Downstream, &mut session, PeerType::Local);
    chain.finish(&mut session);
    assert_eq!(noted(&harness), "1627189");
    assert_eq!(harness.filters.streams(), 0);
}

#[test]
fn what_is_held_is_shown_again_with_more() {
    // Pauses until there are five bytes or the end, then puts "yes" before them.
    let body = r#"
        (func (export "proxy_on_downstream_data") (param i32) (param $bytes i32) (param $end i32)
            (result i32)
            (if (i32.and (i32.lt_u (local.get $bytes) (i32.const 5))
                    (i32.eqz (local.get $end)))
                (then (return (i32.const 1))))
            (drop (call $set_bytes
                (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 3)))
            i32.const 0)"#;
    let harness = harness(body, |_| {});
    let (mut session, mut chain) = (session(), harness.connection());
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert!(!chain.wants_data(Half::Upstream));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "ab", false), held());
    assert!(chain.holds_data(Half::Downstream) && !chain.holds_data(Half::Upstream));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "cd", false), held());
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "ef", false), on("yesabcdef"));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "g", false), held());
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "", true), on("yesg"));
    chain.finish(&mut session);
}

/// The tick lets both halves of the first connection go on.
const ON_TICK: &str = r#"
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $period (i32.const 100))))
    (func (export "proxy_on_tick") (param i32)
        (drop (call $effective (i32.const 2)))
        (drop (call $continue (i32.const 2)))
        (drop (call $continue (i32.const 3))))"#;

#[test]
fn both_halves_go_on_when_they_are_continued() {
    let body = format!(
        r#"{ON_TICK}
        (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) i32.const 1)
        (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) i32.const 1)"#
    );
    let harness = harness(&body, |_| {});
    let (mut session, mut chain) = (session(), harness.connection());
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "up", true), held());
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "down", false), held());
    assert_eq!(poll(&mut chain), None);
    harness.advance(Duration::from_millis(100));
    let mut bytes = Vec::new();
    assert_eq!(poll(&mut chain), Some(Event::ResumeRequest));
    assert_eq!(chain.go_on(Half::Downstream, &mut session, &mut bytes), Flow::Continue);
    assert_eq!((&*bytes, chain.holds_data(Half::Downstream)), (b"up" as &[u8], false));
    bytes.clear();
    assert_eq!(poll(&mut chain), Some(Event::ResumeResponse));
    assert_eq!(chain.go_on(Half::Upstream, &mut session, &mut bytes), Flow::Continue);
    assert_eq!(bytes, b"down");
    chain.finish(&mut session);
}

#[test]
fn a_paused_connection_waits_without_its_bytes_where_the_filter_sees_none() {
    let pause = r#"(func (export "proxy_on_new_connection") (param i32) (result i32) i32.const 1)"#;
    let blind = harness(&format!("{ON_TICK}{pause}"), |_| {});
    let (mut session, mut chain) = (session(), blind.connection());
    assert_eq!(chain.new_connection(&mut session), Flow::Pause);
    assert_eq!((chain.room(Half::Downstream), chain.holds_data(Half::Downstream)), (0, true));
    blind.advance(Duration::from_millis(100));
    assert_eq!(poll(&mut chain), Some(Event::ResumeRequest));
    assert_eq!(chain.go_on(Half::Downstream, &mut session, &mut Vec::new()), Flow::Continue);
    assert_eq!(chain.room(Half::Downstream), usize::MAX);
    chain.finish(&mut session);
    // One that sees bytes is shown them, and may let all go from there.
    let body = format!(
        r#"{ON_TICK}{pause}
        (func (export "proxy_on_downstream_data") (param i32) (param $bytes i32) (param i32)
            (result i32)
            (i32.lt_u (local.get $bytes) (i32.const 3)))"#
    );
    let seeing = harness(&body, |_| {});
    let mut chain = seeing.connection();
    assert_eq!(chain.new_connection(&mut session), Flow::Pause);
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "a", false), held());
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "bc", false), on("abc"));
    assert!(!chain.holds_data(Half::Downstream));
    chain.finish(&mut session);
}

#[test]
fn what_a_filter_may_hold_has_a_limit_and_so_has_what_it_adds() {
    let body = r#"
        (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
            (loop $again
                (br_if $again (i32.eqz (call $set_bytes
                    (i32.const 3) (i32.const -1) (i32.const 0) (i32.const 16) (i32.const 3)))))
            i32.const 0)
        (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) i32.const 1)"#;
    let harness = harness(body, |settings| settings.body_bytes_max = 10);
    let (mut session, mut chain) = (session(), harness.connection());
    let limits = || harness.filter.stats().shards[0].limits.value();
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert_eq!(chain.room(Half::Downstream), usize::MAX);
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "1234", false), held());
    assert_eq!((chain.room(Half::Downstream), limits()), (6, 0));
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "567890", false), held());
    assert_eq!((chain.room(Half::Downstream), limits()), (0, 1));
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "ab", false), on("abyesyes"));
    assert_eq!(limits(), 2);
    chain.finish(&mut session);
}

#[test]
fn bytes_run_through_the_filters_in_order_and_back_in_reverse() {
    // Each configuration is one byte, which the filter appends.
    let text = r#"(module
        (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_buffer_bytes"
            (func $set_bytes (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 160) "plugin_root_id")
        (func (export "proxy_abi_version_0_2_0"))
        (func (export "malloc") (param i32) (result i32) i32.const 65536)
        (func $mark (param $buffer i32) (result i32)
            (drop (call $property
                (i32.const 160) (i32.const 14) (i32.const 1024) (i32.const 1028)))
            (call $set_bytes (local.get $buffer) (i32.const -1) (i32.const 0)
                (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))
        (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
            (call $mark (i32.const 2)))
        (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
            (call $mark (i32.const 3))))"#;
    let wasm = wat::parse_str(text).expect("the text is a module");
    let plugin = |root: &str| PluginSettings { root_id: root.into(), config: Arc::default() };
    let mut settings = FilterSettings::new("f");
    settings.plugins = Arc::new([plugin("a"), plugin("b")]);
    let harness = Harness::new(&wasm, settings, EngineSettings::default()).expect("it loads");
    let (mut session, mut chain) = (session(), Chain::new());
    let links = [ChainLink { filter: 0, plugin: 0 }, ChainLink { filter: 0, plugin: 1 }];
    chain.begin_connection(&harness.filters, &links);
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "-", false), on("-ab"));
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "-", false), on("-ba"));
    chain.finish(&mut session);
}

#[test]
fn buffers_and_streams_of_the_other_kind_are_not_there() {
    // Each wrong call is answered as the digits say: no such buffer (1), not done here (12).
    let wrong = |own: i32, other: i32, stream: i32| {
        format!(
            r#"(if (i32.ne (i32.const 1) (call $bytes (i32.const {other}) (i32.const 0)
                    (i32.const 9) (i32.const 1024) (i32.const 1028))) (then unreachable))
               (if (call $bytes (i32.const {own}) (i32.const 0) (i32.const 9) (i32.const 1024)
                    (i32.const 1028)) (then unreachable))
               (if (i32.ne (i32.const 12) (call $continue (i32.const {stream})))
                    (then unreachable))
               i32.const 0"#
        )
    };
    let body = format!(
        r#"(func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
            (if (i32.ne (i32.const 12) (call $respond (i32.const 403) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
                (then unreachable))
            {})
        (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32) {})
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) {})"#,
        wrong(2, 0, 0),
        wrong(3, 1, 1),
        wrong(0, 2, 2),
    );
    let harness = harness(&body, |_| {});
    let (mut session, mut chain) = (session(), harness.connection());
    assert_eq!(chain.new_connection(&mut session), Flow::Continue);
    assert_eq!(show(&mut chain, Half::Downstream, &mut session, "a", false), on("a"));
    assert_eq!(show(&mut chain, Half::Upstream, &mut session, "b", false), on("b"));
    chain.finish(&mut session);
    let mut chain = harness.chain();
    assert_eq!(chain.request_headers(&mut session, false), Flow::Continue);
    assert_eq!(chain.request_body(&mut session, &mut b"c".to_vec(), true), Flow::Continue);
    chain.finish(&mut session);
}

#[test]
fn a_filter_that_fails_gets_its_policy() {
    let body = r#"
        (func (export "proxy_on_new_connection") (param i32) (result i32) i32.const 0)
        (func (export "proxy_on_downstream_data") (param i32 i32) (param $end i32) (result i32)
            (if (local.get $end) (then unreachable))
            i32.const 1)"#;
    for on_error in [OnError::Deny, OnError::Allow] {
        let harness = harness(body, |settings| settings.on_error = on_error);
        let (mut session, mut chain) = (session(), harness.connection());
        assert_eq!(chain.new_connection(&mut session), Flow::Continue);
        assert_eq!(show(&mut chain, Half::Downstream, &mut session, "abc", false), held());
        match (on_error, show(&mut chain, Half::Downstream, &mut session, "d", true)) {
            (OnError::Deny, (Flow::Respond(response), _)) => {
                assert_eq!(response.failed.as_deref(), Some("f"));
            }
            (OnError::Allow, went) => {
                assert_eq!(went, on("abcd"));
                assert!(!chain.wants_data(Half::Downstream));
            }
            other => panic!("{other:?}"),
        }
        chain.finish(&mut session);
        let mut next = harness.connection();
        assert_eq!(next.new_connection(&mut session), Flow::Continue, "in a fresh instance");
        next.finish(&mut session);
    }
}

#[test]
fn a_connection_waits_for_the_answer_to_a_call_or_is_closed() {
    let body = r#"
        (func (export "proxy_on_new_connection") (param i32) (result i32)
            (call $call (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 62) (i32.const 16)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (if (result i32) (then unreachable) (else (i32.const 1))))
        (func (export "proxy_on_http_call_response") (param i32 i32) (param $fields i32)
            (param i32 i32)
            (drop (call $effective (i32.load (i32.const 2048))))
            (if (local.get $fields)
                (then (drop (call $continue (i32.const 2))))
                (else (drop (call $close (i32.const 3))))))
        (func (export "proxy_on_context_create") (param $id i32) (param i32)
            (i32.store (i32.const 2048) (local.get $id)))"#;
    let harness = harness(body, |_| {});
    for answered in [true, false] {
        let (mut session, mut chain) = (session(), harness.connection());
        assert_eq!(chain.new_connection(&mut session), Flow::Pause);
        let callout = chain.callout().expect("the filter calls");
        let headers = PairList::new([(b":status" as &[u8], b"200" as &[u8])].into_iter());
        let answer = CalloutResponse { headers, ..CalloutResponse::default() };
        let answer = if answered { Ok(&answer) } else { Err(CalloutFailure::TooLarge) };
        chain.answer(&mut session, &callout, answer);
        let expected = if answered { Event::ResumeRequest } else { Event::Close };
        assert_eq!(poll(&mut chain), Some(expected));
        chain.finish(&mut session);
    }
    assert_eq!(harness.filters.streams(), 0);
}
