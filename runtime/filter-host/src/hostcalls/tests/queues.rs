//! Shared queues: what the calls answer, and who hears of items.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{IN, LAST, OUT, check, check_value, probe, text};
use crate::abi::Status;
use crate::property::Probe;
use crate::testing::{FakeSession, Harness};
use crate::{Attention, EngineSettings, FilterSettings, Filters, Flow, World};

#[test]
fn items_come_out_in_order_and_an_empty_queue_says_so() {
    let mut p = probe();
    let [at, bytes] = text(&mut p, b"jobs");
    check(&mut p, "proxy_resolve_shared_queue", &[0, 0, at, bytes, OUT], Status::NotFound);
    check(&mut p, "proxy_register_shared_queue", &[at, bytes, OUT], Status::Ok);
    let queue = u64::from(p.word(OUT as usize));
    assert_ne!(queue, 0);
    check(&mut p, "proxy_register_shared_queue", &[at, bytes, OUT], Status::Ok);
    assert_eq!(u64::from(p.word(OUT as usize)), queue, "one name is one queue");
    check(&mut p, "proxy_resolve_shared_queue", &[0, 0, at, bytes, OUT], Status::Ok);
    assert_eq!(u64::from(p.word(OUT as usize)), queue);
    // Of another vm_id: "jobs" is nobody's.
    check(&mut p, "proxy_resolve_shared_queue", &[at, bytes, at, bytes, OUT], Status::NotFound);
    check(&mut p, "proxy_dequeue_shared_queue", &[queue, OUT, OUT + 4], Status::Empty);
    for item in [&b"one"[..], b"", b"two"] {
        let [at, bytes] = text(&mut p, item);
        check(&mut p, "proxy_enqueue_shared_queue", &[queue, at, bytes], Status::Ok);
    }
    for item in [&b"one"[..], b"", b"two"] {
        check_value(&mut p, "proxy_dequeue_shared_queue", &[queue], item);
    }
    check(&mut p, "proxy_dequeue_shared_queue", &[queue, OUT, OUT + 4], Status::Empty);
    for none in [0, queue + 1, u64::from(u32::MAX)] {
        check(&mut p, "proxy_enqueue_shared_queue", &[none, IN, 1], Status::NotFound);
        check(&mut p, "proxy_dequeue_shared_queue", &[none, OUT, OUT + 4], Status::NotFound);
    }
}

#[test]
fn arguments_that_leave_memory_take_no_item() {
    let mut p = probe();
    let [at, bytes] = text(&mut p, b"jobs");
    let fault = Status::InvalidMemoryAccess;
    check(&mut p, "proxy_register_shared_queue", &[LAST, 1, OUT], fault);
    check(&mut p, "proxy_register_shared_queue", &[at, bytes, LAST], fault);
    check(&mut p, "proxy_resolve_shared_queue", &[0, 0, at, bytes, OUT], Status::NotFound);
    check(&mut p, "proxy_register_shared_queue", &[at, bytes, OUT], Status::Ok);
    let queue = u64::from(p.word(OUT as usize));
    check(&mut p, "proxy_enqueue_shared_queue", &[queue, LAST - 1, 2], fault);
    check(&mut p, "proxy_enqueue_shared_queue", &[queue, at, bytes], Status::Ok);
    check(&mut p, "proxy_dequeue_shared_queue", &[queue, LAST, OUT], fault);
    check(&mut p, "proxy_dequeue_shared_queue", &[queue, OUT, LAST - 3], fault);
    check_value(&mut p, "proxy_dequeue_shared_queue", &[queue], b"jobs");
}

#[test]
fn items_count_as_shared_data_and_have_its_limit() {
    let settings = FilterSettings { shared_bytes_max: 1_000, ..FilterSettings::new("probe") };
    let mut p = Probe::new(settings);
    let [at, bytes] = text(&mut p, b"jobs");
    check(&mut p, "proxy_register_shared_queue", &[at, bytes, OUT], Status::Ok);
    let queue = u64::from(p.word(OUT as usize));
    // 1,000 less 256 and the name: seven items of 96 and their bytes.
    for _ in 0..7 {
        check(&mut p, "proxy_enqueue_shared_queue", &[queue, at, bytes], Status::Ok);
    }
    let refused = Status::InternalFailure;
    check(&mut p, "proxy_enqueue_shared_queue", &[queue, at, bytes], refused);
    assert_eq!(p.limits_hit(), 1);
    check_value(&mut p, "proxy_dequeue_shared_queue", &[queue], b"jobs");
    check(&mut p, "proxy_enqueue_shared_queue", &[queue, at, bytes], Status::Ok);
}

