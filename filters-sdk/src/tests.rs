//! Tests of the SDK as an author sees it: filters against the host double.

mod bodies;
mod grpc;
mod queue;
mod stream;

use core::cell::Cell;
use core::time::Duration;

use serde::Deserialize;

use crate::runtime::{Http, Runtime};
use crate::testing::Instance;
use crate::{
    Answer, Body, ConfigError, Counter, Filter, Flow, Gauge, Histogram, HttpCall, Log, NoConfig,
    NotShared, Plugin, Reply, Request, Response, Shared, Trailers, clock,
};

/// What `penstock filter new` writes is compiled and tested here.
#[path = "../template/src/lib.rs"]
mod template;

/// And with `--stream`.
#[path = "../template/stream/src/lib.rs"]
mod template_stream;

#[test]
fn the_guide_shows_the_templates() {
    let guide = include_str!("../README.md");
    assert!(guide.contains(include_str!("../template/src/lib.rs")));
    let stream = include_str!("../template/stream/src/lib.rs");
    let shown = stream.split_once("#[penstock::filter]").expect("it has one").1;
    assert!(guide.contains(shown));
}

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":path", "/a?b=c"), (":authority", "example.org"), ("x-a", "1")];

/// Asks a cluster about every request, and remembers what it was told.
struct Asks {
    replies: Cell<u32>,
}

#[derive(Default)]
struct Asked {
    status: Option<u16>,
}

#[penstock::filter]
impl Filter for Asks {
    type State = Asked;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        clock::every(Duration::from_secs(30));
        Ok(Self { replies: Cell::new(0) })
    }

    fn on_request(&self, request: &mut Request<'_, Asked>) -> Flow {
        match request.call(&HttpCall::get("auth", "/check").header("x-for", "me")) {
            Ok(_) => Flow::Wait,
            Err(refused) => Answer::new(503).body(refused.to_string()).into(),
        }
    }

    fn on_reply(&self, request: &mut Request<'_, Asked>, reply: &Reply<'_>) -> Flow {
        self.replies.set(self.replies.get() + 1);
        request.state.status = reply.status();
        match reply.status() {
            Some(200) => {
                request.set_header("x-user", reply.header("x-user").unwrap_or("nobody"));
                Flow::Continue
            }
            Some(503 | 504) | None => Answer::new(503).cause("auth_is_down").into(),
            Some(_) => Answer::new(403).cause("refused").into(),
        }
    }

    fn on_response(&self, response: &mut Response<'_, Asked>) -> Flow {
        let status = response.state.status.unwrap_or(0);
        response.set_header("x-auth-status", status.to_string());
        Flow::Continue
    }

    fn on_tick(&self, plugin: &mut Plugin<'_>) {
        plugin.call(&HttpCall::post("keys", "/", "give")).unwrap();
    }

    fn on_plugin_reply(&self, _: &mut Plugin<'_>, reply: &Reply<'_>) {
        crate::info!("keys: {} bytes", reply.body().len());
    }
}

#[test]
fn a_reply_decides_over_the_request_that_waits() {
    let filter = Instance::<Asks>::new("").unwrap();
    let mut allowed = filter.request(GET);
    let refused = filter.request(GET);
    let failed = filter.request(GET);
    assert!(allowed.waits() && refused.waits() && failed.waits());
    let calls = filter.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].to_string(), "auth GET /check");
    assert_eq!(calls[0].header("x-for").as_deref(), Some("me"));
    assert_eq!(calls[0].timeout(), Duration::from_secs(1));

    filter.reply(200, &[("x-user", "ada")], "");
    assert!(allowed.went_on());
    assert_eq!(allowed.request_continued(), 1);
    assert_eq!(allowed.request_header("x-user").as_deref(), Some("ada"));
    assert!(refused.waits());

    filter.reply(401, &[], "");
    assert_eq!(refused.answer().unwrap().status(), 403);
    filter.fail_call();
    assert_eq!(failed.answer().unwrap().cause(), "auth_is_down");

    allowed.respond(200, &[], true);
    assert_eq!(allowed.response_header("x-auth-status").as_deref(), Some("200"));
}

#[test]
fn a_reply_for_a_request_that_is_gone_reaches_nobody() {
    let filter = Instance::<Asks>::new("").unwrap();
    drop(filter.request(GET));
    let other = filter.request(GET);
    filter.reply(200, &[], "");
    assert!(other.waits());
    filter.reply(200, &[], "");
    assert!(other.went_on());
}

