//! Bodies, their ends and their trailers, and answers, on the host double.

use crate::testing::Instance;
use crate::{
    Answer, Body, ConfigError, Filter, Flow, HttpCall, NoConfig, Reply, Request, Response, Trailers,
};

/// Judges bodies at their end, asks about some, and answers as a request's path says.
struct Judge;

#[derive(Default)]
struct Seen {
    ends: usize,
}

#[penstock::filter]
impl Filter for Judge {
    type State = Seen;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_request(&self, request: &mut Request<'_, Seen>) -> Flow {
        match request.path().unwrap_or("/") {
            "/wait" => {
                request.call(&HttpCall::get("auth", "/check")).unwrap();
                Flow::Wait
            }
            "/status" => Answer::new(99).header("x-a", "b").body("no").into(),
            "/field" => Answer::new(200).header("x-a", "a\r\nb").body("yes").into(),
            "/large" => Answer::new(200).body(vec![0; 5 << 20]).into(),
            "/fields" => {
                for (name, value) in [
                    (":path", "no-slash"),
                    (":path", "/a b"),
                    (":method", ""),
                    (":authority", ""),
                    (":status", "200"),
                    (":foo", "bar"),
                    ("a b", "c"),
                ] {
                    assert!(request.try_set_header(name, value).is_err(), "{name}: {value}");
                }
                for path in ["", "/"] {
                    let call = request.call(&HttpCall::get("auth", path));
                    assert_eq!(call.is_ok(), !path.is_empty());
                }
                Flow::Continue
            }
            _ => Flow::Continue,
        }
    }

    fn on_request_body(&self, body: &mut Body<'_, Seen>, end: bool) -> Flow {
        body.state.ends += usize::from(end);
        match (body.head().header(":path").unwrap_or("/"), end) {
            ("/judge" | "/ask", false) => Flow::Wait,
            ("/judge", true) if body.range(0, 1) != b"{" => Answer::new(400).into(),
            ("/ask", true) => {
                let scan = HttpCall::post("auth", "/scan", body.bytes());
                body.call(&scan).unwrap();
                Flow::Wait
            }
            _ => Flow::Continue,
        }
    }

    fn on_request_trailers(&self, trailers: &mut Trailers<'_, Seen>) -> Flow {
        let ends = trailers.state.ends.to_string();
        trailers.set_header("x-ends", ends);
        Flow::Continue
    }

    fn on_response(&self, response: &mut Response<'_, Seen>) -> Flow {
        response.set_header("x-passed", "1");
        assert!(response.try_set_header(":path", "/").is_err());
        assert!(response.try_set_header(":status", "99").is_err());
        // Nobody waits for what the filter itself answered.
        Flow::Wait
    }

    fn on_reply(&self, _: &mut Request<'_, Seen>, reply: &Reply<'_>) -> Flow {
        if reply.is_success() { Flow::Continue } else { Answer::new(403).into() }
    }
}

fn judge() -> Instance<Judge> {
    Instance::new("").unwrap()
}

fn head(path: &str) -> [(&str, &str); 3] {
    [(":method", "POST"), (":path", path), (":authority", "h")]
}

#[test]
fn the_end_of_a_body_comes_once_also_where_trailers_follow() {
    let judge = judge();
    for (body, answered) in [("not JSON", Some(400)), ("{}", None)] {
        let mut exchange = judge.request_with_body(&head("/judge"));
        exchange.request_body(&body[..1], false);
        exchange.request_body(&body[1..], false);
        assert!(exchange.waits());
        exchange.request_trailers(&[("x-t", "1")]);
        assert_eq!(exchange.answer().map(|answer| answer.status()), answered);
        assert_eq!(exchange.went_on(), answered.is_none());
        let ends = exchange.request_trailer("x-ends");
        assert_eq!(ends.as_deref(), if answered.is_none() { Some("1") } else { None });
    }
    let mut passed = judge.request_with_body(&head("/"));
    passed.request_body("ab", true);
    passed.request_trailers(&[]);
    assert_eq!(passed.request_trailer("x-ends").as_deref(), Some("1"));
}

#[test]
fn a_call_about_a_body_decides_over_it() {
    let judge = judge();
    for (status, goes_on) in [(200, true), (403, false)] {
        let mut exchange = judge.request_with_body(&head("/ask"));
        exchange.request_body("ab", false);
        exchange.request_body("cd", false);
        exchange.request_trailers(&[]);
        assert!(exchange.waits(), "the trailers wait with the body");
        assert_eq!(judge.calls()[0].body(), b"abcd");
        judge.reply(status, &[], "");
        assert_eq!(exchange.went_on(), goes_on);
    }
}

#[test]
fn a_body_waits_with_its_head_and_lets_no_head_go() {
    for heads_only in [false, true] {
        let judge = judge();
        if heads_only {
            judge.set_heads_only();
        }
        let mut exchange = judge.request_with_body(&head("/wait"));
        exchange.request_body("ab", false);
        exchange.request_body("cd", false);
        exchange.request_trailers(&[]);
        assert!(exchange.waits(), "its verdict is not there");
        let seen = if heads_only { Some("1") } else { None };
        assert_eq!(exchange.request_trailer("x-ends").as_deref(), seen);
        judge.reply(200, &[], "");
        assert!(exchange.went_on());
        assert_eq!(exchange.request_trailer("x-ends").as_deref(), Some("1"));
    }
}

#[test]
fn a_call_that_fails_is_answered_by_the_proxy() {
    let judge = judge();
    let exchange = judge.request(&head("/wait"));
    judge.fail_call();
    assert_eq!(exchange.answer().unwrap().status(), 403);
}

#[test]
fn what_is_no_answer_is_a_plain_500() {
    let judge = judge();
    for (path, cause, body) in
        [("/status", "answer_refused", ""), ("/large", "answer_refused", ""), ("/field", "", "yes")]
    {
        let answer = judge.request(&head(path)).answer().unwrap();
        assert_eq!((answer.status(), answer.cause()), (500, cause), "{path}");
        assert_eq!((answer.header("x-a"), answer.body()), (None, body.as_bytes()), "{path}");
        // The filter's own callback for responses saw it.
        assert_eq!(answer.header("x-passed").as_deref(), Some("1"), "{path}");
    }
}

#[test]
fn fields_and_calls_are_refused_that_the_host_refuses() {
    assert!(judge().request(&head("/fields")).went_on());
}
