//! Tests of the filter's own code, against the SDK's host double.

use penstock::testing::Instance;

use super::{CanaryRoute, share};

fn filter(variants: &str) -> Instance<CanaryRoute> {
    let config = format!(r#"{{ "key": ["header:x-user", "ip"], "variants": {variants} }}"#);
    Instance::new(&config).unwrap()
}

fn variant(filter: &Instance<CanaryRoute>, fields: &[(&str, &str)]) -> String {
    let mut all = vec![(":path", "/"), ("x-variant", "forged")];
    all.extend_from_slice(fields);
    let exchange = filter.request(&all);
    assert!(exchange.went_on());
    exchange.request_header("x-variant").unwrap()
}

fn of_user(filter: &Instance<CanaryRoute>, user: u32) -> String {
    variant(filter, &[("x-user", &format!("user-{user}"))])
}

#[test]
fn shares_are_what_they_say() {
    let filter = filter(r#"[{"name":"a","percent":5},{"name":"b","percent":20.5}]"#);
    let users: Vec<String> = (0..20_000).map(|user| of_user(&filter, user)).collect();
    let count = |name| users.iter().filter(|variant| *variant == name).count();
    // Three standard deviations of a binomial of 20,000: 92 and 171.
    assert!(count("a").abs_diff(1000) < 92, "{}", count("a"));
    assert!(count("b").abs_diff(4100) < 171, "{}", count("b"));
    assert_eq!(count("a") + count("b") + count("stable"), 20_000);
}

#[test]
fn a_caller_stays_and_a_larger_share_moves_callers_in_only() {
    let before = filter(r#"[{"name":"a","percent":5}]"#);
    let after = filter(r#"[{"name":"a","percent":10}]"#);
    for user in 0..2000 {
        assert_eq!(of_user(&before, user), of_user(&before, user));
        if of_user(&before, user) == "a" {
            assert_eq!(of_user(&after, user), "a");
        }
    }
}

#[test]
fn the_hash_never_changes() {
    // Appliances of different versions must decide alike: these numbers are a promise. They were
    // computed by a second implementation.
    let shares = [share("", b""), share("", b"192.0.2.1"), share("salt", b"user-1")];
    assert_eq!(shares, [7227, 9403, 6133]);
}

#[test]
fn nobody_and_everybody_are_possible() {
    let none = filter(r#"[{"name":"a","percent":0}]"#);
    let all = filter(r#"[{"name":"a","percent":50},{"name":"b","percent":50}]"#);
    for user in 0..1000 {
        assert_eq!(of_user(&none, user), "stable");
        assert_ne!(of_user(&all, user), "stable");
    }
}

#[test]
fn a_sign_comes_before_the_share() {
    let signs = r#"[
        {"name":"a","when":[{"header":"X-Tester","value":"yes"},{"cookie":"beta","value":"1"}]},
        {"name":"b","percent":100,"when":[{"header":"x-b","value":"1"}]}
    ]"#;
    let filter = filter(signs);
    assert_eq!(variant(&filter, &[("x-tester", "yes")]), "a");
    assert_eq!(variant(&filter, &[("x-tester", "no"), ("x-user", "1")]), "b");
    assert_eq!(variant(&filter, &[("cookie", "x=y; beta=1")]), "a");
    assert_eq!(variant(&filter, &[("x-b", "1")]), "b");
}

#[test]
fn the_key_is_the_first_part_that_is_there() {
    let filter = filter(r#"[{"name":"a","percent":100}]"#);
    // Nothing to tell callers apart by: the default, not a lottery.
    assert_eq!(variant(&filter, &[]), "stable");
    assert_eq!(variant(&filter, &[("x-user", "1")]), "a");
    filter.set_property(&["source", "address"], "192.0.2.1:1");
    assert_eq!(variant(&filter, &[]), "a");
}

#[test]
fn a_wrong_configuration_says_where() {
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let error = Instance::<CanaryRoute>::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    check("{}", "missing field `variants`");
    check(r#"{"variants":[],"key":["uri"]}"#, "key[0]: \"uri\": ip, header:NAME or cookie:NAME");
    check(r#"{"variants":[{"name":"a","percent":101}]}"#, "variants[0].percent: 101: from 0");
    let sum = r#"{"variants":[{"name":"a","percent":60},{"name":"b","percent":41}]}"#;
    check(sum, "variants[1].percent: more than 100 together");
    check(r#"{"variants":[{"name":"stable"}]}"#, "variants[0].name: \"stable\" is there already");
    check(r#"{"variants":[{"name":"a\r\nb"}]}"#, "variants[0].name: \"a\\r\\nb\": small letters");
    let sign = r#"{"variants":[{"name":"a","when":[{"value":"1"}]}]}"#;
    check(sign, "variants[0].when[0]: `header` or `cookie`, one of them");
    check(r#"{"variants":[{"name":"a","percent":"5%"}]}"#, "variants[0].percent: invalid type");
}
