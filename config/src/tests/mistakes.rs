//! Every mistake at its place: a row each.
//!
//! A row is a text and its findings in short: line, column, kind, path, what is wrong, and the
//! suggestion behind a question mark. How findings are shown in full is tested in `findings`.

use crate::tests::parse;

#[track_caller]
pub(super) fn check(text: &str, expected: &[&str]) {
    let short: Vec<String> = match parse(text) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.list.iter().map(short).collect(),
    };
    assert_eq!(short, expected, "\n{text}");
}

fn short(finding: &crate::Finding) -> String {
    let crate::Position { line, column, .. } = finding.position;
    let kind = finding.kind.name();
    let suggestion = finding.suggestion.as_ref().map(|s| format!(" ?{s}")).unwrap_or_default();
    format!("{line}:{column} {kind} {}: {}{suggestion}", finding.path, finding.problem)
}

/// A row about one key of a cluster that is right otherwise.
#[track_caller]
pub(super) fn check_cluster(line: &str, expected: &[&str]) {
    check(&format!("[cluster.a]\n{line}\nendpoints = [\"10.0.0.1:80\"]"), expected);
}

/// A row about one key of a listener that is right otherwise; its cluster is `a`.
#[track_caller]
pub(super) fn check_listener(line: &str, expected: &[&str]) {
    let cluster = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]";
    check(&format!("[listener.l]\n{line}\naddress = \":80\"\nto = \"a\"\n{cluster}"), expected);
}

/// A row about keys of a service that is right otherwise; its cluster is `a`.
#[track_caller]
pub(super) fn check_service(lines: &str, expected: &[&str]) {
    let cluster = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]";
    let mut service = String::from("[service.s]\n") + lines + "\n";
    for (key, value) in [("vip", "\"10.9.9.9\""), ("ports", "\"tcp/1\""), ("to", "\"a\"")] {
        if !lines.split('\n').any(|line| line.starts_with(&format!("{key} "))) {
            service += &format!("{key} = {value}\n");
        }
    }
    check(&(service + cluster), expected);
}

/// A row about one key of a route that is right otherwise; it is on line 4.
#[track_caller]
pub(super) fn check_route(line: &str, expected: &[&str]) {
    let cluster = "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]";
    let listener = "[listener.l]\naddress = \":80\"\n[[listener.l.route]]";
    check(&format!("{listener}\n{line}\n{cluster}\n[filter.f]\nwasm = \"f\""), expected);
}

#[test]
fn text_that_is_not_toml() {
    check("[listener", &["1:10 syntax : unclosed table, expected `]`"]);
    check("a = ", &["1:5 syntax : string values must be quoted, expected literal string"]);
    check(
        "[fleet]\nhash_seed = \"a\"\nhash_seed = \"b\"",
        &["3:1 syntax : duplicate key: it stands in line 2 already"],
    );
    check(
        "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\n[cluster.a]\nendpoints = []",
        &["3:10 syntax : duplicate key: it stands in line 1 already"],
    );
}

#[test]
fn broken_text_does_not_hide_mistakes_elsewhere_nor_invent_any() {
    check(
        "[fleet]\nseed = 1\n[cluster.a\nendpoints = [\"x\"]\n\
         [listener.l]\naddress = \":80\"\nto = \"a\"",
        &[
            "3:11 syntax : unclosed table, expected `]`",
            "2:1 unknown-key fleet.seed: unknown key ?hash_seed",
        ],
    );
}

#[test]
fn bytes_that_are_not_text() {
    let result = crate::Config::parse("f", b"[fleet]\na = \"\xff\"", &crate::UncheckedFiles);
    let findings = result.expect_err("0xFF is in no UTF-8");
    assert_eq!(findings.list.iter().map(short).collect::<Vec<_>>(), ["2:6 syntax : not UTF-8"]);
}

#[test]
fn lines_may_end_in_cr_lf() {
    check("[fleet]\r\nseed = 1\r\n", &["2:1 unknown-key fleet.seed: unknown key ?hash_seed"]);
}

#[test]
fn unknown_keys_are_told_with_the_one_that_was_meant() {
    check("[runtimes]", &["1:2 unknown-key runtimes: unknown key ?runtime"]);
    check("[runtime]\nshard = 1", &["2:1 unknown-key runtime.shard: unknown key ?shards"]);
    check_cluster(
        "timeouts = { conect = \"1s\" }",
        &["2:14 unknown-key cluster.a.timeouts.conect: unknown key ?connect"],
    );
    check_cluster(
        "limits = { requests_max = 1 }",
        &["2:12 unknown-key cluster.a.limits.requests_max: unknown key ?requests"],
    );
    check_cluster("zebra = 1", &["2:1 unknown-key cluster.a.zebra: unknown key"]);
    check_route(
        "to = \"a\"\nhosts = \"x\"",
        &["5:1 unknown-key listener.l.route[0].hosts: unknown key ?host"],
    );
}

