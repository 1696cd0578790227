//! Tests of keys that come from the issuer.

use core::time::Duration;

use penstock::testing::{Exchange, Instance};
use serde_json::{Value, json};

use super::{es256_key, good, hs256_key, rs256_key};
use crate::JwtAuth;

fn filter() -> Instance<JwtAuth> {
    let config = json!({
        "issuer": "us",
        "fetch": { "cluster": "login", "path": "/jwks", "refresh_seconds": 60 },
    });
    Instance::new(&config.to_string()).unwrap()
}

fn ask<'f>(filter: &'f Instance<JwtAuth>, token: &str) -> Exchange<'f, JwtAuth> {
    let bearer = format!("Bearer {token}");
    filter.request(&[(":method", "GET"), (":path", "/"), ("authorization", &bearer)])
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

#[test]
fn keys_are_fetched_at_once_and_then_again_and_again() {
    let filter = filter();
    assert_eq!(filter.tick_period(), Duration::from_millis(1));
    filter.tick();
    assert_eq!(filter.calls()[0].to_string(), "login GET /jwks");
    assert_eq!(filter.calls()[0].header(":authority").as_deref(), Some("login"));
    filter.reply(200, &[], set(&[rs256_key()]));
    assert_eq!(filter.tick_period(), Duration::from_secs(60));
    assert!(ask(&filter, &good("RS256", "r")).went_on());

    // The key is withdrawn: its tokens go with it, the cached one too.
    filter.advance(Duration::from_secs(60));
    filter.tick();
    filter.reply(200, &[], set(&[es256_key()]));
    assert!(ask(&filter, &good("ES256", "e")).went_on());
    let withdrawn = ask(&filter, &good("RS256", "r"));
    filter.fail_call();
    assert_eq!(withdrawn.answer().unwrap().cause(), "jwt_unknown_key");
}

#[test]
fn a_request_that_comes_before_the_keys_waits_for_them() {
    let filter = filter();
    let waiting = ask(&filter, &good("RS256", "r"));
    let unlucky = ask(&filter, &good("RS256", "r"));
    assert!(waiting.waits() && unlucky.waits());
    filter.reply(200, &[], set(&[rs256_key()]));
    assert!(waiting.went_on());
    // The second one's own reply does not matter any more.
    filter.fail_call();
    assert!(unlucky.went_on());
}

#[test]
fn without_keys_a_request_is_not_judged() {
    for (status, body) in [(500, "{}"), (200, "<html>"), (200, r#"{"keys":[]}"#)] {
        let filter = filter();
        let exchange = ask(&filter, &good("RS256", "r"));
        filter.reply(status, &[], body);
        let answer = exchange.answer().unwrap();
        assert_eq!((answer.status(), answer.cause()), (503, "jwt_no_keys"));
        assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    }
    let filter = filter();
    filter.set_clusters(&[]);
    let exchange = ask(&filter, &good("RS256", "r"));
    filter.fail_call();
    assert_eq!(exchange.answer().unwrap().status(), 503);
}

#[test]
fn an_unknown_key_is_asked_for_twice_a_minute_and_no_more() {
    let filter = filter();
    filter.tick();
    filter.reply(200, &[], set(&[rs256_key()]));
    let rotated = ask(&filter, &good("ES256", "e"));
    assert!(rotated.waits());
    filter.reply(200, &[], set(&[rs256_key(), es256_key()]));
    assert!(rotated.went_on());

    let made_up = good("ES256", "made-up");
    assert_eq!(ask(&filter, &made_up).answer().unwrap().cause(), "jwt_unknown_key");
    assert!(filter.calls().is_empty());
    filter.advance(Duration::from_secs(30));
    assert!(ask(&filter, &made_up).waits());
}

#[test]
fn a_fetch_that_fails_keeps_the_keys_and_is_tried_again_ever_later() {
    let filter = filter();
    filter.tick();
    filter.reply(200, &[], set(&[rs256_key()]));
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        filter.advance(Duration::from_secs(60));
        filter.tick();
        filter.fail_call();
        assert_eq!(filter.tick_period(), Duration::from_secs(seconds));
        assert!(ask(&filter, &good("RS256", "r")).went_on());
    }
    filter.tick();
    filter.reply(200, &[], set(&[rs256_key()]));
    assert_eq!(filter.tick_period(), Duration::from_secs(60));
}

#[test]
fn one_shard_fetches_for_all_and_for_the_instances_to_come() {
    let first = filter();
    let second = filter();
    first.tick();
    first.reply(200, &[], set(&[rs256_key()]));
    second.tick();
    assert!(second.calls().is_empty(), "the other shard was faster");
    assert!(ask(&second, &good("RS256", "r")).went_on());
    let after_a_reload = filter();
    assert!(ask(&after_a_reload, &good("RS256", "r")).went_on());
}

#[test]
fn a_published_secret_is_no_key() {
    let filter = filter();
    filter.tick();
    filter.reply(200, &[], set(&[hs256_key(), rs256_key(), json!({ "kty": "RSA" })]));
    let exchange = ask(&filter, &good("HS256", "h"));
    filter.fail_call();
    assert_eq!(exchange.answer().unwrap().cause(), "jwt_unknown_key");
    assert!(ask(&filter, &good("RS256", "r")).went_on());
}
