//! The shipped modules, as they are committed, over the real host.
//!
//! What each filter does in every case is held by its own unit tests; here is what only a module
//! can show: that it links and starts, that values cross the border both ways, that callouts,
//! timers and shared data reach it, and what a request costs.

use std::time::Duration;

use penstock_filters_sdk_testing::FilterTest;
use serde_json::{Value, json};

const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/a?b"), (":authority", "h")];

macro_rules! shipped {
    ($name:literal) => {
        FilterTest::new(include_bytes!(concat!("../../../filters/compiled/", $name, ".wasm")))
    };
}

fn get<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [GET, fields].concat()
}

#[test]
fn header_edit_edits_both_ways() {
    let test = shipped!("header-edit").config(
        r#"{
            "request": { "remove": ["x-debug"], "set": { "x-a": "1", "x-b": "2" } },
            "response": { "remove": ["server"], "add": { "x-c": "3" } }
        }"#,
    );
    for _ in 0..3 {
        test.request(&get(&[("x-debug", "1"), ("x-a", "0"), ("x-debug", "2")]))
            .expect_continue()
            .expect_no_header("x-debug")
            .expect_header("x-a", "1")
            .expect_header("x-b", "2")
            .respond(200, &[("server", "origin")])
            .expect_continue()
            .expect_no_response_header("server")
            .expect_response_header("x-c", "3")
            .expect_fuel_max(2_000);
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_path_in_the_log() {
    let test = shipped!("header-edit").config(r#"{ "requests": {} }"#);
    assert!(test.load().is_err());
    let line = test.lines().join("\n");
    assert!(line.starts_with("Error: configuration: requests: unknown field `requests`"), "{line}");
}

/// Keys and tokens of each algorithm, made by another library (Python's cryptography) for this
/// test alone. The tokens are good until 2096.
fn tokens() -> Value {
    serde_json::from_str(include_str!("tokens.json")).expect("the file is JSON")
}

#[test]
fn jwt_auth_verifies_what_another_library_signed() {
    let made = tokens();
    let mut keys = made["keys"].as_array().unwrap().clone();
    keys.push(made["secret"].clone());
    let config = json!({ "audience": "orders", "keys": { "keys": keys } });
    let test = shipped!("jwt-auth").config(&config.to_string());
    for algorithm in ["HS256", "RS256", "ES256"] {
        let token = made["tokens"][algorithm].as_str().unwrap();
        let bearer = format!("Bearer {token}");
        let ask = || test.request(&get(&[("authorization", &bearer)]));
        ask().expect_continue().expect_fuel_max(25_000_000);
        // The second time the cache knows it.
        ask().expect_continue().expect_fuel_max(10_000);
        let (signed, signature) = bearer.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{signed}.{other}{}", &signature[1..]);
        test.request(&get(&[("authorization", &forged)]))
            .expect_answer(401)
            .expect_cause("jwt_signature");
    }
}

#[test]
fn jwt_auth_fetches_keys_by_its_timer_and_when_a_request_needs_them() {
    let made = tokens();
    let config = r#"{
        "issuer": "https://login.example.com/",
        "fetch": { "cluster": "login", "path": "/jwks", "refresh_seconds": 60 },
        "forward": { "sub": "x-user" }
    }"#;
    let test = shipped!("jwt-auth").cluster("login").config(config);
    let bearer = format!("Bearer {}", made["tokens"]["ES256"].as_str().unwrap());
    let fields = get(&[("authorization", bearer.as_str()), ("x-user", "forged")]);
    let set = |index: usize| json!({ "keys": [made["keys"][index]] }).to_string();

    let waiting = test.request(&fields).expect_wait().expect_call("login", "/jwks");
    test.advance(Duration::from_millis(1));
    test.expect_call("login", "/jwks").reply(200, &[], set(0));
    waiting.reply(200, &[], set(1)).expect_continue().expect_header("x-user", "ada");
    test.request(&fields).expect_continue();

    // The issuer is down: the keys stay.
    test.advance(Duration::from_secs(60));
    test.expect_call("login", "/jwks").fail_call();
    test.request(&fields).expect_continue();
    // It is back, with another key: the token's key is gone, and asking once more is refused.
    test.advance(Duration::from_secs(1));
    test.expect_call("login", "/jwks").reply(200, &[], set(0)).expect_no_call();
    test.advance(Duration::from_secs(30));
    let asks = test.request(&fields).expect_wait().expect_call("login", "/jwks");
    asks.fail_call().expect_answer(401).expect_cause("jwt_unknown_key");
}

#[test]
fn rate_limit_counts_and_refuses() {
    let test = shipped!("rate-limit")
        .config(r#"{ "limits": [{ "name": "ip", "requests": 2, "per_seconds": 10 }] }"#)
        .property("source.address", "192.0.2.1:4711");
    test.request(GET)
        .expect_continue()
        .respond(200, &[])
        .expect_response_header("ratelimit", "\"ip\";r=1;t=5")
        .expect_response_header("ratelimit-policy", "\"ip\";q=2;w=10");
    test.request(GET).expect_continue().expect_fuel_max(20_000);
    test.request(GET)
        .expect_answer(429)
        .expect_cause("rate_limited")
        .expect_answer_header("retry-after", "5");
    test.set_property("source.address", "192.0.2.2:4711");
    test.request(GET).expect_continue();
    test.advance(Duration::from_secs(5));
    test.set_property("source.address", "192.0.2.1:4711");
    test.request(GET).expect_continue();
    assert_eq!(test.metric("limited"), Some(1));
}

#[test]
fn canary_route_decides_by_sign_and_by_share() {
    let test = shipped!("canary-route").config(
        r#"{
            "key": ["header:x-user", "ip"],
            "variants": [{
                "name": "canary", "percent": 73, "when": [{ "cookie": "beta", "value": "1" }]
            }]
        }"#,
    );
    let variant = |fields: &[(&str, &str)], expected: &str| {
        test.request(&get(fields)).expect_continue().expect_header("x-variant", expected);
    };
    variant(&[("cookie", "beta=1")], "canary");
    variant(&[("x-variant", "canary")], "stable");
    // Shares by the hash that the filter's own tests pin: 0.7227 of the whole, and 0.9403.
    variant(&[("x-user", "")], "canary");
    variant(&[("x-user", "192.0.2.1")], "stable");
}

#[test]
fn ip_tag_finds_the_longest_prefix() {
    let test = shipped!("ip-tag").config(
        r#"{
            "tags": { "net": ["192.0.2.0/24"], "host": ["192.0.2.7"], "bad": ["2001:db8::/32"] },
            "deny": ["bad"]
        }"#,
    );
    test.set_property("source.address", "192.0.2.7:1");
    test.request(&get(&[("x-ip-tag", "forged")])).expect_header("x-ip-tag", "host");
    test.set_property("source.address", "192.0.2.8:1");
    test.request(GET).expect_header("x-ip-tag", "net").expect_fuel_max(10_000);
    test.set_property("source.address", "[2001:db8::1]:1");
    test.request(GET).expect_answer(403).expect_cause("ip_denied");
    test.set_property("source.address", "198.51.100.1:1");
    test.request(&get(&[("x-ip-tag", "forged")])).expect_no_header("x-ip-tag");
}

#[test]
fn access_metrics_counts_when_the_exchange_is_over() {
    let test = shipped!("access-metrics").property("xds.route_name", "api");
    test.set_property("request.duration", 5_000_000_u64.to_le_bytes());
    for status in [200, 204, 503] {
        test.request(GET).respond(status, &[]).expect_continue().finish();
    }
    test.request(GET).finish();
    assert_eq!(test.metric("requests.api.2xx"), Some(2));
    assert_eq!(test.metric("requests.api.5xx"), Some(1));
    assert_eq!(test.metric("requests.api.none"), Some(1));
}
