//! How exchanges are written and run, and how expectations are compared.

use penstock_filters_sdk_testing::FilterTest;

use super::case::{Action, Case, Field, Property, RequestLine};
use super::outcome::{self, Message, Outcome};

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

/// A case by the path of the fixture's, run.
#[track_caller]
fn run(case: &str) -> Outcome {
    let wasm = include_bytes!("../../../../tests/fixtures/filters/sdk-bodies/bodies.wasm");
    let test = FilterTest::new(wasm).cluster("auth");
    assert!(test.load().is_ok(), "{:?}", test.lines());
    let case: Case = toml::from_str(case).expect("a case");
    outcome::run(&test, &case)
}

#[test]
fn a_case_can_have_a_call_fail() {
    for (reply, body) in [
        (r#"{ fail = "unreachable" }"#, "Some(503)?"),
        (r#"{ fail = "timeout" }"#, "Some(504)?"),
        (r#"{ fail = "too-large" }"#, "None?"),
        ("{ status = 401 }", "Some(401)?"),
    ] {
        let outcome = run(&format!("request = \"GET /wait\"\nreplies = [{reply}]\n"));
        let response = outcome.response.expect("the filter answers");
        assert_eq!(String::from_utf8_lossy(&response.body), body, "{reply}");
    }
    assert_eq!(run("request = \"GET /wait\"\nreplies = [{}]\n").action, Action::Continue);
    assert!(toml::from_str::<Case>(r#"replies = [{ fail = "so" }]"#).is_err());
}

#[test]
fn a_case_can_have_a_body_in_pieces_and_trailers() {
    let judged = r#"request = "POST /judge"
        body = ["{", "}"]
        trailers = ["x-t: 1"]
        response = { headers = ["x-hold: 1"], body = ["o", "k"], trailers = ["x-end: 1"] }"#;
    let outcome = run(judged);
    assert_eq!(outcome.request.body, b"{}");
    assert_eq!(outcome.response.expect("it goes on").body, b"ok?");
    assert_eq!(run(&judged.replace("\"{\", ", "")).action, Action::Answer);
    let bare = "request = \"POST /judge\"\ntrailers = [\"x-t: 1\"]\n";
    assert_eq!(run(bare).action, Action::Answer);
}

#[test]
fn a_case_tells_of_values_in_queues() {
    let wasm = include_bytes!("../../../../tests/fixtures/filters/sdk/calls.wasm");
    let test = FilterTest::new(wasm);
    assert!(test.load().is_ok(), "{:?}", test.lines());
    outcome::run(&test, &Case::default());
    assert_eq!(test.metric("noted"), Some(1));
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
