//! Bodies that come slowly: streams that share a slow link are waited for, those that are kept open
//! with next to nothing are not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, StreamExt};
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, World, check_heavy_seeds};

use super::client;
use super::raw::{DATA, END_HEADERS, END_STREAM, HEADERS, Heard, fields, frame, say_slowly};
use crate::http::origin::HOST;
use crate::http::plan::Text;
use crate::proxy::{Proxy, config};

/// The head of an upload of `bytes` on `stream`.
fn head(stream: u32, bytes: usize) -> Vec<u8> {
    let (id, length) = (format!("{stream:x}"), bytes.to_string());
    let list = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", HOST),
        ("x-id", &id),
        ("content-length", &length),
    ];
    frame(HEADERS, END_HEADERS, stream, &fields(&list))
}

/// The body of `stream` in frames of `piece` bytes.
fn body(stream: u32, bytes: usize, piece: usize) -> Vec<Vec<u8>> {
    let text = Text::new(u64::from(stream), 0).next(bytes);
    let count = text.chunks(piece).count();
    let flags = |number| if number + 1 == count { END_STREAM } else { 0 };
    let frames = text.chunks(piece).enumerate();
    frames.map(|(number, part)| frame(DATA, flags(number), stream, part)).collect()
}

/// Streams 1, 3, 5 ..., `count` of them.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Says `pieces` with `pause` behind each; what came back, what was counted, and how long it took.
fn upload(
    world: &World,
    pieces: Vec<Vec<u8>>,
    pause: Duration,
) -> (Heard, Vec<(Cause, u64)>, Duration) {
    let (origin, env) = (world.node("origin", Limits::AMPLE), world.node("client", Limits::AMPLE));
    let address = origin.address(8080);
    client::listen(&origin, &address, &Rc::new(Cell::new(0)));
    let proxy = Proxy::serve(world, &config(&[address], "", ""));
    let (own, front, told) = (env.clone(), proxy.front.clone(), Rc::new(RefCell::new(None)));
    let tell = told.clone();
    env.spawn(async move {
        let begun = own.now();
        let (heard, _) = say_slowly(&own, &front, pieces, pause, Duration::from_secs(20)).await;
        *tell.borrow_mut() = Some((heard, own.now().since(begun)));
    });
    let done = || told.borrow().is_some() || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(3_600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    let failures = proxy.failures();
    proxy.end(world);
    let (heard, took) = told.take().expect("it is done");
    (heard, failures, took)
}

/// Whether `stream` was answered 200, as `h2` says it (RFC 7541 appendix A, entry 8).
fn is_done(heard: &Heard, stream: u32) -> bool {
    let mut heads = heard.frames.iter().filter(|frame| frame.kind == HEADERS);
    heads.any(|head| head.stream == stream && head.payload.first() == Some(&0x88))
}

#[test]
fn streams_that_share_a_slow_link_are_waited_for() {
    check_heavy_seeds("h2 slow, side by side", Faults::CALM, |world| {
        // 8 KiB/s for sixteen: half of what one alone would have to bring.
        let heads = streams(16).map(|stream| head(stream, 16_384));
        let mut pieces: Vec<_> = heads.collect();
        let bodies: Vec<_> = streams(16).map(|stream| body(stream, 16_384, 512)).collect();
        for number in 0..32 {
            pieces.extend(bodies.iter().map(|frames| frames[number].clone()));
        }
        let (heard, failures, took) = upload(world, pieces, Duration::from_micros(62_500));
        assert!(took > Duration::from_secs(30), "{took:?}");
        let left: Vec<_> = streams(16).filter(|stream| !is_done(&heard, *stream)).collect();
        assert!(left.is_empty() && failures.is_empty(), "{left:?} {failures:?}");
    });
}

#[test]
fn streams_that_wait_for_their_turn_on_a_slow_link_are_waited_for() {
    check_heavy_seeds("h2 slow, in turn", Faults::CALM, |world| {
        // The last begins to come after more than a minute.
        let mut pieces: Vec<_> = streams(20).map(|stream| head(stream, 32_768)).collect();
        pieces.extend(streams(20).flat_map(|stream| body(stream, 32_768, 1_024)));
        let (heard, failures, took) = upload(world, pieces, Duration::from_millis(125));
        assert!(took > Duration::from_secs(75), "{took:?}");
        let left: Vec<_> = streams(20).filter(|stream| !is_done(&heard, *stream)).collect();
        assert!(left.is_empty() && failures.is_empty(), "{left:?} {failures:?}");
    });
}

/// Of `count` requests `given_up` are so within `until`, while `pieces` come, one a second.
fn check_given_up(count: u32, given_up: u64, until: Duration, pieces: &[Vec<u8>]) {
    check_heavy_seeds("h2 slow, on purpose", Faults::CALM, |world| {
        let env = world.node("client", Limits::AMPLE);
        let (address, silent) = (env.address(9), Rc::new(Cell::new(0)));
        let accepted = silent.clone();
        // An origin that takes everything and says nothing.
        let own = env.clone();
        env.listen(&address, move |stream| {
            let accepted = accepted.clone();
            own.spawn(async move {
                accepted.set(accepted.get() + 1);
                while let Ok(Some(_)) = stream.recv().await {}
            });
        });
        let proxy = Proxy::serve(world, &config(&[address], "", ""));
        let heads = streams(count).map(|stream| head(stream, 1 << 24));
        let all = std::iter::once(heads.flatten().collect()).chain(pieces.iter().cloned());
        let (own, front, all) = (env.clone(), proxy.front.clone(), all.collect());
        env.spawn(async move {
            say_slowly(&own, &front, all, Duration::from_secs(1), Duration::from_secs(1)).await;
        });
        let begun = world.now();
        let counted = || proxy.failures() == [(Cause::RequestBodyTimeout, given_up)];
        let done = || counted() || world.panicked().is_some();
        assert!(world.run_until(until, done), "{:?}", proxy.failures());
        let took = world.now().since(begun);
        assert!(took >= Duration::from_secs(10), "sooner than it may: {took:?}");
        assert_eq!(silent.get(), count);
        proxy.end(world);
    });
}

#[test]
fn requests_are_not_held_open_with_next_to_nothing() {
    let soon = Duration::from_secs(12);
    let byte = |number: u32| frame(DATA, 0, 2 * (number % 100) + 1, b"x");
    let bytes: Vec<_> = (0..60).map(byte).collect();
    check_given_up(100, 100, soon, &bytes);
    // What one alone would have to bring does not do for a hundred.
    let crumbs = || streams(100).flat_map(|stream| frame(DATA, 0, stream, b"ten bytes.")).collect();
    let all: Vec<_> = (0..60).map(|_| crumbs()).collect();
    check_given_up(100, 100, soon, &all);
}

#[test]
fn one_body_does_not_hold_others_open_for_ever() {
    // Of sixteen one comes, and fifteen wait for sixteen times 30 s.
    let piece = frame(DATA, 0, 1, &[b'x'; 8_192]);
    let pieces = vec![piece; 600];
    check_given_up(16, 15, Duration::from_secs(485), &pieces);
}
