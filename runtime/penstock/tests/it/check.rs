//! `penstock check`, `config` and the exit codes.

use std::process::{Command, Stdio};

use crate::harness::{Folder, run};

const GOOD: &str = "\
[listener.web]
address = \":8080\"
to = \"app\"
[cluster.app]
endpoints = [\"127.0.0.1:1\"]
";

#[track_caller]
fn check(text: &str, arguments: &[&str], code: i32, part: &str) {
    let folder = Folder::new();
    let path = folder.join("penstock.toml");
    std::fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if *argument == "FILE" { &*path } else { argument })
        .collect();
    let output = run(&arguments);
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {shown}");
    assert!(shown.contains(part), "{arguments:?}: {shown}");
}

#[test]
fn exit_codes_tell_mistakes_from_a_wrong_command_line() {
    check(GOOD, &["check", "FILE"], 0, "no mistakes");
    check(&GOOD.replace("to =", "too ="), &["check", "FILE"], 1, "did you mean `to`?");
    check("", &["check", "/nowhere/penstock.toml"], 2, "/nowhere/penstock.toml");
    check(GOOD, &["check"], 2, "Usage");
    check(GOOD, &["chekc", "FILE"], 2, "check");
    check(GOOD, &["check", "FILE", "--format", "json"], 0, "\"findings\":[]");
    check("x = 1", &["check", "FILE", "--format", "json"], 1, "\"kind\":\"unknown-key\"");
    check(&GOOD.replace("to =", "too ="), &["run", "FILE"], 1, "did you mean `to`?");
    check("", &["run", "/nowhere/penstock.toml"], 1, "/nowhere/penstock.toml");
    check("", &["version"], 0, env!("CARGO_PKG_VERSION"));
    check("", &["version", "--json"], 0, concat!("{\"version\":\"", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_file_that_the_config_names_is_looked_at() {
    let text = format!("{GOOD}[filter.x]\nwasm = \"none.wasm\"\n");
    check(&text, &["check", "FILE"], 1, "filter.x.wasm");
    check(&text, &["run", "FILE"], 1, "filter.x.wasm");
}

#[test]
fn what_a_start_refuses_check_finds_at_its_place() {
    let compiled = concat!(env!("CARGO_MANIFEST_DIR"), "/../../filters/compiled");
    let wasm = |module: &str| format!("{GOOD}[filter.x]\nwasm = \"{compiled}/{module}.wasm\"\n");
    let config = format!("{}config = {{ nonsense = 1 }}\n", wasm("header-edit"));
    for (text, place, start) in [
        // What the filter itself says of it is there, too.
        (
            config.clone(),
            ":8:10: filter.x.config",
            "refused: configuration: nonsense: unknown field `nonsense`",
        ),
        (
            format!(
                "{}canary = {{ share = \"5%\", config = {{ no = 1 }} }}\n",
                wasm("header-edit")
            ),
            ":8:35: filter.x.canary.config",
            "unknown field `no`",
        ),
        // What a route gives it, where its own is sound.
        (
            wasm("header-edit").replace(
                "to = \"app\"\n",
                "[[listener.web.route]]\nto = \"app\"\n\
                 filters = [{ filter = \"x\", config = { no = 1 } }]\n",
            ),
            ":5:37: listener.web.route[0].filters[0].config",
            "filter `x` refuses it: does not start: refused: configuration: no: unknown field `no`",
        ),
        (wasm("jwt-auth"), ":6:1: filter.x.config", "`keys` or `fetch`: one of them must be there"),
        (
            format!("[observe]\naccess_log = \"json:/nowhere/x.log\"\n{GOOD}"),
            ":2:14: observe.access_log",
            "/nowhere",
        ),
    ] {
        check(&text, &["check", "FILE"], 1, place);
        check(&text, &["check", "FILE"], 1, start);
        let run = format!("[admin]\nlisten = \"unix:/tmp/penstock-never.sock\"\n{text}");
        check(&run, &["run", "FILE"], 1, start);
    }
    let (folder, module) = (Folder::new(), b"\0asm\x01\0\0\0");
    std::fs::write(folder.join("x.wasm"), module).expect("written");
    let path = folder.join("x.wasm").display().to_string();
    let text = format!("{GOOD}[filter.x]\nwasm = \"{path}\"\n");
    check(&text, &["check", "FILE"], 1, "filter.x.wasm: no proxy-wasm module");
    check(&config.replace("{ nonsense = 1 }", "{}"), &["check", "FILE"], 0, "no mistakes");
}

#[test]
fn a_config_is_shown_with_and_without_its_defaults() {
    check(GOOD, &["config", "show", "--defaults", "FILE"], 0, "receive_buffers = 1024");
    check(GOOD, &["config", "show", "FILE"], 0, "to = \"app\"");
    check(GOOD, &["config", "schema"], 0, "json-schema.org");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for (arguments, code) in
        [(&["config", "schema"][..], 0), (&["version"], 0), (&["check", "Cargo.toml"], 1)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        let command = command.args(arguments).stdin(Stdio::null()).stdout(writer);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
