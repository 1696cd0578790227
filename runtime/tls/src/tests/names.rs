//! Which certificate is for which host.

use crate::{Names, covers};

#[track_caller]
fn check(names: &[&str], host: &str, expected: bool) {
    let mut all = Names::default();
    names.iter().for_each(|name| all.add(name));
    assert_eq!(all.cover(host), expected, "{names:?} {host}");
}

#[test]
fn a_wildcard_stands_for_one_label_and_no_more() {
    // RFC 9525 §6.3.
    check(&["*.example.com"], "a.example.com", true);
    check(&["*.example.com"], "example.com", false);
    check(&["*.example.com"], "a.b.example.com", false);
    check(&["*.Example.com"], "a.example.com", true);
    check(&["a.example.com"], "a.example.com", true);
    check(&["a.example.com"], "b.example.com", false);
    check(&["f*.example.com"], "foo.example.com", false);
    check(&["*"], "com", false);
}

#[test]
fn requests_are_for_the_name_of_the_handshake_or_of_its_certificate() {
    let mut names = Names::default();
    names.add("a.example");
    names.add("*.b.example");
    names.addresses.push("10.0.0.1".parse().unwrap());
    let rows = [
        ("a.example", "a.example", true),
        ("a.example", "A.Example:443", true),
        ("a.example", "a.example.:443", true),
        ("a.example", "x.b.example", true),
        ("a.example", "c.example", false),
        ("other.example", "other.example", true),
        ("a.example", "10.0.0.1:8443", true),
        ("a.example", "10.0.0.2", false),
        ("a.example", "", false),
    ];
    for (server_name, authority, expected) in rows {
        let served = std::iter::once(&names);
        assert_eq!(covers(server_name, authority, served), expected, "{server_name} {authority}");
    }
}
