//! What a filter costs an exchange: nanoseconds through the chain, and to recover from a trap.
//!
//! `cargo bench -p penstock-benches --bench filter`. Warm caches, deadlines on, one thread.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_filter_host::testing::{FakeSession, Fields, Harness};
use penstock_filter_host::{
    Chain, ChainLink, EngineSettings, FilterSettings, Flow, PluginSettings, Storm,
};

fn main() {
    empty();
    border();
    let edit = include_bytes!("../../filters/compiled/header-edit.wasm");
    let config = r#"{"request":{"set":{"x-a":"1","x-b":"2"},"remove":["x-c"]},
        "response":{"set":{"x-d":"4"}}}"#;
    shipped("header-edit: 4 edits", edit, config);
    let metrics = include_bytes!("../../filters/compiled/access-metrics.wasm");
    shipped("access-metrics", metrics, "{}");
    let text = |body: &str| {
        format!(
            r#"(module (memory (export "memory") 2)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 65536)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body}))"#
        )
    };
    let trap = wat::parse_str(text("unreachable")).expect("the text is a module");
    failing("trap and a fresh instance", &trap, 2_000);
    let endless = text("(loop $again br $again) i32.const 0");
    let endless = wat::parse_str(endless).expect("the text is a module");
    failing("loop, stopped by its deadline of 5 ms", &endless, 40);
}

/// What crossing the border costs, with nothing done on the other side, and with reads alone.
fn border() {
    let module = |body: &str, lend: &str| {
        format!(
            r#"(module
            (import "env" "proxy_get_header_map_value"
                (func $value (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 16) "accept-encoding")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 65536)
            {lend}
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (local $left i32)
                {body} i32.const 0)
            (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                i32.const 0)
            (func (export "proxy_on_delete") (param i32)))"#
        )
    };
    let reads = r#"(local.set $left (i32.const 15))
        (loop $again
            (drop (call $value
                (i32.const 0) (i32.const 16) (i32.const 15) (i32.const 1024) (i32.const 1028)))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"#;
    let lend = r#"(func (export "penstock_arena") (param i32) (result i32) i32.const 65536)"#;
    for (name, text) in [
        ("four callbacks that do nothing", module("", "")),
        ("the same, and 15 fields read", module(reads, "")),
        ("the same, into an arena", module(reads, lend)),
    ] {
        shipped(name, &wat::parse_str(text).expect("the text is a module"), "");
    }
}

/// What the chain costs when there is no filter, or none with a callback.
fn empty() {
    let mut chain = Chain::new();
    let mut session = session();
    measure("no filter", || exchange(&mut chain, &mut session));
    let idle = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
    let idle = wat::parse_str(idle).expect("the text is a module");
    let harness = harness(&idle, "", Duration::from_secs(1));
    measure("a filter without callbacks", || {
        chain.begin(&harness.filters, LINKS);
        exchange(&mut chain, &mut session);
    });
}

fn shipped(name: &str, wasm: &[u8], config: &str) {
    let harness = harness(wasm, config, Duration::from_secs(1));
    let mut chain = Chain::new();
    let mut session = session();
    measure(name, || {
        chain.begin(&harness.filters, LINKS);
        exchange(&mut chain, &mut session);
    });
    let stats = &harness.filter.stats().shards[0];
    println!("{:>60} KiB of memory", stats.memory_bytes.value() / 1_024);
}

/// Head of request and response, as a GET without bodies has them.
fn exchange(chain: &mut Chain, session: &mut FakeSession) {
    assert_eq!(black_box(chain.request_headers(session, true)), Flow::Continue);
    assert_eq!(black_box(chain.response_headers(session, true)), Flow::Continue);
    chain.finish(session);
}

/// Each round fails, and the next needs a fresh instance.
fn failing(name: &str, wasm: &[u8], rounds: u32) {
    let harness = harness(wasm, "", Duration::from_millis(5));
    let mut session = session();
    let mut spent: Vec<Duration> = (0..rounds)
        .map(|_| {
            let before = Instant::now();
            let mut chain = harness.chain();
            let flow = chain.request_headers(&mut session, true);
            assert!(matches!(flow, Flow::Respond(_)));
            chain.finish(&mut session);
            before.elapsed()
        })
        .collect();
    spent.sort_unstable();
    let (median, last) = (spent[spent.len() / 2], spent[spent.len() * 99 / 100]);
    println!("{name:<48} {:>8.1} us median, {:.1} us p99", us(median), us(last));
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// What is measured for its cost must not be ended because this machine is busy.
fn harness(wasm: &[u8], config: &str, deadline: Duration) -> Harness {
    let mut settings = FilterSettings::new("f");
    settings.header_deadline = deadline;
    settings.storm = Storm { traps_max: u32::MAX, ..Storm::default() };
    let config = config.as_bytes().into();
    settings.plugins = Arc::new([PluginSettings { config, ..PluginSettings::default() }]);
    match Harness::new(wasm, settings, EngineSettings::default()) {
        Ok(harness) => harness,
        Err(error) => panic!("{error}"),
    }
}

fn session() -> FakeSession {
    let mut session = FakeSession::new(&[
        (":method", "GET"),
        (":path", "/articles/2026/index.html"),
        (":authority", "www.example.com"),
        (":scheme", "http"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=4f3c2b1a09d8e7f6a5b4c3d2e1f00918"),
        ("referer", "https://www.example.com/"),
        ("x-a", "0"),
        ("x-b", "0"),
    ]);
    session.response = Some(Fields::new(&[
        (":status", "200"),
        ("content-type", "text/html"),
        ("content-length", "4096"),
        ("x-d", "0"),
    ]));
    session
}

/// The best of seven rounds of 20,000.
fn measure(name: &str, mut run: impl FnMut()) {
    let round = |run: &mut dyn FnMut()| {
        let before = Instant::now();
        (0..20_000).for_each(|_| run());
        before.elapsed()
    };
    let best = (0..7).map(|_| round(&mut run)).min().unwrap_or_default();
    println!("{name:<48} {:>8.1} ns", best.as_secs_f64() * 1e9 / 20_000.0);
}

const LINKS: &[ChainLink] = &[ChainLink { filter: 0, plugin: 0 }];
