//! gRPC calls: how long they have, how they end, and what they are told of a failure of ours.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Address, Env};
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds};
use penstock_wire::grpc::Code;

use super::client::{self, Answer};
use crate::http::plan::{Framing, Pace};
use crate::http::wire::{Expected, Head, Wire};
use crate::proxy::{Proxy, config};

const CALL: &[(&str, &str)] = &[("content-type", "application/grpc+proto"), ("te", "trailers")];

/// An origin that says `says` after `wait`, and what it was asked.
fn listen(env: &SimEnv, wait: Duration, says: &'static str) -> (Address, Rc<RefCell<Vec<Head>>>) {
    let (own, address, asked) = (env.clone(), env.address(8080), Rc::new(RefCell::default()));
    let heads: Rc<RefCell<Vec<Head>>> = Rc::clone(&asked);
    env.listen(&address, move |stream| {
        let (wire, heads) = (Wire::new(own.clone(), stream), heads.clone());
        own.spawn(async move {
            while let Ok(Some(head)) = wire.head().await {
                let mut body = Expected::anything("origin");
                let framing = head.framing(Framing::None);
                heads.borrow_mut().push(head);
                if wire.body(framing, &mut body, &Pace::QUICK).await.is_err() {
                    return;
                }
                Wire::sleep_on(&wire.env, wait).await;
                if says.is_empty() || wire.write(says.as_bytes(), &Pace::QUICK).await.is_err() {
                    return;
                }
            }
        });
    });
    (address, asked)
}

