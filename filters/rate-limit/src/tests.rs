//! Tests of the filter's own code, against the SDK's host double.

use core::time::Duration;

use penstock::testing::{Exchange, Instance};

use super::RateLimit;
use super::bucket::{Decision, Rate};

const TEN_A_MINUTE: &str = r#"{ "limits": [
    { "name": "caller", "key": ["header:x-key"], "requests": 10, "per_seconds": 60, "burst": 3 }
] }"#;

fn ask<'f>(filter: &'f Instance<RateLimit>, key: &str) -> Exchange<'f, RateLimit> {
    filter.request(&[(":method", "GET"), (":path", "/"), ("x-key", key)])
}

#[test]
fn a_bucket_grants_its_burst_and_then_its_rate() {
    let rate = Rate::new(10, 60, 3);
    let second = 1_000_000_000;
    let mut full_at = 0;
    let mut take = |now: u64| {
        let (next, decision) = rate.take(full_at, now * second);
        full_at = next;
        decision
    };
    let granted = |left, reset| Decision::Granted { left, reset: Duration::from_secs(reset) };
    let refused = |after| Decision::Refused { retry_after: Duration::from_secs(after) };
    assert_eq!(take(100), granted(2, 6));
    assert_eq!(take(100), granted(1, 12));
    assert_eq!(take(100), granted(0, 18));
    assert_eq!(take(100), refused(6));
    assert_eq!(take(105), refused(1));
    assert_eq!(take(106), granted(0, 18));
    assert_eq!(take(107), refused(5));
    // Never more than the burst, however long it was quiet.
    assert_eq!(take(10_000), granted(2, 6));
}

#[test]
fn no_window_grants_more_than_its_burst_and_its_rate() {
    let rate = Rate::new(7, 3, 5);
    let (mut full_at, mut now, mut granted) = (0, 0, 0_u64);
    // Steps that share no factor with the interval.
    for step in 0..20_000_u64 {
        now += 17_000_003 * (step % 5);
        let (next, decision) = rate.take(full_at, now);
        full_at = next;
        granted += u64::from(matches!(decision, Decision::Granted { .. }));
    }
    // 7 per 3 s is one per 428.571 ms.
    let allowed = 5 + now / 428_571_428;
    assert!((allowed - 1..=allowed).contains(&granted), "{granted} of {allowed}");
}

#[test]
fn a_caller_over_the_limit_is_told_when_to_come_back() {
    let filter = Instance::<RateLimit>::new(TEN_A_MINUTE).unwrap();
    for left in ["2", "1", "0"] {
        let mut exchange = ask(&filter, "a");
        assert!(exchange.went_on());
        exchange.respond(200, &[("ratelimit", "of the upstream's")], true);
        let state = exchange.response_header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"caller\";r={left};t=")), "{state}");
        let policy = exchange.response_header("ratelimit-policy");
        assert_eq!(policy.as_deref(), Some("\"caller\";q=10;w=60"));
    }
    filter.advance(Duration::from_millis(500));
    let answer = ask(&filter, "a").answer().unwrap();
    assert_eq!((answer.status(), answer.cause()), (429, "rate_limited"));
    assert_eq!(answer.header("retry-after").as_deref(), Some("6"));
    assert_eq!(answer.header("ratelimit").as_deref(), Some("\"caller\";r=0;t=6"));
    assert!(ask(&filter, "b").went_on(), "another key has a bucket of its own");
    filter.advance(Duration::from_secs(6));
    assert!(ask(&filter, "a").went_on());
    assert_eq!(filter.metric("limited"), Some(1));
}

#[test]
fn shards_share_buckets_also_when_they_collide() {
    let first = Instance::<RateLimit>::new(TEN_A_MINUTE).unwrap();
    let second = Instance::<RateLimit>::new(TEN_A_MINUTE).unwrap();
    assert!(ask(&first, "a").went_on());
    first.set_rivals(2);
    assert!(ask(&second, "a").went_on());
    assert!(ask(&first, "a").went_on());
    assert!(ask(&second, "a").answer().is_some());
    // A key that never settles is not judged, and is not refused either.
    first.set_rivals(1000);
    assert!(ask(&first, "b").went_on());
    assert!(ask(&first, "b").went_on());
    assert_eq!(first.metric("unjudged"), Some(1));
}

