//! The filters that the simulated proxy runs: what they do follows from a request's `x-mark`.
//!
//! Their modules are compiled once per process. Deadlines are off, for they hang on a wall clock;
//! a loop is ended by its fuel instead, after the same number of steps in every run.

mod bodies;
mod calls;
mod streams;

use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use penstock_config::Config;
use penstock_filter_host::{
    Code, Engine, EngineSettings, EnvWorld, FilterHost, Installed, Module, World, wanted,
};
use penstock_proxy::TlsParts;
use penstock_tests::proxy::Outfit;
use penstock_tests::sim::SimEnv;

/// What filters do to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Edit its head and its answer's, and look at both bodies.
    Plain,
    /// `gate` traps at the head.
    Trap,
    /// `gate` loops at the head.
    Loop,
    /// `gate` answers.
    Answer,
    /// `ask` holds the head until another cluster was asked.
    Ask,
    /// `look` holds both bodies until they are whole.
    Hold,
    /// `late` traps at the first piece of the request's body.
    TrapBody,
    /// `late` traps at the response's head.
    TrapResponse,
    /// `late` traps at the first piece of the response's body.
    TrapResponseBody,
}

impl Mark {
    pub(crate) const ALL: [Mark; 9] = [
        Mark::Plain,
        Mark::Trap,
        Mark::Loop,
        Mark::Answer,
        Mark::Ask,
        Mark::Hold,
        Mark::TrapBody,
        Mark::TrapResponse,
        Mark::TrapResponseBody,
    ];

    /// The value of `x-mark`: its first letter is what the filters go by.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Mark::Plain => "plain",
            Mark::Trap => "trap",
            Mark::Loop => "loop",
            Mark::Answer => "answer",
            Mark::Ask => "query",
            Mark::Hold => "whole",
            Mark::TrapBody => "body",
            Mark::TrapResponse => "head",
            Mark::TrapResponseBody => "rear",
        }
    }
}

/// The filters' blocks, with what becomes of an exchange whose filter failed. `ask` asks the
/// cluster `auth`. Another `turn` is another configuration of every filter.
pub(crate) fn blocks(on_error: &str, turn: u32) -> String {
    let block = |name: &str, more: &str| {
        format!("[filter.{name}]\nwasm = \"/{name}.wasm\"\nconfig = \"{turn}\"\n{more}")
    };
    let on_error = format!("on_error = \"{on_error}\"\n");
    [
        block("edit", ""),
        block("gate", &on_error),
        block("ask", "http_calls = [\"auth\"]\n"),
        block("late", &(on_error + "isolation = \"request\"\n")),
        block("look", ""),
        "[filter.small]\nwasm = \"/look.wasm\"\nbody_buffer_max = \"8KiB\"\n".to_owned(),
    ]
    .concat()
}

/// The chain of all of them.
pub(crate) const CHAIN: [&str; 5] = ["edit", "gate", "ask", "late", "look"];

/// Loads filters for one proxy.
pub(crate) struct Loader {
    host: FilterHost,
    world: Rc<dyn World>,
}

impl Loader {
    pub(crate) fn new(env: &SimEnv, shards: usize) -> Loader {
        let host = FilterHost::new(MODULES.engine.clone(), None, shards, 7);
        Loader { host, world: Rc::new(EnvWorld::new(env.clone(), || 0)) }
    }
}

impl Outfit for Loader {
    fn filters(&self, config: &Config, before: &[Installed]) -> Vec<Installed> {
        let loaded = wanted(config).into_iter().zip(&config.filters).map(|(wanted, block)| {
            let name = &*block.name;
            let previous = before.iter().find(|old| &*old.filter().settings().name == name);
            let canary = block.canary.as_ref().and_then(|canary| canary.wasm.as_deref());
            let (own, canary) = (code(&block.wasm), canary.map(code));
            let installed = self.host.install(wanted, own, canary, previous, &self.world);
            installed.expect("our own modules start")
        });
        loaded.collect()
    }

    fn tls(&self, config: &Config) -> TlsParts {
        crate::tls::parts(config)
    }
}

/// The module that a config calls by this path.
fn code(path: &Path) -> Code<'static> {
    let path = path.to_string_lossy();
    let module = MODULES.by_path.iter().find(|(name, _)| *name == path);
    let (_, module) = module.unwrap_or_else(|| panic!("no module {path}"));
    Code::Module(module)
}

