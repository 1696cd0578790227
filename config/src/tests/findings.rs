//! How mistakes are shown, to people and to editors, and that all of them are.

use serde_json::json;

use crate::property::reading_is_sound;
use crate::tests::round_trip::FULL;
use crate::tests::{FakeFiles, MINIMAL, parse};
use crate::{Config, FINDINGS_MAX, FindingKind, Findings, Flaw};

#[track_caller]
fn check(text: &str, expected: &str) {
    let findings = parse(text).expect_err("the text has mistakes");
    assert_eq!(findings.to_string(), expected.trim_start());
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_caret() {
    check(
        "[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\nlimits = { queud = 5 }\n",
        "
penstock.toml:3:12: cluster.api.limits.queud: unknown key
   |
 3 | limits = { queud = 5 }
   |            ^^^^^
   = allowed: connections, requests, requests_per_endpoint, queued
   = did you mean `queued`?

1 mistake
",
    );
    check(
        "[cluster.api]\nendpoints = [\"10.0.0.1:80\"]\nbalance = \"least_requests\"\n",
        "
penstock.toml:3:11: cluster.api.balance = \"least_requests\": not one of the allowed words
   |
 3 | balance = \"least_requests\"
   |           ^^^^^^^^^^^^^^^^
   = allowed: \"round-robin\", \"weighted-round-robin\", \"random\", \"least-request\", \"maglev\"
   = did you mean `\"least-request\"`?

1 mistake
",
    );
}

#[test]
fn carets_stand_right_behind_wide_letters_tabs_and_long_lines() {
    check(
        "[fleet]\nhash_seed = \"\u{fc}\u{4e16}\"\t\nseed\t= 1 # \u{fc}",
        "
penstock.toml:3:1: fleet.seed: unknown key
   |
 3 | seed = 1 # \u{fc}
   | ^^^^
   = allowed: hash_seed, members, bgp
   = did you mean `hash_seed`?

1 mistake
",
    );
    let padding = "#".repeat(3_000);
    let text = format!("fleet = {{ hash_seed = \"{}\", seed = 1 }} {padding}", "x".repeat(150));
    let shown = parse(&text).expect_err("seed is unknown").to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[3].find('^').expect("the fourth line has the caret");
    assert!(lines[2][caret..].starts_with("seed"), "{shown}");
    assert!(lines.iter().all(|line| line.len() < 120), "{shown}");
}

#[test]
fn every_mistake_is_found_in_one_run_in_order_of_kind() {
    let text = r#"
[runtime]
shards = "four"
drian = "5s"

[listener.web]
address = "8080"
transparent = true
timeouts = { request_head = "10" }

[[listener.web.route]]
host = "exa mple.com"
to = "app"
retry = { attempts = 900 }

[[listener.web.route]]
path = "/x"
to = "api"

[cluster.app]
endpoints = ["10.0.0.1", "unix:x", "10.0.0.1:80"]
balance = "maglev2"

[cluster.apis]

[filter.jwt]
wasm = ""
sha256 = "abc"
"#;
    let findings = parse(text).expect_err("the text has mistakes");
    let places: Vec<String> = findings
        .list
        .iter()
        .map(|finding| format!("{} {}", finding.kind.name(), finding.path))
        .collect();
    let expected = [
        "unknown-key runtime.drian",
        "not-in-this-version listener.web.transparent",
        "value runtime.shards",
        "value listener.web.address",
        "value listener.web.timeouts.request_head",
        "value listener.web.route[0].host",
        "value listener.web.route[0].retry.attempts",
        "value cluster.app.endpoints[0]",
        "value cluster.app.endpoints[1]",
        "value cluster.app.balance",
        "value filter.jwt.wasm",
        "value filter.jwt.sha256",
        "missing cluster.apis.endpoints",
        "reference listener.web.route[1].to",
    ];
    assert_eq!(places, expected, "\n{findings}");
    let api = findings.list.last().expect("there are fourteen");
    assert_eq!(api.suggestion.as_deref(), Some("\"apis\""));
}

#[test]
fn editors_get_json() {
    let findings = parse("[fleet]\nhash_sed = 1").expect_err("no such key");
    let expected = json!({
        "file": "penstock.toml",
        "findings": [{
            "kind": "unknown-key",
            "line": 2,
            "column": 1,
            "count": 8,
            "path": "fleet.hash_sed",
            "found": "",
            "problem": "unknown key",
            "allowed": "hash_seed, members, bgp",
            "suggestion": "hash_seed",
        }],
        "left_out": 0,
    });
    assert_eq!(findings.to_json(), expected);
}

#[test]
fn what_is_shown_has_nothing_that_a_terminal_obeys() {
    let text = r#"
[cluster."\u001b[31mred"]
endpoints = ["\u001b[0m"]
"\u001b" = 1
[listener.l]
to = "red"
address = "\u0007"
"#;
    let shown = parse(text).expect_err("nothing here is right").to_string();
    assert!(shown.contains(r"\u001B[31mred"), "{shown}");
    assert!(shown.chars().all(|character| !character.is_control() || character == '\n'));
    reading_is_sound(text.as_bytes());
}

#[test]
fn complaints_about_a_hostile_file_are_bounded() {
    let text: String = (0..3_000).map(|index| format!("key{index} = 1\n")).collect();
    let findings = parse(&text).expect_err("no key is known");
    assert_eq!((findings.list.len(), findings.left_out), (FINDINGS_MAX, 2_000));
    assert!(findings.to_string().ends_with("3000 mistakes, 2000 of them not shown\n"));
    let large = vec![b' '; (16 << 20) + 1];
    let findings = Config::parse("f", &large, &FakeFiles(&[])).expect_err("too large");
    assert_eq!(findings.list[0].problem, "over 16777216 bytes");
}

#[test]
fn files_that_are_missing_or_wrong_are_told_where_they_are_named() {
    const FILES: FakeFiles = FakeFiles(&[
        ("right.wasm", b"\0asm\x01\0\0\0"),
        ("text.wasm", b"(module)"),
        ("token", b"secret\n"),
        ("empty", b" \n"),
    ]);
    let check = |text: &str, expected: &str| {
        let found = match Config::parse("f", text.as_bytes(), &FILES) {
            Ok(_) => String::new(),
            Err(findings) => {
                let finding = &findings.list[0];
                let place = (finding.position.line, finding.position.column);
                format!("{}:{} {}: {}", place.0, place.1, finding.path, finding.problem)
            }
        };
        assert_eq!(found, expected, "{text}");
    };
    let right = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";
    check("[filter.f]\nwasm = \"right.wasm\"", "");
    check(&format!("[filter.f]\nwasm = \"right.wasm\"\nsha256 = \"{right}\""), "");
    let wrong = right.replace('9', "8");
    check(
        &format!("[filter.f]\nwasm = \"right.wasm\"\nsha256 = \"{wrong}\""),
        &format!("3:10 filter.f.sha256: the module's digest is {right}"),
    );
    check(
        "[filter.f]\nwasm = \"gone.wasm\"",
        "2:8 filter.f.wasm: cannot be read: entity not found",
    );
    check("[filter.f]\nwasm = \"text.wasm\"", "2:8 filter.f.wasm: not a WebAssembly module");
    let admin = |file: &str| format!("[admin]\nlisten = \"[::1]:1\"\ntoken_file = \"{file}\"");
    check(&admin("token"), "");
    check(&admin("empty"), "3:14 admin.token_file: holds no token");
    check(&admin("gone"), "3:14 admin.token_file: cannot be read: entity not found");
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to pick bytes with.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize
}

#[test]
fn no_bytes_make_reading_panic() {
    const PIECES: [&[u8]; 16] = [
        b"\"",
        b"[",
        b"]",
        b"[[",
        b"{",
        b"}",
        b"=",
        b"\n",
        b".",
        b",",
        b"'''",
        b"\\u0000",
        b"\xff",
        b"9999999999999999999",
        b"1979-05-27",
        b"\x1b[31m",
    ];
    for sample in [MINIMAL, FULL] {
        for end in 0..sample.len() {
            reading_is_sound(&sample.as_bytes()[..end]);
        }
        for round in 0..1_500 {
            let mut seed = round;
            let mut text = sample.as_bytes().to_vec();
            for _ in 0..1 + next(&mut seed) % 4 {
                let at = next(&mut seed) % text.len();
                match next(&mut seed) % 4 {
                    0 => text[at] ^= 1 << (next(&mut seed) % 8),
                    1 => drop(
                        text.splice(at..at, PIECES[next(&mut seed) % PIECES.len()].iter().copied()),
                    ),
                    2 => drop(text.drain(at..(at + next(&mut seed) % 40).min(text.len()))),
                    _ => {
                        let from = next(&mut seed) % text.len();
                        let copied = text[from..(from + 60).min(text.len())].to_vec();
                        drop(text.splice(at..at, copied));
                    }
                }
                if text.is_empty() {
                    break;
                }
            }
            reading_is_sound(&text);
        }
    }
}

#[test]
fn what_shows_when_a_config_is_tried_has_its_place() {
    let text = format!("{MINIMAL}[filter.a]\nwasm = \"a.wasm\"\nconfig = {{ brst = 5 }}\n");
    let flaw = |keys: &[&str]| Flaw {
        kind: FindingKind::Value,
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        problem: "refused: unknown field".to_owned(),
    };
    let flaws = vec![flaw(&["filter", "a", "canary", "config"]), flaw(&["filter", "a", "config"])];
    let findings = Findings::of("x", text.as_bytes(), flaws).expect("there are some");
    let places = findings.list.iter().map(|one| (one.position.line, one.path.as_str()));
    // What is not written is shown at the table that it belongs to.
    let expected = [(7, "filter.a.canary.config"), (9, "filter.a.config")];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    assert!(findings.to_string().contains("9 | config = { brst = 5 }"), "{findings}");
    let text =
        "[listener.l]\n[[listener.l.route]]\nfilters = [\"b\",\n{ filter = \"a\", config = 1 }]";
    let flaw = flaw(&["listener", "l", "route", "[0]", "filters", "[1]", "config"]);
    let findings = Findings::of("x", text.as_bytes(), vec![flaw]).expect("there is one");
    let found = &findings.list[0];
    assert_eq!((found.position.line, found.position.column), (4, 26));
    assert_eq!(found.path, "listener.l.route[0].filters[1].config");
    assert_eq!(Findings::of("x", text.as_bytes(), Vec::new()), None);
}