#[test]
fn a_call_to_a_cluster_that_is_not_granted_is_an_error_at_once() {
    let filter = Instance::<Asks>::new("").unwrap();
    filter.set_clusters(&["keys"]);
    let answer = filter.request(GET).answer().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.body(), b"the cluster is unknown, or not one that this filter may call");
}

#[test]
fn a_timer_has_calls_of_its_own() {
    let filter = Instance::<Asks>::new("").unwrap();
    assert_eq!(filter.tick_period(), Duration::from_secs(30));
    filter.tick();
    assert_eq!(filter.calls()[0].to_string(), "keys POST /");
    assert_eq!(filter.calls()[0].body(), b"give");
    filter.reply(200, &[], "12345");
    assert_eq!(filter.lines(), ["info: keys: 5 bytes"]);
}

/// Reads and changes all that a message has.
struct Everything;

#[penstock::filter]
impl Filter for Everything {
    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        assert_eq!(request.method(), Some("GET"));
        assert_eq!(request.path_only(), Some("/a"));
        assert_eq!(request.authority(), Some("example.org"));
        assert_eq!(request.headers().count(), 5);
        assert_eq!(request.header_values("cookie").count(), 1);
        assert_eq!(request.cookie("b"), Some("2"));
        assert_eq!(request.cookie("c"), None);
        let old = request.header("x-a");
        request.set_header("x-a", "new");
        request.add_header("x-a", old.unwrap());
        assert!(request.try_set_header("x-b", "a\nb").is_err());
        request.set_header("x-c", "a\nb");
        request.set_path("/z");
        let source = request.source_ip().map(|ip| ip.to_string()).unwrap_or_default();
        request.set_property(&["tag"], source.as_bytes());
        Flow::Continue
    }

    fn on_request_body(&self, body: &mut Body<'_>, end: bool) -> Flow {
        if !end {
            return Flow::Wait;
        }
        let upper = body.bytes().to_ascii_uppercase();
        body.replace(upper);
        body.prepend("<");
        body.append(">");
        Flow::Continue
    }

    fn on_request_trailers(&self, trailers: &mut Trailers<'_>) -> Flow {
        trailers.set_header("x-checksum", "1");
        Flow::Continue
    }

    fn on_response_body(&self, body: &mut Body<'_>, _: bool) -> Flow {
        match body.range(1, 3) {
            b"bad" => Answer::new(502).cause("bad_body").into(),
            _ => Flow::Continue,
        }
    }

    fn on_log(&self, log: &mut Log<'_>) {
        crate::info!("{} {}", log.request().header(":path").unwrap_or("-"), log.status());
    }
}

#[test]
fn a_message_can_be_read_and_changed() {
    let filter = Instance::<Everything>::new("{}").unwrap();
    filter.set_property(&["source", "address"], "[2001:db8::7]:4711");
    let mut fields = GET.to_vec();
    fields.push(("cookie", "a=1; b=2"));
    let mut exchange = filter.request_with_body(&fields);
    assert_eq!(exchange.request_header_values("x-a"), ["new", "1"]);
    assert_eq!(exchange.request_header("x-c"), None);
    assert_eq!(exchange.request_header(":path").as_deref(), Some("/z"));
    assert_eq!(filter.property(&["tag"]).as_deref(), Some(&b"2001:db8::7"[..]));
    let refused = "refused by the host: this message can't have it, or not with this value";
    assert_eq!(filter.lines(), [format!("error: field x-c: {refused}")]);

    exchange.request_body("he", false);
    assert!(exchange.waits());
    exchange.request_body("llo", true);
    assert_eq!(exchange.request_body_bytes(), b"<HELLO>");
    exchange.request_trailers(&[]);
    assert_eq!(exchange.request_trailer("x-checksum").as_deref(), Some("1"));

    exchange.respond(200, &[], false);
    exchange.response_body("good", false);
    assert!(exchange.went_on());
    exchange.response_body("-bad-", true);
    assert_eq!(exchange.answer().unwrap().cause(), "bad_body");
    exchange.finish();
    assert_eq!(filter.lines().last().unwrap(), "info: /z 200");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    percent: u8,
}

/// Has a configuration that can be wrong in many ways.
struct Configured(u32);

#[penstock::filter]
impl Filter for Configured {
    type Config = Nested;

