//! The rules on this repository, and planted violations that each rule must find.

use std::sync::LazyLock;

use crate::code::{self, long_files};
use crate::documents;
use crate::lexer::code_of;
use crate::manifests;
use crate::tree::{Finding, Tree};

/// A rule reads the tree and says where it is broken.
type Rule = fn(&Tree) -> Vec<Finding>;

/// Runs `rule` on this repository and fails with every place at once.
#[track_caller]
fn holds(rule: Rule) {
    static TREE: LazyLock<Tree> = LazyLock::new(Tree::of_this_repository);
    let findings = rule(&TREE);
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Runs `rule` on a planted tree and expects findings at exactly `places`, as `path:line`.
#[track_caller]
fn check(rule: Rule, files: &[(&str, &str)], places: &[&str]) {
    let findings = rule(&Tree::planted(files));
    let found: Vec<String> =
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect();
    assert_eq!(found, places, "{findings:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    holds(code::heads);
    check(code::heads, &[("a.rs", "//! A.\n"), ("b.rs", "use std;\n//! B.\n")], &["b.rs:1"]);
}

#[test]
fn files_are_short() {
    holds(code::file_lengths);
    for (path, lines) in long_files(&Tree::of_this_repository()) {
        println!("{path}: {lines} lines; is there a second subject in it?");
    }
    let long = "x\n".repeat(601);
    check(code::file_lengths, &[("a.rs", &long), ("b.rs", &long[2..])], &["a.rs:601"]);
    assert_eq!(long_files(&Tree::planted(&[("a.rs", &long[..802])])), [("a.rs", 401)]);
}

#[test]
fn lines_are_short() {
    holds(code::line_lengths);
    let (longest, longer) = ("\u{e4}".repeat(100), "x".repeat(101));
    let text = format!("{longest}\n{longer}\n");
    check(code::line_lengths, &[("a.rs", &text), ("a.md", &text)], &["a.rs:2"]);
}

#[test]
fn banned_words_are_not_in_code() {
    holds(code::banned_words);
    let rows = [
        ("fn a() { todo!() }", 1),
        ("fn a() { unimplemented!(\"x\") }", 1),
        ("fn a() { dbg!(1); }", 1),
        ("use std::sync::Mutex;", 1),
        ("\nuse std::sync::{Arc, RwLock};", 2),
        ("use parking_lot::Once;", 1),
        ("use std::collections::HashMap;", 1),
        ("fn a(b: &HashSet<u8>) {}", 1),
        ("let now = std::time::Instant::now();", 1),
        ("let now = SystemTime::now();", 1),
        ("libc::clock_gettime(0, &mut now);", 1),
        ("let seed = RandomState::new();", 1),
        ("let seed = thread_rng().random();", 1),
        ("let key = OsRng.next_u64();", 1),
        ("getrandom::fill(&mut key)?;", 1),
        ("std::thread::sleep(pause);", 1),
    ];
    for (text, line) in rows {
        let place = format!("runtime/proxy/src/a.rs:{line}");
        check(code::banned_words, &[("runtime/proxy/src/a.rs", text)], &[&place]);
    }
    // Not code, or another word, or a place that may.
    for (path, text) in [
        ("runtime/proxy/src/a.rs", "// No Mutex here.\nlet a = \"HashMap\";"),
        ("runtime/proxy/src/a.rs", "struct MyMutex; fn todo() {}"),
        ("runtime/env/src/map.rs", "use std::collections::HashMap;"),
        ("runtime/shard/src/clock.rs", "let now = Instant::now();"),
    ] {
        check(code::banned_words, &[(path, text)], &[]);
    }
}

#[test]
fn names_say_something() {
    holds(code::names);
    let text = "fn get_a() {}\nstruct PoolManager;\nmod utils;\nfn target() {}\nmod tests;\n";
    check(code::names, &[("a.rs", text)], &["a.rs:1", "a.rs:2", "a.rs:3"]);
}

#[test]
fn tests_that_are_left_out_say_why() {
    holds(code::ignored_tests);
    check(code::ignored_tests, &[("a.rs", "#[ignore]\n#[ignore = \"why\"]")], &["a.rs:1"]);
}

#[test]
fn the_data_plane_sees_the_traits_of_tokio_alone() {
    holds(code::tokio_on_the_data_plane);
    let text = "use tokio::io::AsyncRead;\nuse tokio::net;\nuse {tokio::io, tokio::time};\n";
    check(
        code::tokio_on_the_data_plane,
        &[("runtime/proxy/src/h2.rs", text), ("runtime/control/src/lib.rs", text)],
        &["runtime/proxy/src/h2.rs:2", "runtime/proxy/src/h2.rs:3"],
    );
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    holds(code::unsafe_code);
    holds(code::unsafe_forbidden);
    let text = "// unsafe\nunsafe { a() }\n";
    check(
        code::unsafe_code,
        &[("runtime/wire/src/a.rs", text), ("runtime/shard/src/a.rs", text)],
        &["runtime/wire/src/a.rs:2"],
    );
    check(
        code::unsafe_forbidden,
        &[
            ("config/src/lib.rs", "//! A.\n// #![forbid(unsafe_code)]\nmod a;\n"),
            ("runtime/env/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\nmod a;\n"),
            ("runtime/tls/src/lib.rs", "//! Nothing here yet.\n"),
            ("runtime/shard/src/lib.rs", "//! A.\nmod a;\n"),
        ],
        &["config/src/lib.rs:1"],
    );
}

const ENV: (&str, &str) = ("runtime/env/Cargo.toml", "[package]\nname = \"penstock-env\"\n");
const WIRE: (&str, &str) = ("runtime/wire/Cargo.toml", "[package]\nname = \"penstock-wire\"\n");

#[test]
fn dependencies_point_down() {
    holds(manifests::floors);
    let seen_from = |folder: &str, dependencies: &str, places: &[&str]| {
        let path = format!("{folder}/Cargo.toml");
        let text = format!("[package]\nname = \"x\"\n[dependencies]\n{dependencies}\n");
        check(manifests::floors, &[ENV, WIRE, (&path, &text)], places);
    };
    seen_from("runtime/proxy", "penstock-wire.workspace = true", &[]);
    seen_from("config", "penstock-wire.workspace = true", &["config/Cargo.toml:4"]);
    // One floor does not see itself, under another name neither.
    let renamed = "a = { package = \"penstock-wire\", workspace = true }";
    seen_from("runtime/balance", renamed, &["runtime/balance/Cargo.toml:1"]);
    let short = "[workspace.dependencies]\nw = { package = \"penstock-wire\", path = \"w\" }";
    let text = "[dependencies]\nw.workspace = true\n";
    check(
        manifests::floors,
        &[("Cargo.toml", short), WIRE, ("config/Cargo.toml", text)],
        &["config/Cargo.toml:1"],
    );
    seen_from(
        "runtime/l4",
        "[target.'cfg(unix)'.build-dependencies]\npenstock-wire.workspace = true",
        &["runtime/l4/Cargo.toml:5"],
    );
    seen_from("runtime/l4", "[dev-dependencies]\npenstock-wire.workspace = true", &[]);
    seen_from("runtime/attic", "", &["runtime/attic/Cargo.toml:1"]);
}

#[test]
fn filters_see_the_sdk_alone() {
    holds(manifests::narrow_crates);
    let text = "[dependencies]\npenstock-filters-sdk.workspace = true\npenstock-env = \"1\"\n";
    check(
        manifests::narrow_crates,
        &[("filters/a/Cargo.toml", text), ("runtime/proxy/Cargo.toml", text)],
        &["filters/a/Cargo.toml:3"],
    );
}

#[test]
fn heavy_dependencies_stay_in_their_rooms() {
    holds(manifests::heavy_dependencies);
    let text = "[dependencies]\nwasmtime.workspace = true\n[dev-dependencies]\nglommio = \"1\"\n";
    check(
        manifests::heavy_dependencies,
        &[("runtime/filter-host/Cargo.toml", text), ("runtime/shard/Cargo.toml", text)],
        &["runtime/filter-host/Cargo.toml:4", "runtime/shard/Cargo.toml:2"],
    );
}

#[test]
fn the_workspace_sets_versions() {
    holds(manifests::versions);
    let text = "[dependencies]\na = \"1\"\nb = { version = \"1\" }\nc.workspace = true\n";
    let places = ["config/Cargo.toml:2", "config/Cargo.toml:3"];
    check(manifests::versions, &[("config/Cargo.toml", text)], &places);
    // A root of its own is not a member.
    let root = format!("[workspace]\n{text}");
    check(manifests::versions, &[("runtime/xdp/ebpf/Cargo.toml", &root)], &[]);
}

#[test]
fn crates_are_named_after_their_folders() {
    holds(manifests::packages);
    let inherited: String = ["version", "edition", "rust-version", "license", "publish"]
        .map(|key| format!("{key}.workspace = true\n"))
        .concat();
    let manifest = |name: &str| {
        format!(
            "[package]\nname = \"{name}\"\ndescription = \"d\"\n{inherited}\
             [lints]\nworkspace = true\n"
        )
    };
    let rows = [
        ("config", "penstock-config"),
        ("runtime/env", "penstock-env"),
        ("runtime/penstock", "penstock"),
        ("filters-sdk/abi", "penstock-filters-sdk-abi"),
        ("filters/ip-tag", "penstock-filter-ip-tag"),
        ("packaging/xtask", "xtask"),
    ];
    for (folder, name) in rows {
        let path = format!("{folder}/Cargo.toml");
        check(manifests::packages, &[(&path, &manifest(name))], &[]);
        check(manifests::packages, &[(&path, &manifest("other"))], &[&format!("{path}:2")]);
    }
    let bare = "[package]\nname = \"penstock-config\"\nversion = \"1\"\n";
    let findings = manifests::packages(&Tree::planted(&[("config/Cargo.toml", bare)]));
    assert_eq!(findings.len(), 7, "lints, five keys, description: {findings:?}");
}

#[test]
fn the_first_page_has_the_two_commands() {
    holds(documents::readme_commands);
    check(documents::readme_commands, &[("README.md", "cargo test --workspace")], &["README.md:1"]);
}

#[test]
fn no_file_betrays_the_machine_it_was_made_on() {
    holds(documents::machine_paths);
    let text = format!("a\n{}me/b\n", "/ho");
    check(documents::machine_paths, &[("a.wasm", &text), ("b.md", "a home\n")], &["a.wasm:2"]);
}

#[test]
fn every_room_is_on_the_map() {
    holds(documents::code_map);
    check(
        documents::code_map,
        &[ENV, WIRE, ("ARCHITECTURE.md", "`runtime/env`: the world")],
        &["ARCHITECTURE.md:1"],
    );
}

#[test]
fn the_lexer_leaves_code_alone() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"a\\\"b\", c)", "f(      , c)"),
        ("f(r#\"a\"b\"#, c)", "f(        , c)"),
        ("f(br\"a\\\", c)", "f(      , c)"),
        ("f('\"', 'a', '\\'', '\\u{1f}')", "f(   ,    ,     ,         )"),
        ("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)"),
        ("for\"x\"", "for   "),
        ("\"a\n", "  \n"),
    ] {
        let found = code_of(text);
        // A prefix such as the `b` of a byte string stays.
        assert_eq!(found, code, "{text}");
    }
}