/// What one call gets from an origin as [`listen`]'s, with more fields than any has, and what is
/// counted; with what the origin was asked.
fn call(
    world: &World,
    (wait, says): (Duration, &'static str),
    more: &[(&str, &str)],
) -> (Answer, Vec<(Code, u64)>, Vec<Head>) {
    let origin = world.node("origin", Limits::AMPLE);
    let (address, asked) = listen(&origin, wait, says);
    let proxy = Proxy::serve(world, &config(&[address], "protocol = \"grpc\"\n", ""));
    let (env, front, heard) =
        (world.node("client", Limits::AMPLE), proxy.front.clone(), Rc::new(Cell::new(None)));
    let (own, told) = (env.clone(), heard.clone());
    let fields = [CALL, more].concat();
    let request = client::request("POST", "/shop.v1.Cart/Add", &fields);
    env.spawn(async move {
        let (sender, _) = client::connect(&own, &front).await;
        let (response, _) = client::send(&sender, request, true).await.expect("it is sent");
        let answer = client::read(response.await.expect("an answer")).await;
        told.set(Some(answer.expect("all of it")));
    });
    let answer = Rc::new(Cell::new(None));
    let done = || {
        if let Some(heard) = heard.take() {
            answer.set(Some(heard));
            return true;
        }
        world.panicked().is_some()
    };
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    let calls = proxy.calls();
    proxy.end(world);
    (answer.take().expect("there was one"), calls, asked.take())
}

/// The codes of `count` calls, one after the other.
pub(crate) fn call_all(world: &World, proxy: &Proxy, count: usize) -> Vec<String> {
    let (env, codes) = (world.node("client", Limits::AMPLE), Rc::new(RefCell::new(Vec::new())));
    let (own, front, told) = (env.clone(), proxy.front.clone(), codes.clone());
    env.spawn(async move {
        let (sender, _) = client::connect(&own, &front).await;
        for _ in 0..count {
            let request = client::request("POST", "/shop.v1.Cart/Add", CALL);
            let (response, mut stream) =
                client::send(&sender, request, false).await.expect("it is sent");
            stream.send_data(vec![0; 5].into(), true).expect("it is sent");
            let answer = client::read(response.await.expect("an answer")).await;
            let answer = answer.expect("all of it");
            let tail = answer.trailers.as_ref().unwrap_or(&answer.head.headers);
            let code = tail["grpc-status"].to_str().expect("ASCII").to_owned();
            told.borrow_mut().push(code);
        }
    });
    let done = || codes.borrow().len() == count || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    codes.take()
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let field = answer.head.headers.get(name)?;
    Some(field.to_str().expect("it is ASCII"))
}

/// The call's answer is head and trailers in one, and says `code` and `message`.
#[track_caller]
fn check_failed(answer: &Answer, code: Code, message: &str) {
    assert_eq!(answer.head.status, 200);
    assert_eq!(field(answer, "content-type"), Some("application/grpc+proto"));
    assert_eq!(field(answer, "grpc-status"), Some(code.digits()));
    assert_eq!(field(answer, "grpc-message"), Some(message));
    assert_eq!(field(answer, "content-length"), None);
    assert!(answer.body.is_empty() && answer.trailers.is_none());
}

#[test]
fn an_endpoint_says_in_its_trailers_how_a_call_ended() {
    check_few_seeds("grpc trailers", Faults::CALM, |world| {
        let says = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\n\
            transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 5\r\n\r\n";
        // Three minutes are nothing: an endpoint may take as long for the head of a call.
        let (answer, calls, _) = call(world, (Duration::from_secs(100), says), &[]);
        assert_eq!((&*answer.body, field(&answer, "grpc-status")), (&[0; 5][..], None));
        let trailers = answer.trailers.expect("there are trailers");
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(calls, [(Code::NotFound, 1)]);
    });
}

#[test]
fn an_answer_without_a_status_is_counted_by_what_http_says() {
    check_few_seeds("grpc without", Faults::CALM, |world| {
        let says = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno";
        let (answer, calls, _) = call(world, (Duration::ZERO, says), &[]);
        assert_eq!(answer.head.status, 502, "it is the endpoint's own");
        assert_eq!(calls, [(Code::Unavailable, 1)]);
    });
}

#[test]
fn a_call_has_as_long_as_its_caller_waits() {
    check_few_seeds("grpc timeout", Faults::CALM, |world| {
        let never = (Duration::from_secs(400), "");
        let begun = world.now();
        let (answer, calls, asked) = call(world, never, &[("grpc-timeout", "300m")]);
        check_failed(&answer, Code::DeadlineExceeded, "504 Gateway Timeout");
        assert_eq!(field(&answer, "x-penstock-cause"), Some("route_timeout"));
        assert_eq!(calls, [(Code::DeadlineExceeded, 1)]);
        assert!(world.now().since(begun) >= Duration::from_millis(300));
        let [head] = &asked[..] else { panic!("{asked:?}") };
        let left = head.field("grpc-timeout").expect("the endpoint is told");
        let left = left.strip_suffix('u').expect("in microseconds").parse::<u32>();
        assert!((1..=300_000).contains(&left.expect("a number")), "not more than the caller said");
    });
}

#[test]
fn an_answer_that_breaks_off_ends_with_a_status() {
    check_few_seeds("grpc cut", Faults::CALM, |world| {
        let says = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\n\
            transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\x05\r\n";
        let (answer, calls, _) = call(world, (Duration::ZERO, says), &[("grpc-timeout", "2S")]);
        assert_eq!(&*answer.body, b"\0\0\0\0\x05");
        let trailers = answer.trailers.expect("there are trailers");
        assert_eq!(trailers["grpc-status"], Code::DeadlineExceeded.digits());
        assert_eq!(calls, [(Code::DeadlineExceeded, 1)]);
    });
}

#[test]
fn a_call_that_cannot_be_served_is_told_so_in_its_own_language() {
    check_few_seeds("grpc broken", Faults::CALM, |world| {
        let (answer, calls, _) = call(world, (Duration::ZERO, ""), &[]);
        check_failed(&answer, Code::Unavailable, "502 Bad Gateway");
        assert_eq!(calls, [(Code::Unavailable, 1)]);
    });
}