#[test]
fn keys_and_words_of_later_versions_are_known() {
    check_listener(
        "transparent = true",
        &["2:1 not-in-this-version listener.l.transparent: transparent listeners: \
           not in this version"],
    );
    check_listener(
        "protocol = \"redis\"",
        &["2:12 not-in-this-version listener.l.protocol: not in this version"],
    );
    check_cluster(
        "health = { redis = true }",
        &["2:12 not-in-this-version cluster.a.health.redis: health checks of Redis: \
           not in this version"],
    );
    check_route(
        "to = \"a\"\nretry = { on = [\"gateway-error\"] }\nmirror = \"a\"",
        &[
            "6:1 not-in-this-version listener.l.route[0].mirror: mirroring: not in this version",
            "5:17 value listener.l.route[0].retry.on[0]: say \"502\", \"503\" and \"504\"",
        ],
    );
}

#[test]
fn words_that_are_there_under_another_name_lead_to_it() {
    for (word, instead) in [
        ("http2", "\"http\" speaks both versions: see `http2.mode`"),
        ("https", "\"http\", with `tls = { cert = ..., key = ... }` beside it"),
        ("udp", "layer 4 is [service.NAME], with `ports = [\"tcp/80\"]`"),
    ] {
        let row = format!("2:12 value listener.l.protocol: {instead}");
        check_listener(&format!("protocol = \"{word}\""), &[&row]);
    }
    check_cluster("protocol = \"http2\"", &["2:12 value cluster.a.protocol: HTTP/2 is \"h2\""]);
    check(
        "[cluster.a]\nendpoints = [\"10.0.0.1:80\"]\n[listener.l]\naddress = \"localhost:80\"\n\
         to = \"a\"",
        &["4:11 value listener.l.address: listened on are addresses, no names: \
           \":80\" (all), \"127.0.0.1:80\" or \"[::1]:80\""],
    );
}

#[test]
fn variables_of_other_proxies_are_found() {
    let at = "listener.l.route[0]";
    let places = "a variable of another proxy would go out as it stands: \
                  the places are {host}, {path} and {query}";
    check_route(
        "redirect = { to = \"https://$host$request_uri\" }",
        &[&format!("4:19 value {at}.redirect.to: {places}")],
    );
    check_route("redirect = { to = \"https://x/$metadata\" }", &[]);
    let values = "a variable of another proxy would go out as it stands: values have none here, \
                  and a filter can make some";
    check_route(
        "to = \"a\"\nrequest_headers = { set = { x = \"%[src]\" } }",
        &[&format!("5:33 value {at}.request_headers.set.x: {values}")],
    );
    check_route(
        "to = \"a\"\npath = \"/id/:id\"",
        &[&format!(
            "5:8 value {at}.path: any one segment is `*`, as in \"/id/*/x\"; it has no name"
        )],
    );
}

#[test]
fn a_tls_edge_is_right() {
    let edge = r#"
[listener.web]
address = ":443"
protocol = "http"
tls = { cert = "/etc/penstock/tls/site.pem", key = "/etc/penstock/tls/site.key" }

[[listener.web.route]]
host = "example.com"
to = "app"
timeout = "10s"

[cluster.app]
endpoints = ["10.0.0.11:8080", "10.0.0.12:8080"]
health = { http = "/healthz", interval = "5s" }
"#;
    check(edge, &[]);
}

#[test]
fn examples_of_other_protocols_are_refused_by_name() {
    check(
        r#"
[listener.grpc]
address = ":50051"
protocol = "grpc"

[[listener.grpc.route]]
service = "shop.v1.Cart"
to = "cart"

[cluster.cart]
discover = { dns = "cart.internal:50051" }
balance = "least-request"
outlier = { consecutive_errors = 5, eject_for = "30s", max_ejected = "50%" }
"#,
        &["11:1 not-in-this-version cluster.cart.discover: discovery: not in this version"],
    );
    check(
        r#"
[listener.redis]
address = "127.0.0.1:6379"
protocol = "redis"
to = "cache"

[cluster.cache]
endpoints = ["10.0.0.21:6379", "10.0.0.22:6379", "10.0.0.23:6379"]
balance = "maglev"
health = { redis = true }
"#,
        &[
            "4:12 not-in-this-version listener.redis.protocol: not in this version",
            "10:12 not-in-this-version cluster.cache.health.redis: \
             health checks of Redis: not in this version",
        ],
    );
}