struct Modules {
    engine: Engine,
    by_path: Vec<(&'static str, Module)>,
}

static MODULES: LazyLock<Modules> = LazyLock::new(|| {
    let settings = EngineSettings { deadlines: false, fuel_max: Some(FUEL_MAX) };
    let engine = Engine::new(settings).expect("this machine runs WebAssembly");
    let compile = |(path, body): (&'static str, &str)| {
        let wasm = wat::parse_str(module(body)).expect("the text is a module");
        (path, Module::compile(&engine, &wasm, None).expect("it is a filter"))
    };
    let ask = |body| ASK.replace("BODY", body);
    let texts = [
        ("/edit.wasm", EDIT),
        ("/other.wasm", OTHER),
        ("/gate.wasm", GATE),
        ("/ask.wasm", &ask("(i32.const 16) (i32.const 3)")),
        ("/hear.wasm", &(ask("(i32.const 16) (i32.const 3)") + HEAR)),
        ("/shout.wasm", &ask("(i32.const 0) (i32.const 100000)")),
        ("/late.wasm", LATE),
        ("/twice.wasm", TWICE),
        ("/look.wasm", LOOK),
        ("/root.wasm", ROOT),
        ("/queue.wasm", QUEUE),
        ("/tell.wasm", TELL),
        ("/report.wasm", calls::REPORT),
        ("/from.wasm", FROM),
        ("/grpc.wasm", calls::GRPC),
        ("/watch.wasm", calls::WATCH),
        ("/grow.wasm", bodies::GROW),
        ("/free.wasm", &bodies::free()),
        ("/empty.wasm", bodies::EMPTY),
        ("/hold.wasm", streams::HOLD),
        ("/wrap.wasm", &streams::wrap()),
        ("/unwrap.wasm", &streams::unwrap()),
        ("/trip.wasm", streams::TRIP),
        ("/knock.wasm", streams::KNOCK),
        ("/tick.wasm", streams::TICK),
        ("/shut.wasm", streams::SHUT),
        ("/stall.wasm", streams::STALL),
        ("/stick.wasm", streams::STICK),
        ("/end.wasm", streams::END),
    ];
    let by_path = texts.map(compile).into();
    Modules { engine, by_path }
});

/// Steps of one callback; those below need a few dozen.
const FUEL_MAX: u64 = 20_000;

/// A module of ABI 0.2.1 whose `$mark` is the first letter of `x-mark`, or 0.
fn module(body: &str) -> String {
    format!("(module {IMPORTS} {COMMON} {body})")
}

const IMPORTS: &str = r#"
        (import "env" "proxy_get_header_map_value"
            (func $value (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value"
            (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_replace_header_map_value"
            (func $replace (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_remove_header_map_value"
            (func $remove (param i32 i32 i32) (result i32)))
        (import "env" "proxy_send_local_response"
            (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
        (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
        (import "env" "proxy_done" (func $done (result i32)))
        (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_http_call"
            (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_tick_period_milliseconds"
            (func $tick (param i32) (result i32)))
        (import "env" "proxy_get_shared_data"
            (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_shared_data"
            (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_call" (func $grpc_call
            (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_stream"
            (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_send"
            (func $grpc_send (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
        (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
        (import "env" "proxy_get_buffer_bytes"
            (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_set_buffer_bytes"
            (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_register_shared_queue"
            (func $register (param i32 i32 i32) (result i32)))
        (import "env" "proxy_enqueue_shared_queue" (func $put (param i32 i32 i32) (result i32)))
        (import "env" "proxy_dequeue_shared_queue" (func $take (param i32 i32 i32) (result i32)))"#;

/// Texts, and what more than one of them does.
const COMMON: &str = r#"
        (memory (export "memory") 2)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
        (data (i32.const 0) "x-edited")
        (data (i32.const 16) "yes")
        (data (i32.const 24) "other")
        (data (i32.const 224) "content-length")
        (data (i32.const 240) ":status204")
        (data (i32.const 32) "x-mark")
        (data (i32.const 48) "auth")
        (data (i32.const 56) "x-count")
        (data (i32.const 160) "sim.AuthCheck")
        (data (i32.const 176) "Watch")
        (data (i32.const 184) "source\00address")
        (data (i32.const 80)
            "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00"
            "\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
        (func $mark (result i32)
            (if (call $value (i32.const 0) (i32.const 32) (i32.const 6)
                    (i32.const 1024) (i32.const 1028))
                (then (return (i32.const 0))))
            (if (i32.eqz (i32.load (i32.const 1028))) (then (return (i32.const 0))))
            (i32.load8_u (i32.load (i32.const 1024))))
        (func $is (param $letter i32) (result i32)
            (i32.eq (call $mark) (local.get $letter)))
        ;; Whether the call that is answered was granted.
        (func $granted (result i32)
            (if (call $value (i32.const 6) (i32.const 240) (i32.const 7)
                    (i32.const 1024) (i32.const 1028))
                (then (return (i32.const 0))))
            (i32.eq (i32.load8_u (i32.load (i32.const 1024))) (i32.const 50)))
        (func $deny
            (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0)
                (i32.const 16) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const -1))))"#;

const EDIT: &str = r#"
    (func $note (param $map i32) (result i32)
        (drop (call $add
            (local.get $map) (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 3)))
        (i32.const 0))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $note (i32.const 0)))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $note (i32.const 2)))"#;

/// What `edit` is replaced by.
const OTHER: &str = r#"
    (func $note (param $map i32) (result i32)
        (drop (call $add
            (local.get $map) (i32.const 0) (i32.const 8) (i32.const 24) (i32.const 5)))
        (i32.const 0))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $note (i32.const 0)))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $note (i32.const 2)))"#;

/// 116 is `t`, 108 `l`, 97 `a`, 115 `s`, 99 `c`.
const GATE: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (call $is (i32.const 116)) (then unreachable))
        (if (call $is (i32.const 108)) (then (loop $on (br $on))))
        (if (call $is (i32.const 97)) (then (call $deny)))
        (if (call $is (i32.const 115)) (then (return (i32.const 1))))
        (if (call $is (i32.const 99)) (then (drop (call $close (i32.const 0)))))
        (i32.const 0))"#;

/// 113 is `q`. The call's token is kept with its context: the answer comes in the root's name. For
/// BODY stands where the call's body lies, and how long it is.
const ASK: &str = r#"
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
        (if (i32.eqz (call $is (i32.const 113))) (then (return (i32.const 0))))
        (if (call $call (i32.const 48) (i32.const 4) (i32.const 80) (i32.const 61) BODY
                (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (then unreachable))
        (i32.store (call $slot (i32.load (i32.const 1024))) (local.get $id))
        (i32.const 1))
    (func $slot (param $token i32) (result i32)
        (i32.add (i32.const 2048)
            (i32.mul (i32.const 4) (i32.and (local.get $token) (i32.const 1023)))))
    (func (export "proxy_on_http_call_response")
        (param i32) (param $token i32) (param i32 i32 i32)
        (drop (call $effective (i32.load (call $slot (local.get $token)))))
        (if (call $granted)
            (then (drop (call $continue (i32.const 0))))
            (else (call $deny))))"#;

/// Looks at the body as well, whatever it is.
const HEAR: &str = r#"
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))"#;

/// 98 is `b`, 104 `h`, 114 `r`.
const LATE: &str = r#"
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (if (call $is (i32.const 98)) (then unreachable))
        (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (if (call $is (i32.const 104)) (then unreachable))
        (i32.const 0))
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (if (call $is (i32.const 114)) (then unreachable))
        (i32.const 0))"#;

/// 119 is `w`: pauses until the end.
const LOOK: &str = r#"
    (func $whole (param $end i32) (result i32)
        (i32.and (i32.eqz (local.get $end)) (call $is (i32.const 119))))
    (func (export "proxy_on_request_body") (param i32 i32) (param $end i32) (result i32)
        (call $whole (local.get $end)))
    (func (export "proxy_on_response_body") (param i32 i32) (param $end i32) (result i32)
        (call $whole (local.get $end)))"#;

/// Puts each byte of a body that it sees there once more.
const TWICE: &str = r#"
    (func $twice (param $kind i32) (param $bytes i32) (result i32)
        (if (i32.eqz (local.get $bytes)) (then (return (i32.const 0))))
        (if (call $buffer (local.get $kind) (i32.const 0) (local.get $bytes) (i32.const 1024)
                (i32.const 1028))
            (then unreachable))
        (call $set_buffer (local.get $kind) (local.get $bytes) (i32.const 0)
            (i32.load (i32.const 1024)) (local.get $bytes)))
    (func (export "proxy_on_request_body") (param i32) (param $bytes i32) (param i32) (result i32)
        (call $twice (i32.const 0) (local.get $bytes)))
    (func (export "proxy_on_response_body") (param i32) (param $bytes i32) (param i32) (result i32)
        (call $twice (i32.const 1) (local.get $bytes)))"#;

/// Asks the cluster `auth` each second, counts the answers in shared data (as the letters behind
/// `0`), and shows the count in responses.
const ROOT: &str = r#"
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $tick (i32.const 1000))))
    (func (export "proxy_on_tick") (param i32)
        (if (call $call (i32.const 48) (i32.const 4) (i32.const 80) (i32.const 61) (i32.const 16)
                (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024))
            (then unreachable)))
    ;; The count's letter, 0 before the first; its version is at 1036 then.
    (func $count (result i32)
        (i32.store (i32.const 1036) (i32.const 0))
        (if (call $get_shared (i32.const 56) (i32.const 7) (i32.const 1028) (i32.const 1032)
                (i32.const 1036))
            (then (return (i32.const 48))))
        (i32.load8_u (i32.load (i32.const 1028))))
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (if (call $granted)
            (then (loop $again
                (i32.store8 (i32.const 1040) (i32.add (call $count) (i32.const 1)))
                (br_if $again (call $set_shared (i32.const 56) (i32.const 7) (i32.const 1040)
                    (i32.const 1) (i32.load (i32.const 1036))))))))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (i32.store8 (i32.const 1040) (call $count))
        (drop (call $add (i32.const 2) (i32.const 56) (i32.const 7) (i32.const 1040) (i32.const 1)))
        (i32.const 0))"#;

/// Puts an item into a queue at each request, and shows in responses how many this shard took out,
/// as the letters behind `0`.
const QUEUE: &str = r#"
    (global $count (mut i32) (i32.const 48))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $register (i32.const 56) (i32.const 7) (i32.const 1044))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $put (i32.load (i32.const 1044)) (i32.const 16) (i32.const 3)))
    (func (export "proxy_on_queue_ready") (param i32) (param $queue i32)
        (if (call $take (local.get $queue) (i32.const 1028) (i32.const 1032))
            (then unreachable))
        (if (i32.ne (i32.load (i32.const 1032)) (i32.const 3)) (then unreachable))
        (global.set $count (i32.add (global.get $count) (i32.const 1))))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (i32.store8 (i32.const 1040) (global.get $count))
        (drop (call $add (i32.const 2) (i32.const 56) (i32.const 7) (i32.const 1040) (i32.const 1)))
        (i32.const 0))"#;

/// Adds `x-count` to requests: who asked, as far as it is told.
const FROM: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (call $property (i32.const 184) (i32.const 14) (i32.const 1028) (i32.const 1032))
            (then unreachable))
        (call $add (i32.const 0) (i32.const 56) (i32.const 7) (i32.load (i32.const 1028))
            (i32.load (i32.const 1032))))"#;

/// Adds `x-count` to requests: the first letter of the configuration that the request is under.
const TELL: &str = r#"
    (func $place (param $id i32) (result i32)
        (i32.add (i32.const 2048) (i32.and (local.get $id) (i32.const 1023))))
    (func (export "proxy_on_context_create") (param $id i32) (param $root i32)
        (i32.store8 (call $place (local.get $id)) (i32.load8_u (call $place (local.get $root)))))
    (func (export "proxy_on_configure") (param $root i32) (param i32) (result i32)
        (if (call $buffer (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 1028)
                (i32.const 1032))
            (then unreachable))
        (i32.store8 (call $place (local.get $root)) (i32.load8_u (i32.load (i32.const 1028))))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
        (call $add (i32.const 0) (i32.const 56) (i32.const 7) (call $place (local.get $id))
            (i32.const 1)))"#;
