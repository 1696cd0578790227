//! How exchanges are written, and how expectations are compared: without running a filter.

use super::case::{Action, Case, Field, Property, RequestLine};
use super::outcome::{Message, Outcome};

#[track_caller]
fn check_field(text: &str, expected: Option<(&str, &str)>) {
    let field = text.parse::<Field>().ok();
    let found = field.as_ref().map(|field| (&*field.name, &*field.value));
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn a_field_is_a_token_and_a_value_without_line_breaks() {
    check_field("Accept: */*", Some(("accept", "*/*")));
    check_field("x-a:1", Some(("x-a", "1")));
    check_field("x-a: b: c ", Some(("x-a", "b: c")));
    check_field("x-a:", Some(("x-a", "")));
    check_field(":authority: h:80", Some((":authority", "h:80")));
    // RFC 9110 §5.6.2: a name is a token.
    check_field("x a: 1", None);
    check_field(": 1", None);
    check_field("x-a", None);
    // RFC 9110 §5.5: CR, LF and NUL are in no value.
    check_field("x-a: 1\r\nx-b: 2", None);
}

#[track_caller]
fn check_request(text: &str, expected: Option<(&str, &str)>) {
    let line = text.parse::<RequestLine>().ok();
    assert_eq!(line.as_ref().map(|line| (&*line.method, &*line.path)), expected, "{text:?}");
}

#[test]
fn a_request_is_a_method_and_a_path() {
    check_request("GET /a?b", Some(("GET", "/a?b")));
    check_request("OPTIONS *", Some(("OPTIONS", "*")));
    check_request("/a", None);
    check_request("GET a", None);
    check_request("G(T /", None);
}

#[test]
fn a_head_has_what_every_request_has() {
    let case: Case =
        toml::from_str(r#"headers = ["Host: shop.example.com", "x-a: 1"]"#).expect("a case");
    let expected = [
        (":method", "GET"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        ("x-a", "1"),
    ];
    assert_eq!(case.request_fields(), expected);
}

#[test]
fn properties_have_the_bytes_that_filters_expect() {
    assert_eq!(Property::Truth(true).bytes(), [1]);
    assert_eq!(Property::Number(258).bytes(), [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Property::Text("ab".to_owned()).bytes(), *b"ab");
}

#[test]
fn a_misspelt_key_is_refused_with_its_place() {
    let error = toml::from_str::<Case>("[expect]\nstatsu = 200\n").expect_err("misspelt");
    let text = error.to_string();
    assert!(text.contains("line 2") && text.contains("`statsu`"), "{text}");
}

fn message(fields: &[(&str, &str)], body: &str) -> Message {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Message { fields: fields.iter().map(owned).collect(), body: body.as_bytes().to_vec() }
}

/// What is not met of `expect` by one exchange that went through.
#[track_caller]
fn check_unmet(expect: &str, expected: &[&str]) {
    let outcome = Outcome {
        action: Action::Continue,
        request: message(&[(":path", "/a"), ("x-user", "ada")], "sent"),
        request_went: true,
        response: Some(message(&[(":status", "200"), ("x-a", "1"), ("x-a", "2")], "got")),
        cause: String::new(),
        open_calls: Vec::new(),
        lines: vec!["Info: hello".to_owned()],
        fuel: 100,
    };
    let case: Case = toml::from_str(&format!("expect = {{ {expect} }}")).expect("a case");
    assert_eq!(outcome.unmet(&case), expected);
}

#[test]
fn every_expectation_can_be_met_and_not_met() {
    check_unmet("", &[]);
    check_unmet(r#"action = "continue", status = 200, fuel_max = 100, log = ["hello"]"#, &[]);
    check_unmet(r#"headers = ["x-a: 2", "X-A: 1"], no_headers = ["server"], body = "got""#, &[]);
    check_unmet(r#"request_headers = ["x-user: ada"], request_body = "sent""#, &[]);
    check_unmet(r#"action = "answer""#, &["action: continue, expected answer"]);
    check_unmet("status = 404", &["status: 200, expected 404"]);
    check_unmet("fuel_max = 99", &["fuel: 100, at most 99 expected"]);
    check_unmet(r#"log = ["moo"]"#, &[r#"log: no line with "moo""#]);
    check_unmet(r#"cause = "x""#, &[r#"cause: "", expected "x""#]);
    check_unmet(
        r#"headers = ["x-a: 3"], no_headers = ["x-a"]"#,
        &[
            r#"response field x-a: ["1", "2"], expected "3""#,
            r#"response field x-a: ["1", "2"], expected none"#,
        ],
    );
    check_unmet(r#"body = "no""#, &[r#"response body: "got", expected "no""#]);
    check_unmet(
        r#"no_request_headers = ["x-user"]"#,
        &[r#"request field x-user: ["ada"], expected none"#],
    );
}
