//! A module of our SDK that calls by gRPC and fills a queue, over the real host: `on_grpc` and
//! `on_queue` as they cross the border.

use penstock_filter_host::GrpcEvent;
use penstock_filters_sdk_testing::FilterTest;

fn calls() -> FilterTest {
    let wasm = include_bytes!("../../../tests/fixtures/filters/sdk/calls.wasm");
    FilterTest::new(wasm).cluster("auth")
}

fn get(path: &str) -> [(&str, &str); 3] {
    [(":method", "GET"), (":path", path), (":authority", "h")]
}

fn closed(status: u32, message: &str) -> GrpcEvent {
    GrpcEvent::Closed { status, message: message.to_owned() }
}

#[test]
fn a_call_lets_its_request_go_on_or_answers_it() {
    let test = calls();
    test.request(&get("/grpc"))
        .expect_wait()
        .grpc(GrpcEvent::Message(b"ada".to_vec()))
        .expect_continue()
        .expect_header("x-reply", "ada");
    test.request(&get("/grpc")).expect_wait().grpc(closed(7, "not you")).expect_answer(403);
}

#[test]
fn a_stream_goes_both_ways_until_it_ends() {
    let test = calls();
    test.request(&get("/stream"))
        .expect_wait()
        .expect_sent("one")
        .grpc(GrpcEvent::Message(b"one".to_vec()))
        .expect_wait()
        .expect_sent("two")
        .grpc(GrpcEvent::Message(b"two".to_vec()))
        .expect_wait()
        .grpc(closed(0, ""))
        .expect_continue()
        .expect_header("x-reply", "onetwo");
    test.request(&get("/stream")).expect_wait().grpc(closed(14, "gone")).expect_answer(502);
}

#[test]
fn what_requests_leave_in_a_queue_is_worked_off_beside_them() {
    let test = calls();
    for path in ["/a", "/b", "/c"] {
        test.request(&get(path)).expect_continue().finish();
    }
    assert_eq!(test.metric("noted"), Some(0));
    test.run_queues();
    assert_eq!(test.metric("noted"), Some(3));
}
