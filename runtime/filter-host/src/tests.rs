//! Modules that don't load, don't start, trap, loop and grow; and the texts that tests are made of.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::testing::{FakeSession, Harness};
use crate::{
    Chain, Engine, EngineSettings, Event, FilterSettings, Flow, Isolation, LoadError, Module,
    OnError, TrapCause, World,
};

/// A module of ABI 0.2.1 with an allocator that hands out memory from 64 KiB on, and `body`.
pub(crate) fn module(body: &str) -> Vec<u8> {
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

pub(crate) fn harness(body: &str, change: impl FnOnce(&mut FilterSettings)) -> Harness {
    let mut settings = FilterSettings::new("f");
    settings.clusters = Arc::new(["origin".into()]);
    change(&mut settings);
    Harness::new(&module(body), settings, EngineSettings::default()).expect("it loads")
}

pub(crate) fn session() -> FakeSession {
    FakeSession::new(&[(":method", "GET"), (":path", "/a"), (":authority", "h")])
}

pub(crate) fn poll(chain: &mut Chain) -> Option<Event> {
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

pub(crate) const PAUSE: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        i32.const 1)"#;

#[test]
fn the_arena_is_filled_anew_in_each_callback() {
    // The allocator traps: whatever is read must come out of the arena.
    let text = r#"(module
        (import "env" "proxy_get_header_map_value"
            (func $value (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 48) ":path")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) unreachable)
        (func (export "penstock_arena") (param i32) (result i32) i32.const 65536)
        (func $read (result i32)
            (drop (call $value
                (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 1024) (i32.const 1028)))
            (i32.load (i32.const 1024)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (i32.ne (call $read) (i32.const 65536)) (then unreachable))
            (if (i32.ne (call $read) (i32.const 65544)) (then unreachable))
            i32.const 0))"#;
    let wasm = wat::parse_str(text).expect("the text is a module");
    let settings = FilterSettings::new("f");
    let harness = Harness::new(&wasm, settings, EngineSettings::default()).expect("it loads");
    let mut session = session();
    for _ in 0..2 {
        let mut chain = harness.chain();
        assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
        chain.finish(&mut session);
    }
}

/// A module that says whether it is stateless, traps when it is told of a stream all the same, and
/// logs every end that it is told of.
fn stateless(answer: u32) -> String {
    format!(
        r#"(func (export "penstock_stateless") (result i32) i32.const {answer})
        (func (export "proxy_on_context_create") (param i32 i32)
            (if (local.get 1) (then unreachable)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (i32.eqz (local.get 0)) (then unreachable))
            i32.const 0)
        (func (export "proxy_on_delete") (param i32)
            (drop (call $log (i32.const 2) (i32.const 16) (i32.const 3))))"#
    )
}

#[test]
fn a_stateless_filter_is_not_told_of_streams() {
    let harness = harness(&stateless(1), |_| {});
    let mut session = session();
    for _ in 0..2 {
        let mut chain = harness.chain();
        assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
        chain.finish(&mut session);
    }
    assert!(!harness.world.logged("yes"), "no stream's end is told");
    harness.filters.apply(&[]);
    assert!(harness.world.logged("yes"), "the root's end is");
}

#[test]
fn a_filter_with_state_or_several_plugins_is_told_of_streams() {
    let two = |settings: &mut FilterSettings| {
        settings.plugins =
            settings.plugins.iter().chain(settings.plugins.iter()).cloned().collect();
    };
    for harness in [harness(&stateless(0), |_| {}), harness(&stateless(1), two)] {
        let mut chain = harness.chain();
        let flow = chain.request_headers(&mut session(), true);
        assert!(matches!(flow, Flow::Respond(_)), "it traps when it is told: {flow:?}");
        chain.finish(&mut session());
    }
}

#[test]
fn a_compiled_module_is_kept_and_damage_is_noticed() {
    let folder = std::env::temp_dir().join(format!("penstock-cwasm-{}", std::process::id()));
    let engine = Engine::new(EngineSettings::default()).expect("this machine runs WebAssembly");
    let wasm = module("");
    let compile = || Module::compile(&engine, &wasm, Some(&folder)).expect("it compiles");
    let files = || -> Vec<_> {
        let entries = std::fs::read_dir(&folder).expect("it is there");
        entries.map(|entry| entry.expect("it can be read").path()).collect()
    };
    compile();
    let [file] = &files()[..] else { panic!("one file") };
    let whole = std::fs::read(file).expect("it can be read");
    compile();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(file, &damaged).expect("it can be written");
    compile();
    assert!(std::fs::read(file).expect("it can be read") == whole, "it was made again");
    std::fs::remove_dir_all(&folder).expect("it is ours");
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
fn a_stateless_filter_loses_no_other_exchange_to_a_trap() {
    // Traps at the second head of an instance, and greets in every answer.
    let body = |answer: u32| {
        format!(
            r#"(func (export "penstock_stateless") (result i32) i32.const {answer})
            (global $count (mut i32) (i32.const 0))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (global.set $count (i32.add (global.get $count) (i32.const 1)))
                (if (i32.eq (global.get $count) (i32.const 2)) (then unreachable))
                i32.const 0)
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                (drop (call $log (i32.const 2) (i32.const 16) (i32.const 3)))
                i32.const 0)"#
        )
    };
    for (answer, lost) in [(1, false), (0, true)] {
        let harness = harness(&body(answer), |_| {});
        let mut session = session();
        let (mut first, mut second) = (harness.chain(), harness.chain());
        assert_eq!(first.request_headers(&mut session, true), Flow::Continue);
        assert!(matches!(second.request_headers(&mut session, true), Flow::Respond(_)));
        let flow = first.response_headers(&mut session, true);
        assert_eq!(matches!(flow, Flow::Respond(_)), lost, "{flow:?}");
        assert_eq!(harness.world.logged("yes"), !lost, "the answer is seen by a fresh instance");
        for chain in [&mut first, &mut second] {
            chain.finish(&mut session);
        }
    }
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
fn a_thread_that_had_to_wait_is_not_the_filters_fault() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $again br $again) i32.const 0)"#;
    let harness = harness(body, |_| {});
    // At each look the thread has had 0.3 ms of a processor: a deadline of 5 ms, whose second
    // half wants 2.5 ms, is put off until the tenth look.
    harness.world.cpu_step_ns.set(Some(300_000));
    let (mut session, mut chain) = (session(), harness.chain());
    let flow = chain.request_headers(&mut session, true);
    assert!(matches!(flow, Flow::Respond(response) if response.details == "filter_deadline"));
    let had = harness.world.cpu_ns().expect("there is a clock");
    assert!(had >= 10 * 300_000, "{had}");
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
fn a_swap_lets_open_exchanges_finish_on_the_old_module() {
    let old = harness(PAUSE, |_| {});
    let mut session = session();
    let mut chain = old.chain();
    assert_eq!(chain.request_headers(&mut session, true), Flow::Pause);
    let seen: std::rc::Rc<dyn World> = old.world.clone();
    let new = old.host.load(&module(""), FilterSettings::new("f"), &seen).expect("it loads");
    old.filters.apply(&[new.into()]);
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