#[test]
fn keys_are_what_the_operator_says() {
    #[track_caller]
    fn check(
        key: &str,
        first: (&str, &[(&str, &str)]),
        second: (&str, &[(&str, &str)]),
        same: bool,
    ) {
        let limit = format!(r#"{{ "limits": [{{ "name": "x", "key": {key}, "requests": 1 }}] }}"#);
        let filter = Instance::<RateLimit>::new(&limit).unwrap();
        let ask = |(source, fields): (&str, &[(&str, &str)])| {
            filter.set_property(&["source", "address"], source);
            let mut all = vec![(":method", "GET"), (":path", "/"), (":authority", "a")];
            all.retain(|(name, _)| fields.iter().all(|(other, _)| other != name));
            all.extend_from_slice(fields);
            filter.request(&all).went_on()
        };
        assert!(ask(first));
        assert_eq!(ask(second), !same, "{key} {first:?} {second:?}");
    }
    check(r#"["ip"]"#, ("192.0.2.1:80", &[]), ("192.0.2.1:81", &[]), true);
    check(r#"["ip"]"#, ("192.0.2.1:80", &[]), ("192.0.2.2:80", &[]), false);
    check(r#"["ip"]"#, ("192.0.2.1:80", &[]), ("[::ffff:192.0.2.1]:80", &[]), true);
    check(r#"["ip"]"#, ("[2001:db8::1]:80", &[]), ("[2001:db8::2]:80", &[]), true);
    check(r#"["ip"]"#, ("[2001:db8::1]:80", &[]), ("[2001:db8:0:1::1]:80", &[]), false);
    check(r#"["path"]"#, ("", &[(":path", "/a?x")]), ("", &[(":path", "/a?y")]), true);
    check(r#"["path"]"#, ("", &[(":path", "/a")]), ("", &[(":path", "/b")]), false);
    check(r#"["cookie:s"]"#, ("", &[("cookie", "s=1; t=1")]), ("", &[("cookie", "s=1")]), true);
    check(r#"["header:x-a"]"#, ("", &[]), ("", &[]), true);
    check(r#"["header:X-A"]"#, ("", &[("x-a", "1")]), ("", &[("x-a", "2")]), false);
    check(r#"["method", "host"]"#, ("", &[]), ("", &[(":method", "PUT")]), false);
    check(r#"["method", "host"]"#, ("", &[]), ("", &[(":authority", "b")]), false);
    check("[]", ("192.0.2.1:80", &[]), ("192.0.2.2:80", &[(":path", "/b")]), true);
    // Parts do not run into each other.
    let (first, second) = ([("x-a", "12"), ("x-b", "3")], [("x-a", "1"), ("x-b", "23")]);
    check(r#"["header:x-a", "header:x-b"]"#, ("", &first), ("", &second), false);
}

#[test]
fn the_tightest_of_several_limits_is_told() {
    let filter = Instance::<RateLimit>::new(
        r#"{ "limits": [
            { "name": "all", "key": [], "requests": 100 },
            { "name": "caller", "key": ["header:x-key"], "requests": 2 }
        ] }"#,
    )
    .unwrap();
    let mut exchange = ask(&filter, "a");
    exchange.respond(200, &[], true);
    assert_eq!(exchange.response_header("ratelimit").as_deref(), Some("\"caller\";r=1;t=1"));
}

#[test]
fn the_number_of_buckets_is_fixed_and_the_fullest_makes_room() {
    let limit = r#"{ "limits": [
        { "name": "x", "key": ["header:x-key"], "requests": 2, "per_seconds": 60, "keys_max": 4 }
    ] }"#;
    let filter = Instance::<RateLimit>::new(limit).unwrap();
    // `a` has the emptiest bucket of the four.
    for key in ["a", "a", "b", "c", "d"] {
        assert!(ask(&filter, key).went_on(), "{key}");
        filter.advance(Duration::from_millis(1));
    }
    for index in 0..100 {
        assert!(ask(&filter, &format!("other {index}")).went_on());
    }
    assert!(ask(&filter, "a").answer().is_some(), "the emptiest bucket stays");
    assert_eq!(filter.shared_keys(), ["rate-limit seed", "rate-limit x 0"]);
}

#[test]
fn a_shard_that_started_with_another_seed_takes_the_common_one() {
    let filter = Instance::<RateLimit>::new(TEN_A_MINUTE).unwrap();
    assert_eq!(filter.tick_period(), Duration::from_secs(1));
    penstock::Shared::<u64>::new("rate-limit seed").store(&1).unwrap();
    filter.tick();
    assert_eq!(filter.tick_period(), Duration::ZERO);
    let other = Instance::<RateLimit>::new(TEN_A_MINUTE).unwrap();
    for filter in [&filter, &other, &filter] {
        assert!(ask(filter, "a").went_on());
    }
    assert!(ask(&other, "a").answer().is_some());
}

#[test]
fn a_wrong_configuration_says_where() {
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let error = Instance::<RateLimit>::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    check("{}", "missing field `limits`");
    check(r#"{"limits":[]}"#, "limits: at least one");
    check(r#"{"limits":[{"name":"a b","requests":1}]}"#, "limits[0].name: \"a b\": letters");
    check(r#"{"limits":[{"name":"a","requests":0}]}"#, "limits[0].requests: 0: from 1 to 1000000");
    check(r#"{"limits":[{"name":"a","requests":1,"burst":0}]}"#, "limits[0].burst: 0: from 1");
    let twice = r#"{"limits":[{"name":"a","requests":1},{"name":"a","requests":2}]}"#;
    check(twice, "limits[1].name: \"a\": another limit has this name");
    let key = r#"{"limits":[{"name":"a","requests":1,"key":["ip","header:"]}]}"#;
    check(key, "limits[0].key[1]: \"header:\": ip, path,");
    check(r#"{"limits":[{"name":"a","requests":-1}]}"#, "limits[0].requests: invalid value");
}
