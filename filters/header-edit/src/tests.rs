//! Tests of the filter's own code, against the SDK's host double.

use penstock::testing::Instance;

use super::HeaderEdit;

const REQUEST: &[(&str, &str)] =
    &[(":method", "GET"), (":path", "/"), ("x-debug", "1"), ("x-debug", "2"), ("x-tag", "own")];

#[track_caller]
fn refused(config: &str, expected: &str) {
    let error = Instance::<HeaderEdit>::new(config).err().expect("the configuration is wrong");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn edits_a_request_in_the_order_remove_set_add() {
    let filter = Instance::<HeaderEdit>::new(
        r#"{ "request": {
            "remove": ["x-debug", "x-absent"],
            "set": { "x-served-by": "penstock", ":path": "/moved" },
            "add": { "x-tag": "edge", "x-debug": "3" }
        } }"#,
    )
    .unwrap();
    let exchange = filter.request(REQUEST);
    assert!(exchange.went_on());
    assert_eq!(exchange.request_header_values("x-debug"), ["3"]);
    assert_eq!(exchange.request_header_values("x-tag"), ["own", "edge"]);
    assert_eq!(exchange.request_header("x-served-by").as_deref(), Some("penstock"));
    assert_eq!(exchange.request_header(":path").as_deref(), Some("/moved"));
}

#[test]
fn edits_a_response_and_leaves_the_request_alone() {
    let config =
        r#"{ "response": { "remove": ["server"], "set": { "x-frame-options": "DENY" } } }"#;
    let filter = Instance::<HeaderEdit>::new(config).unwrap();
    let mut exchange = filter.request(REQUEST);
    assert_eq!(exchange.request_header_values("x-debug"), ["1", "2"]);
    exchange.respond(200, &[("server", "origin/1")], true);
    assert!(exchange.went_on());
    assert_eq!(exchange.response_header("server"), None);
    assert_eq!(exchange.response_header("x-frame-options").as_deref(), Some("DENY"));
}

#[test]
fn does_nothing_without_a_configuration() {
    let filter = Instance::<HeaderEdit>::new("").unwrap();
    assert!(filter.request(REQUEST).went_on());
}

#[test]
fn refuses_a_configuration_that_could_fail_later() {
    refused(
        r#"{ "request": { "remove": ["ok", "not ok"] } }"#,
        r#"request.remove[1]: "not ok" is not the name of a field"#,
    );
    refused(
        r#"{ "response": { "set": { "X-Upper": "1" } } }"#,
        r#"response.set.X-Upper: "X-Upper": write names in lower case"#,
    );
    refused(
        r#"{ "request": { "add": { "x-a": "1\r\nx-b: 2" } } }"#,
        "request.add.x-a: a value has no control characters",
    );
    refused(
        r#"{ "request": { "remove": [":path"] } }"#,
        "request.remove[0]: :path: a message needs it",
    );
    refused(
        r#"{ "request": { "set": { "x-a": 1 } } }"#,
        "request.set.x-a: invalid type: integer `1`, expected a string at line 1 column 32",
    );
    refused(
        r#"{ "requests": {} }"#,
        "requests: unknown field `requests`, expected `request` or `response` at line 1 column 12",
    );
}
