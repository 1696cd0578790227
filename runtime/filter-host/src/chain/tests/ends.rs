//! The ends of exchanges: what filters call then, and contexts that are not done with them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::testing::Harness;
use crate::tests::{harness, session};
use crate::{Attention, CalloutFailure, CalloutResponse, Flow, Isolation, PairList, RootCallout};

/// A call of the cluster `origin`, whose token is at 1024.
const CALL: &str = r#"
    (func $ask (result i32)
        (call $call (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 62) (i32.const 16)
            (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1500) (i32.const 1024)))"#;

/// Never done with an exchange; both ends are logged.
const KEEPS: &str = r#"
    (func (export "proxy_on_done") (param i32) (result i32) i32.const 0)
    (func (export "proxy_on_log") (param i32)
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 6))))"#;

/// One exchange from its beginning to its end.
fn exchange(harness: &Harness) {
    let (mut session, mut chain) = (session(), harness.chain());
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    assert_eq!(chain.callout(), None, "nothing is called before the end");
    chain.finish(&mut session);
}

/// The next call in a root's name.
fn called(harness: &Harness) -> Option<RootCallout> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match pin!(harness.filters.attention()).poll(&mut context) {
            Poll::Ready(Attention::Callout(call)) => return Some(call),
            Poll::Ready(Attention::Ticks | Attention::Queues) => {}
            Poll::Pending => return None,
        }
    }
}

fn answer() -> CalloutResponse {
    let headers = PairList::new([(b":status" as &[u8], b"200" as &[u8])].into_iter());
    CalloutResponse { headers, ..CalloutResponse::default() }
}

fn lines(harness: &Harness) -> usize {
    harness.world.lines.borrow().iter().filter(|(_, line)| line == "x-seen").count()
}

#[test]
fn calls_at_the_end_are_made_and_forgotten_with_their_answers() {
    for callback in [
        r#""proxy_on_log") (param i32) (if (call $ask) (then unreachable))"#,
        r#""proxy_on_delete") (param i32) (if (call $ask) (then unreachable))"#,
        r#""proxy_on_done") (param i32) (result i32)
            (if (call $ask) (then unreachable)) i32.const 1"#,
    ] {
        let body = format!(
            r#"{CALL}
            (func (export {callback})
            (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
                (drop (call $log (i32.const 2) (i32.const 0) (i32.const 6))))"#
        );
        let harness = harness(&body, |settings| settings.callouts_max = 1);
        // One at a time is all it may have, and each has its turn.
        for turn in 0..5 {
            exchange(&harness);
            assert_eq!(harness.filters.streams(), 0);
            let call = called(&harness).unwrap_or_else(|| panic!("{turn}: {callback}"));
            assert_eq!(&*call.callout.cluster, "origin");
            assert!(called(&harness).is_none());
            match turn % 2 {
                0 => harness.filters.answer(&call, Ok(&answer())),
                _ => harness.filters.answer(&call, Err(CalloutFailure::Timeout)),
            }
            assert_eq!(lines(&harness), turn + 1);
        }
    }
}

#[test]
fn a_call_that_the_end_gives_up_has_no_answer_and_leaves_its_room() {
    let body = format!(
        r#"{CALL}
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (call $ask) (then unreachable))
            i32.const 0)
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            unreachable)"#
    );
    let harness = harness(&body, |settings| settings.callouts_max = 1);
    for _ in 0..3 {
        let (mut session, mut chain) = (session(), harness.chain());
        assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
        assert!(chain.callout().is_some());
        chain.finish(&mut session);
        assert!(called(&harness).is_none());
    }
}

#[test]
fn a_context_waits_for_the_call_of_its_end() {
    let body = format!(
        r#"{CALL}
        (func (export "proxy_on_done") (param i32) (result i32)
            (if (call $ask) (then unreachable)) i32.const 0)
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (drop (call $effective (i32.const 2)))
            (if (call $done) (then unreachable)))
        (func (export "proxy_on_log") (param i32)
            (drop (call $log (i32.const 2) (i32.const 0) (i32.const 6))))"#
    );
    let harness = harness(&body, |_| {});
    exchange(&harness);
    let call = called(&harness).expect("it calls");
    assert_eq!((harness.filters.streams(), lines(&harness)), (1, 0));
    harness.filters.answer(&call, Ok(&answer()));
    assert_eq!((harness.filters.streams(), lines(&harness)), (0, 1));
    // Nothing of it is left to end.
    assert_eq!(harness.filters.next_tick(), None);
}

#[test]
fn a_context_that_is_not_done_waits_for_proxy_done() {
    let body = format!(
        r#"{KEEPS}
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.eqz (call $period (i32.const 10))))
        (func (export "proxy_on_tick") (param i32)
            (drop (call $effective (i32.const 2)))
            (drop (call $done)))"#
    );
    let harness = harness(&body, |_| {});
    exchange(&harness);
    assert_eq!((harness.filters.streams(), lines(&harness)), (1, 0));
    harness.advance(Duration::from_millis(10));
    assert_eq!((harness.filters.streams(), lines(&harness)), (0, 1));
}

#[test]
fn what_is_never_done_ends_in_time_and_only_so_many_wait() {
    let harness = harness(KEEPS, |settings| {
        settings.ended_deadline = Duration::from_secs(9);
        settings.ended_max = 2;
    });
    exchange(&harness);
    harness.advance(Duration::from_secs(5));
    exchange(&harness);
    assert_eq!((harness.filters.streams(), lines(&harness)), (2, 0));
    // No room: it is done with at once.
    exchange(&harness);
    assert_eq!((harness.filters.streams(), lines(&harness)), (2, 1));
    harness.advance(Duration::from_secs(4));
    assert_eq!((harness.filters.streams(), lines(&harness)), (1, 2));
    harness.advance(Duration::from_secs(5));
    assert_eq!((harness.filters.streams(), lines(&harness)), (0, 3));
    let counted = &harness.filter.stats().shards[0].limits;
    assert_eq!(counted.value(), 3);
}

#[test]
fn an_instance_that_is_out_of_use_lasts_as_long_as_it_is_waited_for() {
    let harness = harness(KEEPS, |_| {});
    exchange(&harness);
    harness.filters.apply(&[]);
    assert_eq!((harness.filters.streams(), lines(&harness)), (1, 0));
    // First the exchange's context; then its root's, which is asked when that is over.
    harness.advance(Duration::from_secs(30));
    assert_eq!((harness.filters.streams(), lines(&harness)), (1, 1));
    harness.advance(Duration::from_secs(30));
    assert_eq!((harness.filters.streams(), lines(&harness)), (0, 2));
    assert_eq!(harness.filters.next_tick(), None);
}

#[test]
fn instances_of_one_exchange_wait_no_longer_and_in_no_greater_number() {
    let harness = harness(KEEPS, |settings| {
        settings.isolation = Isolation::Request;
        settings.ended_max = 2;
    });
    (0..3).for_each(|_| exchange(&harness));
    // Of the third, both contexts were ended at once.
    assert_eq!((harness.filters.streams(), lines(&harness)), (2, 2));
    harness.advance(Duration::from_secs(60));
    assert_eq!((harness.filters.streams(), lines(&harness)), (0, 6));
}