#[test]
fn what_has_to_be_there_and_is_not() {
    check("[cluster.a]", &["1:1 missing cluster.a.endpoints: this key has to be set"]);
    check("[filter.f]", &["1:1 missing filter.f.wasm: this key has to be set"]);
    check(
        "[listener.l]",
        &[
            "1:1 missing listener.l.address: this key has to be set",
            "1:1 missing listener.l.to: neither `to` nor a [[route]] is set",
        ],
    );
    check_route(
        "path = \"/\"",
        &["3:1 missing listener.l.route[0].to: \
        one of `to`, `split`, `redirect`, `respond` is needed"],
    );
    check_route(
        "to = \"a\"\nrewrite = {}",
        &["5:11 missing listener.l.route[0].rewrite.prefix: one of `prefix` and `path` is needed"],
    );
}

#[test]
fn names_that_lead_nowhere() {
    check_route("to = \"b\"", &["4:6 reference listener.l.route[0].to: there is no [cluster.b]"]);
    check_route(
        "to = \"a\"\nfilters = [\"g\"]",
        &["5:12 reference listener.l.route[0].filters[0]: there is no [filter.g]"],
    );
    check(
        "[filter.f]\nwasm = \"f\"\nhttp_calls = [\"jwks\"]\n\
         [cluster.jwsk]\nendpoints = [\"[::1]:1\"]",
        &["3:15 reference filter.f.http_calls[0]: there is no [cluster.jwks] ?\"jwsk\""],
    );
    check(
        "[filter.f]\nwasm = \"f\"\ngrpc_calls = [\"a\"]\n\
         [cluster.a]\nendpoints = [\"[::1]:1\"]",
        &["3:14 reference filter.f.grpc_calls: gRPC needs [cluster.a] to have protocol = \"h2\""],
    );
    check(
        "[cluster.\"a b\"]\nendpoints = [\"[::1]:1\"]",
        &["1:1 value cluster.\"a b\": a name has letters, digits, - and _, at most 64 of them"],
    );
}

#[test]
fn settings_that_contradict_each_other() {
    check_route(
        "to = \"a\"\nrespond = {}",
        &["5:11 reference listener.l.route[0].respond: stands beside `to`; a route does one thing"],
    );
    check_route(
        "respond = {}\nrewrite = { path = \"/\" }",
        &["5:11 reference \
        listener.l.route[0].rewrite: only what is forwarded has a path to rewrite"],
    );
    check_route(
        "to = \"a\"\npath = \"/x\"\nrewrite = { prefix = \"/\" }",
        &["6:11 reference \
        listener.l.route[0].rewrite: `prefix` needs every `path` to end in \"/*\""],
    );
    check_route(
        "to = \"a\"\nfilters = [\"f\", \"f\"]",
        &["5:11 reference listener.l.route[0].filters: one filter is named twice"],
    );
    check_route(
        "to = \"a\"\n[[listener.l.route]]\nrespond = {}",
        &["5:1 reference listener.l.route[1]: never reached: route[0] matches everything"],
    );
    check_route(
        "redirect = { to = \"/x\", status = 304 }",
        &["4:34 reference listener.l.route[0].redirect.status: \
         a redirect is 301, 302, 303, 307 or 308"],
    );
    check_route(
        "respond = { status = 204, body = \"x\" }",
        &["4:34 reference listener.l.route[0].respond.body: a 204 or 304 has none"],
    );
    check_route(
        "split = [{ to = \"a\" }, { to = \"a\" }]",
        &["4:9 reference listener.l.route[0].split: one cluster is named twice"],
    );
    check_cluster(
        "hash = \"path\"",
        &["2:8 reference cluster.a.hash: only `balance = \"maglev\"` hashes"],
    );
    check(
        "[admin]\nlisten = \"127.0.0.1:1\"",
        &["2:10 reference admin.listen: TCP needs a `token_file`"],
    );
    check(
        "[admin]\nlisten = \":1\"\ntoken_file = \"t\"",
        &["2:10 reference admin.listen: \
        other machines can reach this; set `allow_remote = true` if that is meant"],
    );
    check("[runtime]\ndrain = \"10m\"", &["2:9 reference runtime.drain: longer than `drain_max`"]);
    check(
        "[filter.f]\nwasm = \"f\"\ncanary = { share = \"5%\" }",
        &["3:20 reference filter.f.canary.share: \
        needs a wasm or a config that differs from the filter's own"],
    );
    check(
        "[filter.f]\nwasm = \"f\"\ncanary = { share = \"101%\", wasm = \"g\" }\n\
        rollback = { window = \"0s\" }",
        &[
            "3:20 value filter.f.canary.share: at most 100%",
            "4:23 value filter.f.rollback.window: at least 1s",
        ],
    );
}
