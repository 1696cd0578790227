//! It does what it is measured for.

use penstock::testing::Instance;

use super::Gate;

const CONFIG: &str = r#"{ "token": "t", "routes": [{ "prefix": "/a/", "to": "alpha" }] }"#;

#[test]
fn lets_the_token_in_routes_and_edits() {
    let gate = Instance::<Gate>::new(CONFIG).expect("the configuration is right");
    for (path, route) in [("/a/b", "alpha"), ("/", "default")] {
        let head = [(":method", "GET"), (":path", path), ("authorization", "Bearer t")];
        let mut exchange = gate.request(&head);
        assert!(exchange.went_on());
        assert_eq!(exchange.request_header("x-route").as_deref(), Some(route));
        assert_eq!(exchange.request_header("authorization"), None);
        exchange.respond(200, &[], true);
        assert_eq!(exchange.response_header("x-gate").as_deref(), Some("passed"));
    }
}

#[test]
fn keeps_the_rest_out() {
    let gate = Instance::<Gate>::new(CONFIG).expect("the configuration is right");
    for head in [&[(":path", "/")][..], &[(":path", "/"), ("authorization", "Bearer tt")]] {
        let answer = gate.request(head).answer().expect("it answers").status();
        assert_eq!(answer, 401);
    }
}
