//! What routes do to requests and answers, and what endpoints are told of who asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::{Head, Wire};
use crate::proxy::Proxy;

/// The heads that an endpoint was sent.
type Heads = Rc<RefCell<Vec<Head>>>;

/// An endpoint that answers 200 with `fields`, `body` and a pause before its last byte.
fn listen(world: &World, fields: &'static str, pause: Duration) -> (Address, Heads) {
    let (env, heads) = (world.node("origin", Limits::AMPLE), Heads::default());
    let (own, address, seen) = (env.clone(), env.address(8080), heads.clone());
    env.listen(&address, move |stream| {
        let (wire, seen) = (Wire::new(own.clone(), stream), seen.clone());
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                seen.borrow_mut().push(head);
                let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\no");
                if wire.write(head.as_bytes(), &Pace::QUICK).await.is_err() {
                    return;
                }
                Wire::sleep_on(&wire.env, pause).await;
                if wire.write(b"k", &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    (address, heads)
}

/// A listener with `listener`, one route with `route`, and clusters of one endpoint each.
fn text(listener: &str, route: &str, endpoints: &[Address]) -> String {
    let cluster = |(index, address): (usize, &Address)| {
        format!("[cluster.c{index}]\nendpoints = [\"{address}\"]\n")
    };
    let clusters: String = endpoints.iter().enumerate().map(cluster).collect();
    format!(
        "[listener.web]\naddress = \"FRONT\"\n{listener}[[listener.web.route]]\n{route}{clusters}"
    )
}

/// Asks `requests`, each on a connection of its own; the answers.
fn ask(world: &World, env: &SimEnv, proxy: &Proxy, requests: &[String]) -> Vec<String> {
    let (left, answers) = (Rc::new(Cell::new(requests.len())), Rc::new(RefCell::new(Vec::new())));
    let (own, front, requests) = (env.clone(), proxy.front.clone(), requests.to_vec());
    let (told, heard) = (left.clone(), answers.clone());
    env.spawn(async move {
        for request in requests {
            let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
            let wire = Wire::new(own.clone(), stream);
            wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is taken");
            let mut answer = Vec::new();
            while let Ok(true) = wire.more().await {
                answer.extend(wire.take_all());
            }
            heard.borrow_mut().push(String::from_utf8(answer).expect("text"));
            told.set(told.get() - 1);
        }
    });
    let done = || left.get() == 0 || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(7_200), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    answers.take()
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: asked.test:81\r\nConnection: close\r\n{fields}\r\n")
}

/// What the endpoint is sent, and the client answered, where the route says `route`.
fn through(listener: &str, route: &str, request: &str, check: impl Fn(&Head, &str) + Sync) {
    let (listener, route) = (listener.to_owned(), route.to_owned());
    check_few_seeds("routes", Faults::CALM, |world| {
        let fields = "X-Old: 1\r\nServer: origin\r\n";
        let (address, heads) = listen(world, fields, Duration::ZERO);
        let proxy = Proxy::serve(world, &text(&listener, &route, &[address]));
        let env = world.node("client", Limits::AMPLE);
        let answers = ask(world, &env, &proxy, &[request.to_owned()]);
        check(&heads.borrow()[0], &answers[0]);
        proxy.end(world);
    });
}

#[test]
fn paths_are_rewritten_and_queries_stay() {
    for (route, path, sent) in [
        ("path = \"/api/*\"\nrewrite.prefix = \"/v1/\"\n", "/api/a/b?c=d", "/v1/a/b?c=d"),
        ("path = \"/api/*\"\nrewrite.prefix = \"/\"\n", "/api/", "/"),
        ("path = [\"/a/*\", \"/a/b/*\"]\nrewrite.prefix = \"/x/\"\n", "/a/b/c", "/x/c"),
        ("path = \"/a/*\"\nrewrite.path = \"/one\"\n", "/a/thing?q", "/one?q"),
        ("path = \"/a/*\"\n", "/a/%7e/./b//c", "/a/%7e/./b//c"),
    ] {
        let route = format!("to = \"c0\"\n{route}");
        through("", &route, &get(path, ""), |head, _| {
            assert_eq!(head.line, format!("GET {sent} HTTP/1.1"), "{route}");
        });
    }
}

#[test]
fn fields_are_removed_set_and_added_on_both_ways() {
    let route = "to = \"c0\"\n\
        request_headers = { remove = [\"x-a\"], set = { x-b = \"1\" }, add = { x-c = \"2\" } }\n\
        [listener.web.route.response_headers]\n\
        remove = [\"server\"]\nset = { x-old = \"2\" }\nadd = { x-new = \"3\" }\n";
    let fields = "X-A: 0\r\nX-B: 0\r\nX-B: 00\r\nX-C: 0\r\n";
    through("", route, &get("/", fields), |head, answer| {
        assert_eq!((head.field("x-a"), head.field("x-b")), (None, Some("1")));
        let added = head.fields.iter().filter(|(name, _)| name == "x-c");
        assert_eq!(added.map(|(_, value)| &**value).collect::<Vec<_>>(), ["0", "2"]);
        let answer = answer.to_ascii_lowercase();
        assert!(answer.contains("\r\nx-old: 2\r\n") && answer.contains("\r\nx-new: 3\r\n"));
        assert!(!answer.contains("server:") && !answer.contains("x-old: 1"), "{answer}");
    });
}

#[test]
fn endpoints_are_told_of_the_host_that_was_asked_for() {
    let route = "to = \"c0\"\nrequest_headers = { set = { host = \"other.test\" } }\n";
    through("forwarded = \"both\"\n", route, &get("/", ""), |head, _| {
        assert_eq!(head.field("host"), Some("other.test"));
        assert_eq!(head.field("x-forwarded-host"), Some("asked.test:81"));
        let forwarded = head.field("forwarded").expect("it is there");
        assert!(forwarded.contains(";host=\"asked.test:81\";"), "{forwarded}");
    });
}

#[test]
fn what_a_peer_claims_of_others_passes_only_where_it_is_trusted() {
    const FORGED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: forged.test\r\nForwarded: for=192.0.2.7\r\n";
    for (listener, trusted) in [("", false), ("trusted = [\"10.0.0.0/8\"]\n", true)] {
        through(listener, "to = \"c0\"\n", &get("/", FORGED), |head, _| {
            let source = head.field("x-forwarded-for").expect("it is there");
            let (before, peer) = source.rsplit_once(", ").unwrap_or(("", source));
            assert!(peer.starts_with("10."), "{source}");
            assert_eq!(before, if trusted { "192.0.2.7" } else { "" });
            let (proto, host) = match trusted {
                true => ("https", "forged.test"),
                false => ("http", "asked.test:81"),
            };
            assert_eq!(head.field("x-forwarded-proto"), Some(proto));
            assert_eq!(head.field("x-forwarded-host"), Some(host));
            assert_eq!(head.field("forwarded"), trusted.then_some("for=192.0.2.7"));
        });
    }
    through("forwarded = \"off\"\n", "to = \"c0\"\n", &get("/", FORGED), |head, _| {
        assert!(head.fields.iter().all(|(name, _)| !name.contains("forwarded")), "{head:?}");
    });
}

#[test]
fn routes_answer_and_redirect_by_themselves() {
    for (route, path, lines) in [
        (
            "redirect.to = \"https://{host}{path}{query}\"\n",
            "/a/b?c=d",
            &["HTTP/1.1 308 ", "\r\nlocation: https://asked.test/a/b?c=d\r\n"][..],
        ),
        (
            "redirect = { to = \"{path}/\", status = 302 }\n",
            "//evil.test/x",
            &["HTTP/1.1 302 ", "\r\nlocation: /evil.test/x/\r\n"],
        ),
        (
            "respond = { status = 200, body = \"hello\", headers = { x-a = \"1\" } }\n",
            "/",
            &["HTTP/1.1 200 ", "\r\nx-a: 1\r\n", "\r\ncontent-length: 5\r\n", "\r\n\r\nhello"],
        ),
    ] {
        check_few_seeds("routes answer", Faults::CALM, |world| {
            let proxy = Proxy::serve(world, &text("", route, &[]));
            let env = world.node("client", Limits::AMPLE);
            let answers = ask(world, &env, &proxy, &[get(path, "")]);
            let answer = answers[0].replace("HTTP", "http").to_ascii_lowercase();
            for line in lines {
                assert!(answer.contains(&line.to_ascii_lowercase()), "{line:?} in {answer}");
            }
            // Answers that were asked for are no failures.
            assert_eq!(proxy.failures(), []);
            proxy.end(world);
        });
    }
}

#[test]
fn requests_are_split_by_weight() {
    check_few_seeds("routes split", Faults::CALM, |world| {
        let endpoints = [(); 2].map(|()| listen(world, "", Duration::ZERO));
        let addresses = endpoints.each_ref().map(|(address, _)| address.clone());
        let route = "split = [{ to = \"c0\", weight = 1 }, { to = \"c1\", weight = 3 }]\n";
        let proxy = Proxy::serve(world, &text("", route, &addresses));
        let env = world.node("client", Limits::AMPLE);
        ask(world, &env, &proxy, &vec![get("/", ""); 400]);
        // Of 400, 100 are to be expected, with a deviation of 9.
        let first = endpoints[0].1.borrow().len();
        assert!((55..145).contains(&first), "{first}");
        assert_eq!(endpoints[1].1.borrow().len(), 400 - first);
        proxy.end(world);
    });
}

#[test]
fn what_is_hashed_decides_who_is_asked() {
    let by = |name: &str, index: usize| match name {
        "path" => get(&format!("/{index}?{index}"), ""),
        "x-user" => get("/", &format!("X-User: u{index}\r\n")),
        _ => get("/", &format!("Cookie: a=b; user=u{index}; c=d\r\n")),
    };
    for (name, hash) in
        [("path", "\"path\""), ("x-user", "\"header:x-user\""), ("user", "\"cookie:user\"")]
    {
        check_few_seeds("routes hash", Faults::CALM, |world| {
            let endpoints = [(); 3].map(|()| listen(world, "", Duration::ZERO));
            let list: Vec<_> = endpoints.iter().map(|(to, _)| format!("\"{to}\"")).collect();
            let text = format!(
                "[listener.web]\naddress = \"FRONT\"\nto = \"app\"\n[cluster.app]\n\
                 endpoints = [{}]\nbalance = \"maglev\"\nhash = {hash}\n",
                list.join(", ")
            );
            let proxy = Proxy::serve(world, &text);
            let env = world.node("client", Limits::AMPLE);
            let counts = || endpoints.each_ref().map(|(_, heads)| heads.borrow().len());
            for index in 0..12 {
                let before = counts();
                ask(world, &env, &proxy, &vec![by(name, index); 5]);
                let after = counts();
                let moved = (0..3).filter(|&one| after[one] != before[one]).count();
                assert_eq!(moved, 1, "{name} {index}: {before:?} {after:?}");
            }
            assert!(counts().iter().all(|&count| count > 0), "twelve of them meet all three");
            proxy.end(world);
        });
    }
}

#[test]
fn events_may_be_far_apart_where_the_endpoint_calls_them_so() {
    // `timeouts.idle` is a minute, `upgrade_idle` an hour; actors wait for 200 s.
    let pause = Duration::from_secs(150);
    for (fields, whole) in [
        ("Content-Type: text/event-stream; charset=utf-8\r\n", true),
        ("Content-Type: text/plain\r\n", false),
    ] {
        check_few_seeds("routes events", Faults::CALM, |world| {
            let (address, _) = listen(world, fields, pause);
            let proxy = Proxy::serve(world, &text("", "to = \"c0\"\n", &[address]));
            let env = world.node("client", Limits::AMPLE);
            // What is asked for says nothing.
            let request = get("/", "Accept: text/event-stream\r\n");
            let answers = ask(world, &env, &proxy, &[request]);
            assert_eq!(answers[0].ends_with("\r\n\r\nok"), whole, "{}", answers[0]);
            let cut = if whole { vec![] } else { vec![(Cause::UpstreamStalled, 1)] };
            assert_eq!(proxy.failures(), cut);
            world.run(Duration::from_secs(1_200));
            proxy.end(world);
        });
    }
}
