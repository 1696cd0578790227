//! What values mean: patterns, networks, units, each as rows.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use crate::values::units::{duration_from_text, duration_to_text};
use crate::{
    BadText, ByteSize, Cidr, GrpcService, HostPattern, ListenAddress, PathPattern, Ratio, Template,
    TextMatch,
};

#[track_caller]
fn read<T: FromStr<Err = BadText> + Display + Debug>(text: &str) -> T {
    let value: T = text.parse().unwrap_or_else(|problem| panic!("{text}: {problem}"));
    assert_eq!(value.to_string(), text, "written as it was read");
    value
}

#[test]
fn hosts() {
    let check = |pattern: &str, host: &str, expected: bool| {
        assert_eq!(read::<HostPattern>(pattern).matches(host), expected, "{pattern} {host}");
    };
    check("example.com", "example.com", true);
    check("example.com", "EXAMPLE.com", true);
    check("example.com", "a.example.com", false);
    check("*.example.com", "a.example.com", true);
    check("*.example.com", "a.B.Example.com", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", ".example.com", false);
    check("*.example.com", "badexample.com", false);
    check("[::1]", "[::1]", true);
}

#[test]
fn paths() {
    let check = |pattern: &str, path: &str, expected: bool| {
        assert_eq!(read::<PathPattern>(pattern).matches(path), expected, "{pattern} {path}");
    };
    check("/a", "/a", true);
    check("/a", "/a/", false);
    check("/%C3%A4", "/%C3%A4", true);
    check("/a/*", "/a", true);
    check("/a/*", "/a/", true);
    check("/a/*", "/a/b/c", true);
    check("/a/*", "/ab", false);
    check("/*", "/", true);
    check("/*", "/anything/at/all", true);
    check("/users/*/avatar", "/users/7/avatar", true);
    check("/users/*/avatar", "/users//avatar", false);
    check("/users/*/avatar", "/users/7/8/avatar", false);
    check("/users/*/avatar", "/users/7/avatar/x", false);
    check("/users/*/**", "/users/7/x/y", true);
    check("/users/*/**", "/users/7", false);
}

#[test]
fn services() {
    let check = |pattern: &str, path: &str, expected: bool| {
        assert_eq!(read::<GrpcService>(pattern).matches(path), expected, "{pattern} {path}");
    };
    check("shop.v1.Cart", "/shop.v1.Cart/Add", true);
    check("shop.v1.Cart", "/shop.v1.Cart/", false);
    check("shop.v1.Cart", "/shop.v1.Cart", false);
    check("shop.v1.Cart", "/shop.v1.Carts/Add", false);
    check("shop.v1.Cart", "/x/shop.v1.Cart/Add", false);
    check("shop.v1.Cart/Add", "/shop.v1.Cart/Add", true);
    check("shop.v1.Cart/Add", "/shop.v1.Cart/AddAll", false);
    check("Echo", "/Echo/Say", true);
}

#[test]
fn texts() {
    let check = |pattern: &str, value: Option<&str>, expected: bool| {
        let matches = read::<TextMatch>(pattern).matches(value.map(str::as_bytes));
        assert_eq!(matches, expected, "{pattern} {value:?}");
    };
    check("abc", Some("abc"), true);
    check("abc", Some("abcd"), false);
    check("abc", None, false);
    check("abc*", Some("abcd"), true);
    check("*bcd", Some("abcd"), true);
    check("*bc*", Some("abcd"), true);
    check("*bc*", Some("b"), false);
    check("", Some(""), true);
    check("", Some("x"), false);
    assert!(TextMatch::Present.matches(Some(b"")) && !TextMatch::Present.matches(None));
    assert!(TextMatch::Absent.matches(None) && !TextMatch::Absent.matches(Some(b"")));
}

#[test]
fn networks() {
    let check = |network: &str, address: &str, expected: bool| {
        let address = address.parse().expect("the row has an address");
        let network: Cidr = network.parse().expect("the row has a network");
        assert_eq!(network.contains(address), expected, "{network} {address}");
    };
    check("10.0.0.0/8", "10.255.0.1", true);
    check("10.0.0.0/8", "11.0.0.1", false);
    check("10.0.0.0/8", "::ffff:10.0.0.1", true);
    check("0.0.0.0/0", "1.2.3.4", true);
    check("0.0.0.0/0", "::1", false);
    check("10.0.0.1", "10.0.0.1", true);
    check("10.0.0.1/32", "10.0.0.2", false);
    check("fd00::/8", "fd12::1", true);
    check("::/0", "2001:db8::1", true);
    check("::1/128", "::2", false);
}

#[test]
fn sizes_ratios_and_durations() {
    assert_eq!(read::<ByteSize>("64KiB"), ByteSize::kib(64));
    assert_eq!(read::<ByteSize>("1500"), ByteSize::bytes(1_500));
    assert_eq!(read::<ByteSize>("0"), ByteSize::bytes(0));
    assert_eq!("1024KiB".parse(), Ok(ByteSize::mib(1)));
    assert_eq!("99999999999GiB".parse::<ByteSize>(), Err(BadText("too large")));
    assert_eq!(read::<Ratio>("5%"), Ratio::percent(5));
    assert_eq!(read::<Ratio>("12.5%").as_basis_points(), 1_250);
    assert_eq!(read::<Ratio>("0.01%").as_basis_points(), 1);
    assert!("5".parse::<Ratio>().is_err() && ".5%".parse::<Ratio>().is_err());
    let check = |text: &str, ms: u64, written: &str| {
        let read = duration_from_text(text);
        assert_eq!(read, Ok(Duration::from_millis(ms)));
        assert_eq!(duration_to_text(Duration::from_millis(ms)), written);
    };
    check("500ms", 500, "500ms");
    check("1000ms", 1_000, "1s");
    check("90s", 90_000, "90s");
    check("120s", 120_000, "2m");
    check("1h", 3_600_000, "1h");
    check("0ms", 0, "0s");
    assert!(duration_from_text("99999999999999999h").is_err());
    assert!(duration_from_text("1.5s").is_err() && duration_from_text("-1s").is_err());
}

#[test]
fn addresses_that_are_local() {
    let check = |text: &str, expected: bool| {
        assert_eq!(read::<ListenAddress>(text).is_local(), expected, "{text}");
    };
    check("127.0.0.1:80", true);
    check("[::1]:80", true);
    check("unix:/run/a.sock", true);
    check(":80", false);
    check("10.0.0.1:80", false);
    check("[::]:80", false);
}

#[test]
fn templates_are_written_as_they_were_read() {
    assert_eq!(read::<Template>("https://{host}{path}{query}").parts().len(), 4);
    assert_eq!(read::<Template>("{path}x{query}").parts().len(), 3);
    assert!("https://{port}".parse::<Template>().is_err());
    assert!("https://{host".parse::<Template>().is_err());
    assert!("/{path}".parse::<Template>().is_err());
}
