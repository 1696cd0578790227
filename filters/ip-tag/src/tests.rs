//! Tests of the filter's own code, against the SDK's host double.

use std::net::IpAddr;

use penstock::testing::Instance;

use super::IpTag;
use super::networks::{Network, Networks};

const CONFIG: &str = r#"{
    "tags": {
        "office": ["192.0.2.0/24", "2001:db8:1::/48"],
        "vpn": ["192.0.2.128/25"],
        "boss": ["192.0.2.200"],
        "blocked": ["203.0.113.7", "2001:db8:bad::/64"]
    },
    "deny": ["blocked"]
}"#;

#[track_caller]
fn check(source: &str, expected: Option<&str>) {
    let filter = Instance::<IpTag>::new(CONFIG).unwrap();
    filter.set_property(&["source", "address"], source);
    let exchange = filter.request(&[(":path", "/"), ("x-ip-tag", "forged")]);
    assert!(exchange.went_on());
    assert_eq!(exchange.request_header("x-ip-tag").as_deref(), expected, "{source}");
}

#[test]
fn the_longest_prefix_decides() {
    check("192.0.2.1:4711", Some("office"));
    check("192.0.2.127:4711", Some("office"));
    check("192.0.2.128:4711", Some("vpn"));
    check("192.0.2.200:4711", Some("boss"));
    check("192.0.3.0:4711", None);
    check("[2001:db8:1:ffff::1]:80", Some("office"));
    check("[2001:db8:2::1]:80", None);
    check("[::ffff:192.0.2.200]:80", Some("boss"));
    check("192.0.2.1", Some("office"));
    check("unix:/run/x", None);
}

#[test]
fn a_tag_can_be_denied() {
    let filter = Instance::<IpTag>::new(CONFIG).unwrap();
    for source in ["203.0.113.7:1", "[::ffff:203.0.113.7]:1", "[2001:db8:bad::1]:1"] {
        filter.set_property(&["source", "address"], source);
        let answer = filter.request(&[(":path", "/")]).answer().unwrap();
        assert_eq!((answer.status(), answer.cause()), (403, "ip_denied"));
    }
    assert_eq!(filter.metric("denied"), Some(3));
}

#[test]
fn behind_proxies_of_ones_own_the_list_is_counted_from_the_right() {
    #[track_caller]
    fn check(hops: usize, fields: &[(&str, &str)], expected: Option<&str>) {
        let config = CONFIG.replacen('{', &format!("{{ \"trusted_hops\": {hops},"), 1);
        let filter = Instance::<IpTag>::new(&config).unwrap();
        filter.set_property(&["source", "address"], "192.0.2.1:1");
        let tag = filter.request(fields).request_header("x-ip-tag");
        assert_eq!(tag.as_deref(), expected, "{hops} {fields:?}");
    }
    let list = &[("x-forwarded-for", "192.0.2.200, 192.0.2.129 ,192.0.2.2")][..];
    check(0, list, Some("office"));
    check(1, list, Some("office"));
    check(2, list, Some("vpn"));
    check(3, list, Some("boss"));
    check(4, list, None);
    check(2, &[("x-forwarded-for", "192.0.2.200"), ("x-forwarded-for", "::1")], Some("boss"));
    check(1, &[("x-forwarded-for", "unknown")], None);
    check(1, &[], None);
}

#[test]
fn networks_are_read_strictly() {
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let read = Network::parse(text).map(|network| network.to_string());
        assert_eq!(read.as_deref().map_err(|reason| *reason), expected);
    }
    check("10.0.0.0/8", Ok("10.0.0.0/8"));
    check("10.1.2.3", Ok("10.1.2.3/32"));
    check("0.0.0.0/0", Ok("0.0.0.0/0"));
    check("::/0", Ok("::/0"));
    check("2001:DB8::/32", Ok("2001:db8::/32"));
    check("10.1.2.3/8", Err("the address has bits beyond the length"));
    check("10.0.0.0/33", Err("the length is more than the address has bits"));
    check("10.0.0.0/x", Err("the length after / is not a number"));
    check("10.0.0/8", Err("not an address"));
    check("", Err("not an address"));
}

#[test]
fn a_table_finds_what_a_look_at_every_network_finds() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as u32
    };
    let mut texts: Vec<String> = (0..300)
        .map(|_| {
            let length = 8 + next() % 25;
            // Few first bytes, so that networks lie within each other.
            let bits = (next() % 4) << 24 | next() >> 8;
            let bits = bits & u32::MAX << (32 - length);
            format!("{}/{length}", std::net::Ipv4Addr::from(bits))
        })
        .collect();
    texts.sort();
    texts.dedup();
    let parse = |(entry, text): (usize, &String)| (Network::parse(text).unwrap(), entry);
    let table = Networks::new(texts.iter().enumerate().map(parse).collect()).unwrap();
    for _ in 0..2000 {
        let address = (next() % 4) << 24 | next() >> 8;
        let inside = |text: &&String| {
            let (network, length) = text.split_once('/').unwrap();
            let network = u32::from(network.parse::<std::net::Ipv4Addr>().unwrap());
            network == address & u32::MAX << (32 - length.parse::<u32>().unwrap())
        };
        let longest = |text: &&String| text.split_once('/').unwrap().1.parse::<u32>().unwrap();
        let expected = texts.iter().filter(inside).max_by_key(longest);
        let found = table.find(IpAddr::from(address.to_be_bytes())).map(|entry| &texts[entry]);
        assert_eq!(found, expected);
    }
}

#[test]
fn a_wrong_configuration_says_where() {
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let error = Instance::<IpTag>::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    check("{}", "missing field `tags`");
    check(r#"{"tags":{"a":["::1","10.0.0.1/8"]}}"#, "tags.a[1]: \"10.0.0.1/8\": the address has");
    check(r#"{"tags":{"a":["::1"],"b":["::1/128"]}}"#, "tags: ::1/128 is both \"a\" and \"b\"");
    check(r#"{"tags":{"A":["::1"]}}"#, "tags.A: \"A\": small letters");
    check(r#"{"tags":{},"deny":["a"]}"#, "deny[0]: \"a\": there is no such tag");
    check(r#"{"tags":{},"header":"x y"}"#, "header: \"x y\": small letters");
}