/// Puts each request's mark into a queue, and logs it beside. An item that begins with `x` traps.
const LISTENS: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value"
        (func $value (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_register_shared_queue"
        (func $register (param i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $put (param i32 i32 i32) (result i32)))
    (import "env" "proxy_dequeue_shared_queue" (func $take (param i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) "jobs")
    (data (i32.const 16) "x-job")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 65536)
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.eqz (call $register (i32.const 0) (i32.const 4) (i32.const 64))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (call $value (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 1024)
                (i32.const 1028)) (then unreachable))
        (if (call $put (i32.load (i32.const 64)) (i32.load (i32.const 1024))
                (i32.load (i32.const 1028))) (then unreachable))
        i32.const 0)
    (func (export "proxy_on_queue_ready") (param i32) (param $queue i32)
        (if (call $take (local.get $queue) (i32.const 1024) (i32.const 1028))
            (then unreachable))
        (if (i32.eq (i32.load8_u (i32.load (i32.const 1024))) (i32.const 120))
            (then unreachable))
        (drop (call $log
            (i32.const 2) (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))))"#;

fn listening() -> Harness {
    let wasm = wat::parse_str(LISTENS).expect("the text is a module");
    let settings = FilterSettings { log_lines_max: 1_000, ..FilterSettings::new("f") };
    Harness::new(&wasm, settings, EngineSettings::default()).expect("it loads")
}

fn put(harness: &Harness, job: &str) {
    let mut session = FakeSession::new(&[(":method", "GET"), (":path", "/"), ("x-job", job)]);
    let mut chain = harness.chain();
    assert_eq!(chain.request_headers(&mut session, true), Flow::Continue);
    chain.finish(&mut session);
}

/// Does what a shard's own task does, until there is nothing more to do.
fn serve(filters: &Filters) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut served = 0;
    loop {
        match std::pin::pin!(filters.attention()).as_mut().poll(&mut context) {
            Poll::Ready(Attention::Queues) => {
                served += 1;
                filters.serve_queues();
            }
            Poll::Ready(_) => {}
            Poll::Pending => return served,
        }
    }
}

fn lines(harness: &Harness) -> Vec<String> {
    harness.world.lines.take().into_iter().map(|(_, line)| line).collect()
}

#[test]
fn a_root_hears_of_each_item_beside_the_requests() {
    let harness = listening();
    serve(&harness.filters);
    put(&harness, "one");
    put(&harness, "two");
    assert!(lines(&harness).is_empty(), "nothing is called within the request");
    assert_eq!(serve(&harness.filters), 1);
    assert_eq!(lines(&harness), ["one", "two"]);
    assert_eq!(serve(&harness.filters), 0);
    // More than one turn's worth.
    (0..200).for_each(|_| put(&harness, "many"));
    assert_eq!(serve(&harness.filters), 4);
    assert_eq!(lines(&harness).len(), 200);
}

#[test]
fn what_traps_over_an_item_hears_of_the_rest_when_it_is_back() {
    let harness = listening();
    serve(&harness.filters);
    for job in ["one", "x", "two"] {
        put(&harness, job);
    }
    serve(&harness.filters);
    let said = lines(&harness);
    assert!(said.len() == 2 && said[0] == "one" && said[1].starts_with("trap"), "{said:?}");
    // The next request has a fresh instance, which registers.
    put(&harness, "three");
    serve(&harness.filters);
    assert_eq!(lines(&harness), ["two", "three"]);
}

#[test]
fn the_shard_that_registered_last_hears_and_a_filter_that_goes_leaves_it_to_another() {
    let harness = listening();
    // The same filter, as if on a shard of another thread: it has no bell there.
    let seen: Rc<dyn World> = harness.world.clone();
    let other = Filters::new(0, seen);
    other.apply(&[std::sync::Arc::clone(&harness.filter).into()]);
    serve(&other);
    serve(&harness.filters);
    put(&harness, "one");
    serve(&harness.filters);
    assert!(lines(&harness).is_empty(), "the other heard");
    put(&harness, "two");
    serve(&other);
    assert_eq!(lines(&harness), ["one", "two"]);
    other.apply(&[]);
    put(&harness, "three");
    serve(&harness.filters);
    assert_eq!(lines(&harness), ["three"]);
}
