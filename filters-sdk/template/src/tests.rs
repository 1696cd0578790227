//! Tests of the filter's own code: native, with the SDK's host double.

use penstock::testing::Instance;

use super::Greeter;

#[test]
fn greets_every_caller() {
    let filter = Instance::<Greeter>::new(r#"{ "greeting": "hello" }"#).unwrap();
    let mut exchange = filter.request(&[(":method", "GET"), (":path", "/")]);
    assert!(exchange.went_on());
    exchange.respond(200, &[], true);
    assert_eq!(exchange.response_header("x-greeting").as_deref(), Some("hello"));
}

#[test]
fn turns_callers_of_closed_paths_away() {
    let config = r#"{ "greeting": "hello", "closed": ["/internal/"] }"#;
    let filter = Instance::<Greeter>::new(config).unwrap();
    let exchange = filter.request(&[(":method", "GET"), (":path", "/internal/x?y")]);
    let answer = exchange.answer().unwrap();
    assert_eq!((answer.status(), answer.cause()), (404, "closed_path"));
}

#[test]
fn a_wrong_configuration_says_where() {
    let error = Instance::<Greeter>::new(r#"{ "greeting": "" }"#).err().unwrap();
    assert_eq!(error.to_string(), "greeting: must not be empty");
}
