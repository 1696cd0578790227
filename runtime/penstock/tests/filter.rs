//! `penstock filter` as it is typed: exit codes, standard output, standard error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `penstock filter ...`.
fn filter(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.arg("filter").args(arguments);
    // Whatever a new crate needs is what this workspace was built with.
    command.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.output().expect("the binary runs")
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = filter(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}\n{error}");
    text
}

/// It ends with 1 and one line that has `reason` in it.
#[track_caller]
fn fails(arguments: &[&str], reason: &str) {
    let output = filter(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
    assert!(error.contains(reason) && error.starts_with("penstock: "), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
}

fn compiled(name: &str) -> String {
    let path = format!("{}/../../filters/compiled/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    assert!(Path::new(&path).is_file(), "{path}");
    path
}

/// An empty folder of that name.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an old run's folder goes");
    }
    fs::create_dir_all(&folder).expect("a folder is made");
    folder
}

/// A file of these bytes, as an argument.
fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file is written");
    path.to_str().expect("the path is text").to_owned()
}

const EDIT: &str = r#"{
    "request": { "set": { "x-a": "1" }, "remove": ["x-debug"] },
    "response": { "remove": ["server"], "add": { "x-b": "2" } }
}"#;

#[test]
fn inspect_accepts_every_shipped_module() {
    for name in
        ["access-metrics", "canary-route", "header-edit", "ip-tag", "jwt-auth", "rate-limit"]
    {
        let text = succeeds(&["inspect", &compiled(name)]);
        assert!(text.contains("ABI            proxy-wasm 0.2.1"), "{text}");
    }
    let text = succeeds(&["inspect", "--json", &compiled("jwt-auth")]);
    let manifest = include_str!("../../../filters/compiled/MANIFEST.toml");
    let row = manifest.split("[jwt-auth]").nth(1).expect("the manifest has it");
    let pin = row.split("sha256 = \"").nth(1).and_then(|rest| rest.split('"').next());
    assert!(text.contains(pin.expect("a digest")), "{text}");
    assert!(text.contains(r#""capability": "http-call""#), "{text}");
}

#[test]
fn inspect_names_the_reasons_to_refuse_a_module() {
    let folder = folder("inspect");
    let check = |name: &str, bytes: &[u8], reason: &str| {
        let path = file(&folder, name, bytes);
        fails(&["inspect", &path], reason);
        let output = filter(&["inspect", "--json", &path]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(r#""accepted": false"#), "{text}");
    };
    let module = |text: &str| wat::parse_str(text).expect("the text is a module");
    check("text.wasm", b"GET / HTTP/1.1\r\n\r\n", "not a WebAssembly module");
    check("empty.wasm", b"", "not a WebAssembly module");
    check("bare.wasm", &module("(module)"), "no proxy-wasm module");
    let import = r#"(module (import "env" "proxy_moo" (func)) (import "env" "sleep" (func)))"#;
    check("import.wasm", &module(import), "imports `proxy_moo` from `env`");
    check("import.wasm", &module(import), "imports `sleep` from `env`");
    let large = r#"(module (memory (export "memory") 65536))"#;
    check("large.wasm", &module(large), "asks for 4294967296 bytes of memory");
    fails(&["inspect", "/nowhere.wasm"], "/nowhere.wasm: No such file");
}

#[test]
fn one_exchange_is_shown_as_it_leaves_the_filter() {
    let folder = folder("one");
    let (edit, config) = (compiled("header-edit"), file(&folder, "edit.json", EDIT));
    let body = file(&folder, "body", "hello");
    let text = succeeds(&[
        "test",
        &edit,
        "--config",
        &config,
        "--request",
        "PUT /a",
        "-H",
        "X-Debug: 1",
        "--body",
        &body,
        "--response-status",
        "201",
        "--response-header",
        "server: origin",
        "--expect-status",
        "201",
        "--expect-header",
        "x-b: 2",
        "--expect-request-header",
        "x-a: 1",
        "--fuel-max",
        "10000",
    ]);
    for line in ["> :method: PUT", "> x-a: 1", "> hello", "< :status: 201", "< x-b: 2"] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
    }
    assert!(!text.contains("x-debug") && !text.contains("server"), "{text}");
    assert!(text.contains("* continue\n* fuel: "), "{text}");
}

#[test]
fn what_is_not_as_expected_fails() {
    let folder = folder("unmet");
    let (edit, config) = (compiled("header-edit"), file(&folder, "edit.json", EDIT));
    let test = |more: &[&str]| filter(&[&["test", &edit, "--config", &config], more].concat());
    for more in [
        ["--expect-status", "404"],
        ["--expect-header", "x-b: 3"],
        ["--expect-request-header", "x-a: 2"],
        ["--fuel-max", "1"],
    ] {
        let output = test(&more);
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().any(|line| line.starts_with("! ")), "{more:?}: {text}");
    }
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let folder = folder("config");
    let config = file(&folder, "edit.toml", "[requests]\n");
    fails(&["test", &compiled("header-edit"), "--config", &config], "requests: unknown field");
    fails(&["bench", &compiled("header-edit"), "--config", &config], "requests: unknown field");
}

/// Exchanges for `rate-limit`: state, time, properties, an answer of the filter's own.
const EXCHANGES: &str = r#"
    config = { limits = [{ name = "ip", requests = 1, per_seconds = 10 }] }

    [[case]]
    name = "lets the first pass"
    properties = { "source.address" = "192.0.2.1:4711" }
    expect = { action = "continue", status = 200 }

    [[case]]
    name = "refuses the second"
    expect = { action = "answer", status = 429, cause = "rate_limited" }

    [[case]]
    name = "lets one pass again"
    advance_ms = 10_000
    expect = { status = STATUS }
"#;

#[test]
fn a_file_of_exchanges_is_run_in_order() {
    let folder = folder("exchanges");
    let text = format!("wasm = {:?}\n{EXCHANGES}", compiled("rate-limit"));
    let good = file(&folder, "good.toml", text.replace("STATUS", "200"));
    let output = succeeds(&["test", &good]);
    assert!(output.contains("ok refuses the second") && output.contains("3 passed"), "{output}");
    let bad = file(&folder, "bad.toml", text.replace("STATUS", "503"));
    fails(&["test", &bad], "1 of 3 failed");
    fails(&["test", &good, "--expect-status", "200"], "leave the options out");
    fails(&["test", &file(&folder, "none.toml", "wasm = \"x\"\ncase = []")], "no [[case]]");
}

#[test]
fn callouts_get_the_replies_that_the_file_has() {
    let folder = folder("callouts");
    let text = format!(
        r#"
        wasm = {:?}
        http_calls = ["login"]
        config = {{ issuer = "i", fetch = {{ cluster = "login", path = "/jwks" }} }}
        [[case]]
        headers = ["authorization: Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA"]
        replies = [{{ status = 200, body = '{{ "keys": [] }}' }}]
        [case.expect]
        status = 503
        cause = "jwt_no_keys"
        log = ["no key in it verifies a signature (status 200)"]
        "#,
        compiled("jwt-auth"),
    );
    succeeds(&["test", &file(&folder, "callouts.toml", text)]);
}

#[test]
fn bench_measures_a_shipped_module() {
    let folder = folder("bench");
    let config = file(&folder, "edit.json", EDIT);
    let edit = compiled("header-edit");
    let text = succeeds(&["bench", &edit, "--config", &config, "--requests", "200"]);
    for row in ["per request", "instance start", "dirty memory", "trap recovery"] {
        assert!(text.contains(row), "no {row} in:\n{text}");
    }
    assert!(text.contains("200 requests, 15 + 8 fields, 0 answered"), "{text}");
}

#[test]
fn bench_gives_no_figures_for_a_filter_that_fails() {
    let folder = folder("bench-fails");
    let module = r#"(module
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;
    let wasm = wat::parse_str(module).expect("the text is a module");
    fails(&["bench", &file(&folder, "trap.wasm", wasm)], "the filter failed ");
}

#[test]
fn new_refuses_what_would_not_work() {
    let folder = folder("new-refuses");
    let place = folder.join("taken");
    let place = place.to_str().expect("the path is text");
    let check = |name: &str, reason: &str| {
        fails(&["new", name, "--dir", place], reason);
        assert!(!Path::new(place).exists());
    };
    check("Greeter", "small letter");
    check("a b", "consists of");
    check("../a", "small letter");
    check("penstock", "means something else");
    check("match", "means something else");
    check(&"a".repeat(65), "more than 64");
    fails(&["new", "greeter", "--dir", place, "--sdk", "/nowhere"], "/nowhere/Cargo.toml");
    let mine = file(&folder, "mine", "precious");
    fails(&["new", "greeter", "--dir", folder.to_str().expect("text")], "nothing was written");
    fails(&["new", "greeter", "--dir", &mine], "Not a directory");
    assert_eq!(fs::read(&mine).expect("it is there"), b"precious");
}

#[test]
fn a_new_filter_of_connections_builds_and_does_what_it_says() {
    let folder = folder("new-stream");
    let place = folder.join("knock");
    let place = place.to_str().expect("the path is text");
    let text = succeeds(&["new", "knock", "--stream", "--dir", place]);
    assert!(text.contains("waits for a word"), "{text}");
    for name in ["Cargo.toml", "README.md", "src/lib.rs", "src/tests.rs", "connections.toml"] {
        let text = fs::read_to_string(format!("{place}/{name}")).expect("it was written");
        assert!(!text.contains("{{"), "{name} has something left to fill in");
    }
    if !has_wasm_target() {
        skipped();
        return;
    }
    let lock = format!("{}/../../Cargo.lock", env!("CARGO_MANIFEST_DIR"));
    fs::copy(lock, format!("{place}/Cargo.lock")).expect("the lock file is copied");
    let text = succeeds(&["build", place]);
    assert!(text.contains("proxy_on_new_connection"), "{text}");
    assert!(text.contains("services") && !text.contains("routes"), "{text}");
    let text = succeeds(&["test", &format!("{place}/connections.toml")]);
    assert!(text.contains("3 passed"), "{text}");
    let text = succeeds(&["bench", &format!("{place}/connections.toml"), "--requests", "100"]);
    assert!(text.contains("connections"), "{text}");
    let wrong = fs::read_to_string(format!("{place}/connections.toml")).expect("it was written");
    let wrong = wrong.replace("to_upstream = \"hello\"", "to_upstream = \"hallo\"");
    let file = file(Path::new(place), "wrong.toml", wrong);
    fails(&["test", &file], "1 of 3");
}

/// Says that a test was not run to its end.
fn skipped() {
    // Not `println!`: what that prints is shown of tests that failed, and of no others.
    let text = "skipped: the target wasm32-unknown-unknown is not installed";
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether rustc can compile for the sandbox. `PENSTOCK_TEST_ALL` makes it a must.
fn has_wasm_target() -> bool {
    let mut rustc = Command::new("rustc");
    let output = rustc
        .args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        .output()
        .expect("rustc runs");
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let has = Path::new(&folder).is_dir();
    let must = std::env::var_os("PENSTOCK_TEST_ALL").is_some_and(|all| all == "1");
    assert!(has || !must, "the target wasm32-unknown-unknown is not installed");
    has
}

#[test]
fn a_new_filter_builds_and_does_what_it_says() {
    let folder = folder("new");
    let place = folder.join("my-greeter");
    let place = place.to_str().expect("the path is text");
    let text = succeeds(&["new", "my-greeter", "--dir", place]);
    assert!(text.contains("penstock filter build"), "{text}");
    for name in ["Cargo.toml", "README.md", ".gitignore", "src/lib.rs", "exchanges.toml"] {
        let text = fs::read_to_string(format!("{place}/{name}")).expect("it was written");
        assert!(!text.contains("{{"), "{name} has something left to fill in");
    }
    if !has_wasm_target() {
        skipped();
        return;
    }
    // The versions that this workspace was built with are at hand, without a network.
    let lock = format!("{}/../../Cargo.lock", env!("CARGO_MANIFEST_DIR"));
    fs::copy(lock, format!("{place}/Cargo.lock")).expect("the lock file is copied");
    let text = succeeds(&["build", place]);
    assert!(text.contains("sha256") && text.contains("proxy_on_request_headers"), "{text}");
    let module = fs::read(format!("{place}/my-greeter.wasm")).expect("the module is beside it");
    let checkout = fs::canonicalize(format!("{}/../..", env!("CARGO_MANIFEST_DIR")));
    let checkout = checkout.expect("the checkout is there").display().to_string();
    // Where the standard library's sources are installed, the compiler names those.
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs");
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    for path in [checkout, sysroot] {
        let betrays = module.windows(path.len()).any(|window| window == path.as_bytes());
        assert!(!betrays, "the module has {path} in it, a path of this machine");
    }
    let text = succeeds(&["test", &format!("{place}/exchanges.toml")]);
    assert!(text.contains("2 passed"), "{text}");
    succeeds(&["bench", &format!("{place}/exchanges.toml"), "--requests", "100"]);
    // What the SDK's guide shows is true of this filter.
    let guide = include_str!("../../../filters-sdk/README.md");
    let mut blocks = guide.split("```toml\n").filter_map(|rest| rest.split("```").next());
    let shown = blocks.find(|block| block.contains("[[case]]")).expect("the guide has cases");
    let shown = shown.replace("greeter.wasm", "my-greeter.wasm");
    let text = succeeds(&["test", &file(Path::new(place), "shown.toml", shown)]);
    assert!(text.contains("2 passed"), "{text}");
}