    fn new(config: Nested) -> Result<Self, ConfigError> {
        match config.rules.iter().position(|rule| rule.percent > 100) {
            Some(index) => Err(ConfigError::at(format!("rules[{index}].percent"), "at most 100")),
            None => Ok(Self(config.rules.iter().map(|rule| u32::from(rule.percent)).sum())),
        }
    }

    fn on_request(&self, _: &mut Request<'_>) -> Flow {
        Answer::new(200).body(self.0.to_string()).into()
    }
}

#[test]
fn a_wrong_configuration_says_where() {
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let error = Instance::<Configured>::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    check(r#"{"rules":[{"percent":1},{"percent":"x"}]}"#, "rules[1].percent: invalid type: string");
    check(r#"{"rules":[{"percent":1},{"percent":101}]}"#, "rules[1].percent: at most 100");
    check(r#"{"rules":[{}]}"#, "rules[0]: missing field `percent`");
    check(r#"{"rules":[],"rule":1}"#, "rule: unknown field `rule`");
    check("", "missing field `rules`");
    check(r#"{"rules":[]} x"#, "trailing characters");
    check("{", "EOF while parsing");
}

#[test]
fn two_plugins_of_one_module_keep_apart() {
    let runtime = Runtime::<Http<Configured>>::new();
    for (root, percent) in [(1, 10), (2, 20)] {
        // The first stream of root 1 opens while it is alone, and is not written down.
        runtime.on_context_create(root, 0);
        let config = format!(r#"{{"rules":[{{"percent":{percent}}}]}}"#);
        runtime.configure(root, config.as_bytes()).unwrap();
        runtime.on_context_create(root * 10, root);
    }
    for (stream, expected) in [(10, "10"), (20, "20")] {
        crate::sys::native::with(|double| {
            double.context = stream;
            double.streams.insert(stream, Default::default());
        });
        runtime.on_request_headers(stream, true);
        let body = crate::sys::native::with(|double| {
            double.streams.remove(&stream).unwrap().answer.unwrap().body
        });
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}

#[test]
fn shared_data_is_changed_by_compare_and_swap() {
    let filter = Instance::<Everything>::new("").unwrap();
    let seen = Shared::<u64>::new("seen");
    assert_eq!(seen.load(), None);
    assert_eq!(seen.store(&5), Ok(()));
    filter.set_rivals(3);
    let mut asked = 0;
    let next = seen.update(|value| {
        asked += 1;
        value.map(|value| value + 1)
    });
    assert_eq!((next, asked), (Ok(Some(6)), 4));
    filter.set_rivals(1000);
    assert_eq!(seen.update(|value| value), Err(NotShared::Contended));
    assert_eq!(seen.load(), Some(6));
    assert_eq!(seen.update(|_| None), Ok(None));
    // Another type under the same key is as good as nothing.
    Shared::<String>::new("seen").store(&"six".to_owned()).unwrap();
    assert_eq!(seen.load(), None);
}

#[test]
fn metrics_count_under_their_names() {
    let filter = Instance::<Everything>::new("").unwrap();
    let counter = Counter::define("hits");
    counter.increment();
    Counter::define("hits").add(2);
    let gauge = Gauge::define("open");
    gauge.set(7);
    gauge.add(-3);
    Histogram::define("size_bytes").record(11);
    assert_eq!(filter.metric("hits"), Some(3));
    assert_eq!(filter.metric("open"), Some(4));
    assert_eq!(filter.recorded("size_bytes"), [11]);
    assert_eq!(filter.metric("absent"), None);
}

#[test]
fn the_arena_hands_out_runs_that_do_not_overlap() {
    let mut arena = crate::arena::Arena::new();
    arena.enter();
    let first = arena.allocate(5);
    let second = arena.allocate(9);
    let large = arena.allocate(100_000);
    let host = arena.host_area(16 * 1024);
    for (run, words) in [(first, 1), (second, 2), (large, 12_500)] {
        assert_eq!(run.len(), words);
        run.iter().for_each(|word| word.set(word.get() + 1));
    }
    assert!(first.iter().chain(second).chain(large).all(|word| word.get() == 1));
    assert!(host.iter().all(|word| word.get() == 0));
    // A nested callback empties nothing; the next outermost one does.
    arena.enter();
    assert_eq!(arena.allocate(8)[0].get(), 0);
    arena.leave();
    arena.leave();
    arena.enter();
    assert!(core::ptr::eq(arena.allocate(5), first));
    assert!(core::ptr::eq(arena.host_area(16 * 1024), host));
}
